"""The `accelerate launch` line of a run, and the checks on what `launch` may hold."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lenrl.config import Recipe, quoted
from lenrl.errors import BadInput, did_you_mean

# accelerate's own fields (ClusterConfig of 1.15), and what they are; it reports a wrong one only after its slow start.
FIELDS = {
    "compute_environment": "LOCAL_MACHINE",
    "debug": "true: collectives check shapes first, which is slow",
    "deepspeed_config": "mapping: zero_stage (2, 3), offloading, ...; see zero2 and zero3",
    "distributed_type": "NO (one process), MULTI_GPU (DDP, over gloo on a CPU), DEEPSPEED, FSDP",
    "downcast_bf16": "TPUs only",
    "dynamo_config": "mapping: torch.compile through accelerate",
    "enable_cpu_affinity": "true: each process keeps to the cores near its GPU",
    "fp8_config": "mapping: the library for mixed_precision fp8",
    "fsdp_config": "mapping: version, what is wrapped, state dict; see fsdp2",
    "gpu_ids": "all, or the numbers of the GPUs to use: '0,1'",
    "machine_rank": "of this machine, from 0; the first holds the run's folder",
    "main_process_ip": "address of the first machine",
    "main_process_port": "port of the rendezvous; 0: a free one",
    "main_training_function": "notebooks only",
    "mixed_precision": "no, bf16, fp16 or fp8: in which the forward pass computes",
    "mpirun_config": "mapping: CPUs over MPI",
    "num_machines": "machines, >= 1",
    "num_processes": "over all machines, >= 1: one a GPU",
    "parallelism_config": "mapping: accelerate's dimensions of parallelism",
    "rdzv_backend": "static, or c10d",
    "same_network": "true: the machines reach each other",
    "use_cpu": "true: the CPU, whatever GPUs there are",
}

DEVICES = "CUDA_VISIBLE_DEVICES"
# A launch of which accelerate's launcher makes a few variables, whatever FREE says.
ONE = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "NO", "gpu_ids": "all", "machine_rank": 0}
ONE |= {"num_machines": 1, "num_processes": 1}
FREE = ("mixed_precision", "use_cpu")


def check(launch: Mapping[str, Any]) -> None:
    """Refuse what accelerate would refuse late, or not at all.

    Raises:
        BadInput: an unknown field, or a number of processes that cannot be started.
    """
    faults = []
    for key, value in launch.items():
        if key not in FIELDS:
            hint = did_you_mean(key, FIELDS, "launch.{}") or f" There are {', '.join(FIELDS)}."
            faults.append(f"launch.{key}={value!r}: accelerate has no such field.{hint}")
    processes = launch.get("num_processes", 1)
    single = str(launch.get("distributed_type", "NO")).upper() == "NO"
    machines = launch.get("num_machines", 1)
    if processes < machines:
        faults.append(
            f"launch.num_processes={processes} with launch.num_machines={machines}: they are those of all machines, "
            f"and each has at least one. Set launch.num_processes={machines} or more."
        )
    elif single and processes > 1:
        faults.append(
            f"launch.num_processes={processes}: this launch starts one process only. Choose one for several: "
            "launch=cpu2 on the CPU, launch=multi_gpu on GPUs."
        )
    elif processes % machines:
        faults.append(
            f"launch.num_processes={processes} with launch.num_machines={machines}: they are those of all machines, "
            f"which start as many each. Set launch.num_processes={processes - processes % machines} or "
            f"{processes - processes % machines + machines}."
        )
    rank = launch.get("machine_rank", 0)
    if type(rank) is not int or not 0 <= rank < machines:
        faults.append(
            f"launch.machine_rank={rank!r} with launch.num_machines={machines}: it is this machine's number, from 0 to "
            f"{machines - 1}."
        )
    if str(launch.get("distributed_type")).upper() == "MULTI_CPU":
        faults.append(
            "launch.distributed_type='MULTI_CPU': accelerate would start one process. Use launch=cpu2."
        )
    deepspeed, fsdp = (launch.get(key) or {} for key in ("deepspeed_config", "fsdp_config"))
    if deepspeed.get("zero_stage") == 3 and not deepspeed.get("zero3_save_16bit_model"):
        faults.append(
            "launch.deepspeed_config.zero3_save_16bit_model must be true: else the final model/ would hold no weights."
        )
    if fsdp and fsdp.get("fsdp_state_dict_type") != "FULL_STATE_DICT":
        faults.append(
            f"launch.fsdp_config.fsdp_state_dict_type={fsdp.get('fsdp_state_dict_type')!r}: the final model/ would "
            "hold no weights. Set it to FULL_STATE_DICT."
        )
    if faults:
        raise BadInput("\n".join(faults))


def command(
    run_dir: Path, plugins: Sequence[Path] = (), local_processes: int = 1, files: Path | None = None
) -> list[str]:
    """The line that starts every process of the run in `run_dir` on this machine.

    `files` holds recipe.yaml and accelerate.yaml; by default the run's folder does. The processes share the machine's
    cores, unless OMP_NUM_THREADS says how many threads each has: two runs side by side that both take every core wait
    for each other most of the time.
    """
    setting = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(setting) if setting.isdecimal() and int(setting) else max(1, cores() // local_processes)
    files = files or run_dir
    return [
        *(sys.executable, "-P", "-m", "lenrl.launch.launcher", "--quiet"),
        *("--num_cpu_threads_per_process", str(threads)),
        *("--config_file", str(files / "accelerate.yaml"), "--module", "lenrl.launch.worker"),
        *("--config-name", str(files / "recipe.yaml")),
        *(word for plugin in plugins for word in ("--plugin", str(Path(plugin).absolute()))),
        f"output_dir={quoted(str(run_dir))}",
    ]


def started(line: Sequence[str], launch: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """The line of `command` and its environment; for ONE process the rank's own, from accelerate but not launched."""
    if ONE | {name: value for name, value in launch.items() if name not in FREE} != ONE:
        return list(line), {**os.environ, **seen(launch)}
    from accelerate.commands.launch import launch_command_parser
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env

    head = line.index("--quiet")
    arguments = launch_command_parser().parse_args(line[head:])
    free = {"mixed_precision": launch.get("mixed_precision") or "no", "use_cpu": bool(launch.get("use_cpu"))}
    for name, value in {**ONE, **free, "dynamo_backend": "no"}.items():
        setattr(arguments, name, value)
    rank, environment = prepare_simple_launcher_cmd_env(arguments)
    return [*line[:head], "--", *rank], {**environment, **seen(launch)}


def trusting(recipe: Recipe) -> list[str]:
    """The override that `compose` asks of a command whose recipe trusts a model's code: its user has said so."""
    return ["model.trust_remote_code=true"] if recipe.model.trust_remote_code else []


def seen(launch: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables by which the launched processes see the GPUs that are theirs: none on the CPU, one for one process.

    TRL refuses a process that sees several of them, and one that sees any would train there, whatever `use_cpu` says.

    >>> seen({"use_cpu": True}), seen({"distributed_type": "NO", "gpu_ids": "all"}, {DEVICES: "2,3"})
    ({'CUDA_VISIBLE_DEVICES': ''}, {'CUDA_VISIBLE_DEVICES': '2'})
    """
    if launch.get("use_cpu"):
        return {DEVICES: ""}
    single = str(launch.get("distributed_type", "NO")).upper() == "NO"
    if single and launch.get("gpu_ids") in (None, "all"):
        return {DEVICES: environment.get(DEVICES, "0").split(",")[0]}
    return {}


def cores() -> int:
    """Cores that this process may use; where the system does not tell (macOS), all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
