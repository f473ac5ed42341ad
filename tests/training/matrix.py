"""Runs of 12 steps that are cut after step k and go on, compared with the run that was never cut.

Everything happens in one process, so that a cut costs as long as the steps after it. What a new process would
have forgotten is forgotten here too: the random streams are stirred before each leg, and a leg builds its
trainer anew.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from lenrl.config import compose
from lenrl.run_process import run
from lenrl.training import checkpoint

STEPS = 12
CUTS = tuple(range(1, STEPS))
LORA = "model.peft={r: 4, lora_alpha: 64, lora_dropout: 0.1, target_modules: all-linear}"
METHODS: dict[str, list[str]] = {
    "grpo": [],
    "drpo": [],
    # a group that the update needs whole: the predictive sampler leaves groups out of whole optimizer steps
    "dot": ["trainer.num_generations=16", "trainer.per_device_train_batch_size=16", "truncation.margin=4"],
    "palu": ["budget.threshold=0.5"],
    "curriculum": ["budget.start=48", "budget.end=24", "budget.interval=3"],
    "crisp": [  # a teacher that moves, and a term beside TRL's loss
        *["advantage.every=3", "advantage.instruction=short"],
        "objective={name: mode_margin, long_token: 261, short_token: 264, margin: 9}",
    ],
    "laser_d": [
        *["reward.low=16", "reward.step=8", "reward.window=8", "reward.refresh=2"],
        "sampling={name: pass_rate_band, low: 0, high: 0.6, revisit: 2}",  # after each pass other prompts
    ],
}
TIMES = ("time_", "tokens_per_s")  # of a line in metrics.jsonl: not the same twice


@dataclass(frozen=True)
class Cell:
    """One way to train: 12 optimizer steps over 3 epochs (with `predictive` sampling over as much data)."""

    method: str
    steps_per_generation: int = 1
    num_iterations: int = 1
    lora: bool = False
    seed: int = 0

    @property
    def name(self) -> str:
        kind = "lora" if self.lora else "full"
        return f"{self.method}-spg{self.steps_per_generation}-it{self.num_iterations}-{kind}-s{self.seed}"

    def overrides(self, run_dir: Path) -> list[str]:
        # A step of two micro-batches and eight of them an epoch, except where the sampler wants whole steps.
        accumulation = 1 if self.method == "dot" else 2
        # Two processes share three groups of four: one of the groups straddles them.
        groups, rows = (3, 6) if int(os.environ.get("WORLD_SIZE", "1")) == 2 else (1, 4)
        groups = 2 if self.method == "dot" and groups == 3 else groups
        prompts = max(4 * accumulation // self.num_iterations, self.steps_per_generation)
        return [
            f"task.train={prompts * groups}",
            "task.dev=0",
            "task.test=0",
            f"trainer.per_device_train_batch_size={rows}",
            "trainer.num_generations=4",
            f"trainer.gradient_accumulation_steps={accumulation}",
            f"trainer.steps_per_generation={self.steps_per_generation}",
            f"trainer.num_iterations={self.num_iterations}",
            f"trainer.max_steps={STEPS}",
            "trainer.max_completion_length=48",
            "trainer.warmup_steps=2",
            "trainer.learning_rate=5e-4",
            "trainer.save_steps=1",
            "trainer.save_total_limit=null",
            "trainer.eval_steps=0",
            "guard.truncated_share=1.0",
            "guard.truncated_rollouts=1000",
            "verifier.workers=1",
            *METHODS[self.method],
            *([LORA] if self.lora else []),
            f"seed={self.seed}",
            f"output_dir={run_dir}",
        ]


CELLS = tuple(
    Cell(method, spg, iterations, lora)
    for method in METHODS
    for spg in (1, 4)
    for iterations in (1, 2)
    for lora in (False, True)
)


@dataclass(frozen=True)
class Outcome:
    """What must be equal: the final tensors, every completion, every figure that is not a time."""

    weights: str  # SHA-256 over the final tensors
    completions: str  # SHA-256 over (step, prompt, completion)
    metrics: str  # SHA-256 over the lines of metrics.jsonl


def leg(cell: Cell, run_dir: Path, *more: str) -> None:
    """One process's worth of training: to the end, from the newest checkpoint if there is one."""
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(12345)
    run(compose(cell.method, [*cell.overrides(run_dir), *more]))
    gc.collect()


def cut(run_dir: Path, step: int, into: Path) -> Path:
    """A copy of the folder as a process leaves it that is killed after its checkpoint of that step."""
    for path in run_dir.iterdir():
        if path.name == "model" or path.name.startswith("checkpoint-"):
            continue
        copy = shutil.copytree if path.is_dir() else shutil.copyfile
        into.mkdir(parents=True, exist_ok=True)
        copy(path, into / path.name)
    name = f"checkpoint-{step}"
    shutil.copytree(run_dir / name, into / name)
    return into


def outcome(run_dir: Path) -> Outcome:
    """What a finished run left."""
    found = hashlib.sha256()
    weights = next(p for p in sorted((run_dir / "model").glob("*.safetensors")))
    for name, tensor in sorted(load_file(weights).items()):
        found.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    rows = [
        (row["step"], row["prompt"], row["completion"])
        for path in sorted((run_dir / "completions").glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    return Outcome(found.hexdigest(), _digest(rows), _digest(metrics(run_dir)))


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the times."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(TIMES)} for line in lines]


def uninterrupted(cell: Cell, run_dir: Path, *, unsaved: bool = True) -> Outcome:
    """Train without a cut; there must be something to lose.

    `unsaved`: again without saving, because saving after every step must change nothing.
    """
    leg(cell, run_dir)
    found = outcome(run_dir)
    if unsaved:
        bare = run_dir.with_name(run_dir.name + "-bare")
        leg(cell, bare, "trainer.save_steps=0")
        if found != outcome(bare):
            raise AssertionError(f"{cell.name}: saving changes the run")
        shutil.rmtree(bare)
    moving = [line["step"] for line in metrics(run_dir) if line["grad_norm"]]
    if len(moving) < 3 or max(moving) <= STEPS // 2:
        raise AssertionError(f"{cell.name}: only the steps {moving} have a gradient; nothing could go wrong")
    return found


def resumed(cell: Cell, run_dir: Path, cuts: tuple[int, ...], work: Path) -> Outcome:
    """Cut a finished run after the given steps, one after the other, each time going on to the end."""
    for number, step in enumerate(cuts):
        after = cut(run_dir, step, work / f"{number}")
        start = checkpoint.newest_good(after)
        assert start is not None and checkpoint.step_of(start) == step
        leg(cell, after)
        run_dir = after
    return outcome(run_dir)


def pairs(count: int = 20, seed: int = 0) -> list[tuple[Cell, tuple[int, int]]]:
    """Cells with two cuts in a row, drawn by a seed."""
    rng = random.Random(seed)
    drawn = [(replace(rng.choice(CELLS), seed=1), sorted(rng.sample(CUTS, 2))) for _ in range(count)]
    return [(cell, (cuts[0], cuts[1])) for cell, cuts in drawn]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
