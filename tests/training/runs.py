"""Small real runs on the embedded model, for the tests of training."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from lenrl.config import compose
from lenrl.training.build import build
from lenrl.training.grpo_config import grpo_config
from lenrl.training.prepare import prepare

SMALL = [
    "task.train=64",
    "task.dev=8",
    "trainer.per_device_train_batch_size=16",
    "trainer.num_generations=4",
    "trainer.max_steps=2",
    "trainer.save_steps=0",
    "trainer.eval_steps=0",
    "trainer.max_completion_length=48",
    "guard.truncated_share=1.0",
    "verifier.workers=1",
]

METRICS = {
    "step",
    "reward",
    "grad_norm",
    "kl",
    "accuracy",
    "tokens_mean",
    "tokens_p50",
    "tokens_p95",
    "tokens_sampled_mean",
    "truncated_share",
    "groups_with_signal",
    "correct_pushed_down",
    "penalty_leverage",
    "penalty_applied_share",
    "correct_wiped_share",
    "length_accuracy_corr",
    "length_accuracy_left_out",
    "tokens_thinking_mean",
    "tokens_answer_mean",
    "useful_token_share",
    "verifier_timeouts",
    "verifier_errors",
    "time_generate_s",
    "time_verify_s",
    "time_update_s",
    "time_step_s",
    "tokens_per_s",
    "tokens_generated_total",
    "tokens_trained_total",
    "time_unix_s",
    "clip_ratio_low",
    "clip_ratio_high",
}
"""What every line of every run's `metrics.jsonl` has."""


def small_run(recipe: str, run_dir: Path, *overrides: str) -> tuple[Any, Any]:
    """(trainer, verifier) of a run of seconds; the caller closes the verifier."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # of the launch that this is part of
    checked_run = prepare(compose(recipe, [*SMALL, *overrides]), processes)
    return build(checked_run, grpo_config(checked_run, run_dir))


def lines_of(run_dir: Path) -> list[dict]:
    """The lines of `metrics.jsonl`."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def rows_of(run_dir: Path) -> list[dict]:
    """All logged completions, in the order in which they were sampled."""
    files = sorted((run_dir / "completions").glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def force(trainer: Any, choose: Callable[[Any, int], str]) -> None:
    """From now on completion k of a problem is the text `choose(problem, k)`, whatever the model would say."""
    scoring = trainer.rollout

    def generate(prompt_ids, *_):
        first = trainer.group.local_slice(len(prompt_ids)).start
        texts = [
            choose(scoring.problem_set.problems[row["prompt_id"]], (first + place) % trainer.num_generations)
            for place, row in enumerate(scoring.current.rows)
        ]
        ids = trainer.processing_class(texts, add_special_tokens=False)["input_ids"]
        ends = trainer.processing_class.eos_token_id
        return [[*row, ends][: trainer.max_completion_length] for row in ids], None

    trainer._generate_single_turn = generate


def answer(right: bool, problem: Any, steps: int, after: int = 0) -> str:
    """A completion of some length that is right or not; `after`: characters after its answer."""
    value = (int(problem.answer) + (not right)) % 10
    return "<think>\n" + "1+1=2\n" * steps + f"</think>\n\\boxed{{{value}}}" + "+" * after


def launch(worker: str, out: Path, *arguments: str, name: str = "cpu2") -> subprocess.CompletedProcess:
    """A real `accelerate launch` of a worker of this folder on the CPU."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    command += [str(accelerate_file(name, out)), str(root / "tests/training" / worker), str(out), *arguments]
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    return subprocess.run(
        command, env=env, cwd=root, capture_output=True, text=True, timeout=600, check=False
    )


def accelerate_file(name: str, folder: Path) -> Path:
    """The file of a launch for the CPU: at most two processes, float32."""
    small = [] if name.startswith("cpu") else ["launch.num_processes=2", "launch.mixed_precision=no"]
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(compose("grpo", [f"launch={name}", *small]).launch)))
    return path
