"""A worker of launches on two processes: trains, cuts, goes on, exports; and the gradient of one step.

Usage: sharded.py OUT_DIR KIND [KIND ...], kinds being `gradient` and the names of RUNS. Every kind writes
OUT_DIR/KIND.json. Nothing in here depends on DDP, DeepSpeed or FSDP except how a whole tensor is put together.
"""

import json
import math
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, TrainerCallback

from lenrl import run_process
from lenrl.config import compose
from lenrl.generation.pretrained import ModelOptions, find
from lenrl.generation.transformers_engine import load
from lenrl.training import build as composition
from tests.training import matrix, on_cpu  # noqa: F401 - before the process group begins
from tests.training.runs import force, small_run
from tests.training.two_processes import say

ADAPTER = "r: 4, lora_alpha: 64, lora_dropout: 0.1, target_modules: all-linear"
RUNS: dict[str, list[str]] = {
    "drpo": ["drpo"],
    "palu": ["palu", "budget.threshold=0.5"],
    "lora": ["drpo", f"model.peft={{{ADAPTER}}}"],
    "dora": ["palu", "budget.threshold=0.5", f"model.peft={{{ADAPTER}, use_dora: true}}"],
}
GRADIENTS = ("drpo", "palu")
WRAPPED = {
    "cpu2": "DistributedDataParallel",
    "zero2": "DeepSpeedEngine",
    "zero3": "DeepSpeedEngine",
    "fsdp2": "FSDP.+",
}
STEPS = 3
CUTS = (1, 2)  # inside the first rollout, which two steps share, and at its end
# 6 rows a process and groups of 4: the second of three groups straddles.
TRAINING = [
    "task.train=64",
    "task.dev=0",
    "task.test=0",
    "trainer.per_device_train_batch_size=6",
    "trainer.num_generations=4",
    "trainer.steps_per_generation=2",
    f"trainer.max_steps={STEPS}",
    "trainer.max_completion_length=80",
    "trainer.learning_rate=5e-4",
    "trainer.warmup_steps=0",
    "trainer.save_steps=1",
    "trainer.save_total_limit=null",
    "trainer.eval_steps=0",
    "guard.truncated_share=1.0",
    "verifier.workers=1",
]


def trained(kind: str, out: Path) -> dict[str, Any]:
    """Train, cut after each of CUTS and go on; look at what was saved."""
    seen: list[Any] = []
    build = composition.build

    def remembered(*args):
        found = build(*args)
        seen.append(found[0])
        return found

    composition.build = remembered
    began = time.perf_counter()
    try:
        leg(kind, out / kind)
        seconds = time.perf_counter() - began
        trainer = seen[0]
        found: dict[str, Any] = {"seconds": round(seconds, 1), "moments": moments(trainer)}
        found["weights"] = put_down(trainer, out / f"{kind}-live.safetensors")
        found["wrapped"] = type(trainer.model_wrapped).__name__
        found["last_signal"] = max(
            (line["step"] for line in matrix.metrics(out / kind) if line["grad_norm"]), default=0
        )
        found["resumed_equal"] = {}
        for step in CUTS:
            after = out / f"{kind}-cut{step}"
            if PartialState().is_main_process:
                matrix.cut(out / kind, step, after)
            PartialState().wait_for_everyone()
            leg(kind, after)
            found["resumed_equal"][step] = matrix.outcome(after) == matrix.outcome(out / kind)
    finally:
        composition.build = build
    return found


def leg(kind: str, run_dir: Path) -> None:
    """Train to the end, from the newest checkpoint if there is one, with random streams of this leg's own."""
    torch.manual_seed(12345)
    recipe, *options = RUNS[kind]
    run_process.run(compose(recipe, [*TRAINING, *options, f"output_dir={run_dir}"]))


def moments(trainer: Any) -> float:
    """Elements of Adam's first moment that this process holds, over all trained weights: 0.5 if halves."""
    optimizer = trainer.optimizer
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    held = [state["exp_avg"] for state in optimizer.state.values() if "exp_avg" in state]
    count = sum((t.to_local() if hasattr(t, "to_local") else t).numel() for t in held)
    return count / sum(math.prod(shape(p)) for p in trainer.model.parameters() if p.requires_grad)


def shape(parameter: Any) -> tuple[int, ...]:
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def whole(tensor: Any) -> torch.Tensor:
    """A copy of a parameter put together from all processes; collective."""
    if hasattr(tensor, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([tensor]):
            return tensor.detach().clone()
    found = tensor.detach()
    return (found.full_tensor() if hasattr(found, "full_tensor") else found).clone()


def put_down(trainer: Any, path: Path) -> float:
    """Write the weights that the processes have between them, for `export_faults`; the sum of their sizes."""
    live = {bare(name): whole(p).contiguous() for name, p in trainer.model.named_parameters()}
    if PartialState().is_main_process:
        save_file(live, path)
    return sum(float(t.double().abs().sum()) for t in live.values())


def export_faults(out: Path, kind: str) -> list[str]:
    """How `model/`, loaded in a process without DeepSpeed or FSDP, differs from what the processes had; empty: not."""
    live = load_file(out / f"{kind}-live.safetensors")
    loaded = load(str(out / kind / "model"), ModelOptions(device="cpu")).model
    tensors = {bare(name): p.detach() for name, p in loaded.named_parameters()}
    base = dict(AutoModelForCausalLM.from_pretrained(find("tiny")).named_parameters())
    found = []
    if not (out / kind / "model" / "adapter_config.json").exists():
        _, info = AutoModelForCausalLM.from_pretrained(out / kind / "model", output_loading_info=True)
        found += [f"AutoModelForCausalLM finds no {name}" for name in info["missing_keys"]]
    found += [f"{name} is in one of them only" for name in sorted(live.keys() ^ tensors.keys())]
    found += [
        f"{n} differs" for n in sorted(live.keys() & tensors.keys()) if not torch.equal(live[n], tensors[n])
    ]
    trained_ = [n for n in tensors if "lora_B" in n] or list(base)
    if all(torch.equal(tensors[n], base.get(n, torch.zeros_like(tensors[n]))) for n in trained_):
        found.append("nothing has been trained")
    return found


def bare(name: str) -> str:
    """A parameter's name without what wrappers put into it."""
    return name.replace("base_model.model.", "").replace(".default", "")


def gradient(out: Path) -> dict[str, Any]:
    """The whole gradients of one optimizer step of two micro-batches, on prepared completions."""
    found: dict[str, Any] = {}
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # PartialState would begin without the run's settings
    for recipe in GRADIENTS:
        trainer, verifier = small_run(
            recipe,
            out / f"gradient-{recipe}",
            "task.train=24",
            "task.dev=0",
            "trainer.max_steps=1",
            "trainer.max_completion_length=300",
            "trainer.max_grad_norm=0",
            f"trainer.per_device_train_batch_size={12 // processes}",
            "trainer.gradient_accumulation_steps=2",
            "trainer.steps_per_generation=2",
        )
        force(trainer, say)
        tensors: dict[str, torch.Tensor] = {}
        trainer.add_callback(Capture(trainer, tensors))
        with verifier:
            trainer.train()
        found[recipe] = {
            "wrapped": type(trainer.model_wrapped).__name__,
            "norm": math.sqrt(sum(float(t.double().square().sum()) for t in tensors.values())),
        }
        if PartialState().is_main_process:
            save_file(tensors, out / f"gradient-{recipe}.safetensors")
    return found


class Capture(TrainerCallback):
    """Copies the gradient just before the weights move; DeepSpeed's engine steps before transformers says so."""

    def __init__(self, trainer: Any, into: dict[str, torch.Tensor]) -> None:
        self.trainer, self.into = trainer, into

    def on_step_begin(self, args, state, control, **_):
        engine = self.trainer.model_wrapped
        if not self.trainer.is_deepspeed_enabled:
            return
        from deepspeed.utils import safe_get_full_grad

        step = engine.step

        def copied(*given, **kwargs):
            if engine.is_gradient_accumulation_boundary():
                named = [(n, p) for n, p in self.trainer.model.named_parameters() if p.requires_grad]
                self.into.update({n: safe_get_full_grad(p).detach().clone() for n, p in named})
            return step(*given, **kwargs)

        engine.step = copied

    def on_pre_optimizer_step(self, args, state, control, **_):
        if not self.trainer.is_deepspeed_enabled:
            named = self.trainer.model.named_parameters()
            self.into.update({n: whole(p.grad) for n, p in named if p.grad is not None})


def difference(one: Path, other: Path) -> float:
    """Of two saved gradients, relative to the first one's norm."""
    a, b = load_file(one), load_file(other)
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    square = sum(float((a[n].double() - b[n].double()).square().sum()) for n in a)
    return math.sqrt(square / sum(float(t.double().square().sum()) for t in a.values()))


def faults(name: str, kind: str, out: Path, reference: Path) -> list[str]:
    """What is wrong with what a kind has left in the folder of launch `name`; empty: nothing.

    `reference` is the folder of a launch with one process that did `gradient`.
    """
    found = json.loads((out / f"{kind}.json").read_text())
    wrong = []
    if found["processes"] != 2 or "cpu:gloo" not in found["backend"]:
        wrong.append(f"{found['processes']} processes over {found['backend']}")
    for recipe in GRADIENTS if kind == "gradient" else ():
        file = f"gradient-{recipe}.safetensors"
        if (far := difference(reference / file, out / file)) > 1e-5:
            wrong.append(f"the gradient of {recipe} differs by {far:.1e} from that of one process")
    wrapped = [found[recipe]["wrapped"] for recipe in GRADIENTS] if kind == "gradient" else [found["wrapped"]]
    if not all(re.fullmatch(WRAPPED[name], kind_) for kind_ in wrapped):
        wrong.append(f"the model was wrapped in {wrapped}")
    if kind == "gradient":
        return wrong
    share = 1.0 if name == "cpu2" else 0.5
    if abs(found["moments"] - share) > 0.02:
        wrong.append(f"a process holds {found['moments']:.2f} of Adam's moments, {share} was expected")
    if not found["ranks_agree"]:
        wrong.append("the processes have different weights")
    if found["last_signal"] <= CUTS[-1]:
        wrong.append(f"no gradient after step {found['last_signal']}: resuming shows nothing")
    wrong += [
        f"cut after step {n}, it ends otherwise" for n, same in found["resumed_equal"].items() if not same
    ]
    return wrong + export_faults(out, kind)


def main(out: Path, kinds: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        found = gradient(out) if kind == "gradient" else trained(kind, out)
        state = PartialState()
        if state.num_processes > 1:
            ranks: list[Any] = [None] * state.num_processes
            torch.distributed.all_gather_object(ranks, found.get("weights"))
            found["ranks_agree"] = len(set(ranks)) == 1
            found["backend"] = str(torch.distributed.get_backend_config())
        found["processes"] = state.num_processes
        if state.is_main_process:
            (out / f"{kind}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
    os._exit(0)  # DeepSpeed's handlers at exit wait for engines of runs that are over
