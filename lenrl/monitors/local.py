"""Local records of a run: `metrics.jsonl`, `dev.jsonl` and `completions/`.

Only the main process writes. A log that cannot be written (a full disk) is warned of once and never stops the
training.
"""

import errno
import json
import logging
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from lenrl.files import PART, write_text, write_whole
from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.base import PromptBudget
from lenrl.strategies.groups import token_mean

log = logging.getLogger("lenrl")

TIMES = ("generate", "verify", "strategies", "logp", "update", "step")
COMPLETION_CHARS = 100_000  # of a logged text: a hostile completion must not fill the disk
Figures = Mapping[str, float | None]  # by name; None: there is nothing to average


class LocalMonitor:
    """Collects what belongs to one optimizer step and writes it as one line.

    A rollout that serves several optimizer steps has its figures on each of their lines, and its seconds on
    the first.
    """

    def __init__(self, run_dir: Path, is_main: bool, completions: bool = True, every: int = 1) -> None:
        self.run_dir = run_dir
        self.is_main = is_main
        self.every = every if completions else 0  # rollouts between two files of completions; 0: none
        self.last_metrics: dict[str, float] = {}
        self._rollout: dict[str, float | None] = {}
        self._seconds: dict[str, float] = defaultdict(float)
        self._sampled_tokens = 0
        self._step_began = time.perf_counter()
        self._warned = False
        self._parts: dict[int, int] = defaultdict(int)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the block's seconds to `time_<name>_s` of this step."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - began

    def begin_step(self) -> None:
        self._seconds.clear()
        self._sampled_tokens = 0
        self._step_began = time.perf_counter()

    def rollout(self, metrics: Figures, sampled_tokens: int) -> None:
        """The figures of a generation batch."""
        self._rollout = dict(metrics)
        self._sampled_tokens += sampled_tokens

    def step(self, step: int, fields: Figures, now: float) -> None:
        """Write the line of a finished optimizer step."""
        seconds = dict(self._seconds)
        seconds["step"] = now - self._step_began
        spent = sum(seconds.get(name, 0.0) for name in ("generate", "verify", "strategies", "logp"))
        seconds["update"] = seconds["step"] - spent
        line = {"step": step, **self._rollout, **fields}
        line |= {f"time_{name}_s": round(seconds.get(name, 0.0), 6) for name in TIMES}
        line["tokens_per_s"] = self._sampled_tokens / seconds["step"] if seconds["step"] > 0 else None
        self.last_metrics = {k: v for k, v in line.items() if isinstance(v, (int, float)) and k != "step"}
        self._append("metrics.jsonl", line)

    def evaluated(self, step: int, metrics: Figures) -> None:
        """Write the figures on the development problems."""
        self._append("dev.jsonl", {"step": step, **metrics})

    def wants(self, rollout: int) -> bool:
        """The completions of a rollout, counted from 0, are written; the same on every process."""
        return self.every > 0 and rollout % self.every == 0

    def completions(
        self,
        step: int,
        texts: Sequence[tuple[str, str, str | None, PromptBudget]],
        rollouts: Rollouts,
        reward: RewardResult,
        advantage_PG: Tensor,
        *,
        kept: Sequence[int],
        extras: Sequence[Mapping[str, object]] = (),
    ) -> None:
        """Write one rollout's completions.

        Args:
            step: completed optimizer steps; the file's `step` is the first one that the rollout feeds.
            texts: (prompt, completion, extracted answer, what the budget gave) a row of the generation batch, after
                any cut.
            rollouts: the batch.
            reward: its rewards.
            advantage_PG: (P, G) or (P, G, T); of the latter the mean over kept tokens is written.
            kept: groups that the update uses.
            extras: further columns a row: the rendered prompt, and what reward functions logged.
        """
        if not self.is_main:
            return
        advantage_PG = token_mean(advantage_PG, rollouts.length_PG)
        flat: dict[str, list | pa.Array] = {
            "step": [step + 1] * len(texts),
            "prompt_id": [name for name in rollouts.prompt_ids for _ in range(rollouts.G)],
            "prompt": [_clean(prompt) for prompt, *_ in texts],
            "completion": [_clean(text) for _, text, *_ in texts],
            "extracted": [None if answer is None else _clean(answer) for _, _, answer, _ in texts],
            "verdict": [None if math.isnan(c) else bool(c) for c in rollouts.correct_PG.reshape(-1).tolist()],
            "tokens": rollouts.sampled_length_PG.reshape(-1).tolist(),
            "kept_tokens": rollouts.length_PG.reshape(-1).tolist(),
            "truncated": rollouts.truncated_PG.reshape(-1).tolist(),
            "reward": [_finite(r) for r in reward.total_PG.reshape(-1).tolist()],
            "advantage": advantage_PG.reshape(-1).tolist(),
            "in_update": [p in set(kept) for p in range(rollouts.P) for _ in range(rollouts.G)],
        }
        budgets = [_finite(b) for b in rollouts.budget_PG.reshape(-1).tolist()]
        flat["budget"] = pa.array(budgets, pa.float64())  # typed: a column of nothing has no type
        flat["score"] = pa.array([_finite(s) for s in rollouts.grade_PG.reshape(-1).tolist()], pa.float64())
        prompt_budgets = [prompt_budget for *_, prompt_budget in texts]
        flat["cap"] = pa.array([prompt_budget.cap for prompt_budget in prompt_budgets], pa.int64())
        for name in sorted({name for prompt_budget in prompt_budgets for name in prompt_budget.columns}):
            flat[name] = [prompt_budget.columns.get(name) for prompt_budget in prompt_budgets]
        for name, part_PG in rollouts.parts.items():
            flat[f"part_{name}"] = pa.array([_finite(v) for v in part_PG.reshape(-1).tolist()], pa.float64())
        for name in sorted({name for row in extras for name in row} - flat.keys()):
            flat[name] = [None if (value := row.get(name)) is None else _clean(str(value)) for row in extras]
        part = self._parts[step]
        self._parts[step] += 1
        path = self.run_dir / "completions" / f"step{step + 1:06d}-{part}.parquet"
        with self._forgiving(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda draft: pq.write_table(pa.table(flat), draft))

    def resume(self, step: int, evaluates: bool = False) -> None:
        """Drop what a stopped run wrote past a checkpoint, so that no step stands twice.

        Args:
            step: the checkpoint's; -1: there is none, and all begins anew.
            evaluates: the run goes on with the evaluation of that step.
        """
        if not self.is_main:
            return
        for name, last in (("metrics.jsonl", step), ("dev.jsonl", step - 1 if evaluates else step)):
            path = self.run_dir / name
            # A process that was killed may have left half a line, and half a character.
            text = path.read_text(errors="replace") if path.exists() else ""
            kept = "".join(f"{line}\n" for line in text.splitlines() if _step_of(line) <= last)
            if kept != text:
                with self._forgiving(path):
                    write_text(path, kept)
        for path in (self.run_dir / "completions").glob("step*.parquet*"):
            number = path.name.removeprefix("step").split("-")[0]
            if path.suffix == PART or (number.isdigit() and int(number) > step):
                with self._forgiving(path):
                    path.unlink()

    def state_dict(self) -> dict[str, Figures]:
        """Plain JSON: the figures of the rollout that the next steps may still use."""
        return {"rollout": {k: _plain(v) for k, v in self._rollout.items()}}

    def load_state_dict(self, state: Mapping[str, Figures]) -> None:
        """Go on with those figures."""
        self._rollout = dict(state["rollout"])

    def _append(self, name: str, line: Figures) -> None:
        if not self.is_main:
            return
        text = json.dumps({k: _plain(v) for k, v in line.items()}, allow_nan=False) + "\n"
        path = self.run_dir / name
        with self._forgiving(path), path.open("ab", buffering=0) as out:
            end = out.tell()
            try:
                if out.write(text.encode()) < len(text.encode()):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                with suppress(OSError):
                    out.truncate(end)  # half a line would spoil the next one
                raise

    @contextmanager
    def _forgiving(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            if not self._warned:
                log.warning("cannot write %s (%s); training goes on without this log", path, fault)
            self._warned = True


def verifier_metrics(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Timeouts, errors and abstentions of a rollout's verifiers, over all processes."""
    return {
        "verifier_timeouts": sum(c["timeouts"] for c in counts),
        "verifier_errors": sum(c["errors"] + c["memory"] for c in counts),
        "verifier_abstained": sum(c["abstained"] for c in counts),
    }


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):  # the half-written last line of a killed run
        return math.inf


def _plain(value: float | None) -> float | None:
    return _finite(value) if isinstance(value, float) else value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _clean(text: str) -> str:
    """Parquet wants valid UTF-8; a byte-level decoder may give lone surrogates."""
    return text[:COMPLETION_CHARS].encode("utf-8", "replace").decode("utf-8")
