"""Reasons why a run that is well written can't start on this machine, or can't work."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

from lenrl.config import Recipe
from lenrl.dryrun.contradictions import FLASH, contradictions
from lenrl.dryrun.estimate import estimate
from lenrl.errors import BadInput
from lenrl.generation.pretrained import load_config
from lenrl.training.fit import learning_rate_for, memory_gib, remedies
from lenrl.training.hardware import Machine, asks_for_gpus, this_machine
from lenrl.training.prepare import CheckedRun
from lenrl.training.sizes import Shape, shape
from lenrl.training.trl_fields import value_of

HIGHEST_RATE = 50  # times the rate for the model's size; more has only been seen to destroy a model
OPTIMIZERS = {  # parts of the names of transformers' optimizers, in this order; a package as imported, as installed
    "galore": ("galore_torch", "galore-torch"),
    "apollo": ("apollo_torch", "apollo-torch"),
    "lomo": ("lomo_optim", "lomo-optim"),
    "grokadamw": ("grokadamw", "grokadamw"),
    "schedule_free": ("schedulefree", "schedulefree"),
    "anyprecision": ("torchdistx", "git+https://github.com/pytorch/torchdistx"),
    "stable": ("optimi", "torch-optimi"),
    "adamw_torch_4bit": ("torchao", "torchao"),
    "adamw_torch_8bit": ("torchao", "torchao"),
    **dict.fromkeys(("bnb", "bit", "ademamix"), ("bitsandbytes", "lenrl[qlora]")),
}


def installed(package: str) -> bool:
    """The package can be imported, which is not tried."""
    return find_spec(package) is not None


def refusals(
    checked_run: CheckedRun, has: Callable[[str], bool] = installed, machine: Machine | None = None
) -> list[str]:
    """Every reason, a line each; empty: the run can start.

    Args:
        has: tells whether a package is installed.
        machine: where the run will be; None: here.
    """
    recipe, machine = checked_run.recipe, machine or this_machine()
    found = [*_packages(recipe, has), *contradictions(checked_run), *_gpus(recipe, machine)]
    try:
        settings = recipe.model
        of = shape(load_config(settings.path, settings), settings.peft)
    except BadInput as fault:
        return [*found, f"{fault}."]
    return [*found, *_memory(checked_run, of, machine), *_learning_rate(recipe, of)]


def _packages(recipe: Recipe, has: Callable[[str], bool]) -> Iterator[str]:
    trainer, attention = recipe.trainer, recipe.model.attn_implementation
    if recipe.launch.get("distributed_type") == "DEEPSPEED" and not has("deepspeed"):
        yield _missing(
            "launch.distributed_type=DEEPSPEED",
            "DeepSpeed",
            "lenrl[deepspeed]",
            "launch=fsdp2 shards without it",
        )
    if value_of(trainer, "use_vllm") and not has("vllm"):
        yield _missing(
            "trainer.use_vllm=true", "vLLM", "trl[vllm]", "trainer.use_vllm=false samples without it"
        )
    if attention in FLASH and not has(FLASH[attention]):
        package = FLASH[attention].replace("_", "-")
        yield _missing(f"model.attn_implementation={attention}", package, package, "null takes what there is")
    optimizer = str(value_of(trainer, "optim"))
    for package, extra in [OPTIMIZERS[part] for part in OPTIMIZERS if part in optimizer][:1]:
        if not has(package):
            yield _missing(f"trainer.optim={optimizer}", package, extra, "adamw_torch needs none")
    if value_of(trainer, "use_liger_kernel") and not has("liger_kernel"):
        yield _missing("trainer.use_liger_kernel=true", "liger-kernel", "liger-kernel", "leave it out")
    for tracker in recipe.logging.report_to:
        if not has(tracker):
            yield _missing(
                f"logging.report_to={tracker}", tracker, f"lenrl[{tracker}]", "metrics.jsonl needs none"
            )


def _missing(asked: str, package: str, extra: str, otherwise: str) -> str:
    return f"{asked} needs {package}, which is not installed: pip install '{extra}'; or {otherwise}."


def _gpus(recipe: Recipe, machine: Machine) -> Iterator[str]:
    """More processes than GPUs, where there are some; without any a launch falls back to the CPU."""
    machines = max(1, int(recipe.launch.get("num_machines", 1)))
    processes = int(recipe.launch.get("num_processes", 1)) // machines
    if asks_for_gpus(recipe.launch) and 0 < machine.gpus < processes:
        yield (
            f"launch.num_processes={processes * machines} starts {processes} a machine, and this one has "
            f"{machine.gpus} GPUs. "
            f"Set launch.num_processes={machine.gpus * machines}."
        )


def _memory(checked_run: CheckedRun, of: Shape, machine: Machine) -> Iterator[str]:
    recipe = checked_run.recipe
    need = estimate(of, checked_run)
    gib, whose = memory_gib(recipe, machine)
    if need["memory_gib"] <= gib:
        return
    options = []
    cache, update = need["key_values_gib"] or 0, need["activations_gib"] + need["logits_gib"]
    if cache > update:
        gpus = asks_for_gpus(recipe.launch)
        option = "trainer.use_vllm=true" if gpus else "a smaller trainer.generation_batch_size"
        options.append(f"{option} (keys and values take {cache:.0f} GiB)")
    elif checked_run.layout.rows_per_process > 1:
        what = f"activations and logits of {checked_run.layout.rows_per_process} completions take {update:.0f} GiB"
        options.append(f"a smaller trainer.per_device_train_batch_size ({what})")
    if not value_of(recipe.trainer, "gradient_checkpointing"):
        options.append("trainer.gradient_checkpointing=true")
    first = f"What would help first: {' or '.join(options)}. " if options else ""
    yield (
        f"a process needs about {need['memory_gib']:.0f} GiB, if completions reach their cap, and its device has "
        f"{gib:.0f} ({whose}). {first}{remedies(recipe)}"
    )


def _learning_rate(recipe: Recipe, of: Shape) -> Iterator[str]:
    rate = recipe.trainer["learning_rate"]
    fitting = learning_rate_for(of.parameters, adapter=bool(recipe.model.peft))
    adam = "adam" in str(value_of(recipe.trainer, "optim")).lower()
    if adam and rate > HIGHEST_RATE * fitting:
        yield (
            f"trainer.learning_rate={rate:g} is {rate / fitting:.0f} times what fits a model of {of.parameters:,} "
            f"parameters ({fitting:g}), and destroys it. Set at most {HIGHEST_RATE * fitting:.1g}, or leave it out."
        )
