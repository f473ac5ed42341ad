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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lenrl.files import PART, write_json, write_text, write_whole

log = logging.getLogger("lenrl")

TIMES = ("generate", "verify", "strategies", "logp", "update", "step")
TOTALS = ("generated", "trained")  # tokens
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
        self._totals = dict.fromkeys(TOTALS, 0)  # tokens since the run began
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
        self._totals["generated"] += sampled_tokens

    def trained(self, tokens: int) -> None:
        """Count the tokens that an optimizer step learns from, of all processes; before the step has ended."""
        self._totals["trained"] += tokens

    def step(self, step: int, fields: Figures, now: float) -> None:
        """Write the line of a finished optimizer step."""
        seconds = dict(self._seconds)
        seconds["step"] = now - self._step_began
        spent = sum(seconds.get(name, 0.0) for name in ("generate", "verify", "strategies", "logp"))
        seconds["update"] = seconds["step"] - spent
        line = {"step": step, **self._rollout, **fields}
        line |= {f"time_{name}_s": round(seconds.get(name, 0.0), 6) for name in TIMES}
        line["tokens_per_s"] = self._sampled_tokens / seconds["step"] if seconds["step"] > 0 else None
        line |= {f"tokens_{name}_total": count for name, count in self._totals.items()}
        self.last_metrics = {k: v for k, v in line.items() if isinstance(v, (int, float)) and k != "step"}
        self._append("metrics.jsonl", line | {"time_unix_s": round(time.time(), 3)})

    def evaluated(self, step: int, metrics: Figures) -> None:
        """Write the figures on the development problems."""
        self._append("dev.jsonl", {"step": step, **metrics})

    def dev_problems(
        self, step: int, rows: Sequence[tuple[bool | None, int, bool, str, str]], bases: Mapping[str, str]
    ) -> None:
        """Write the newest evaluation on the development problems, problem by problem: sweeps pair trials by it.

        `bases`: of a problem that is told several times the first telling, by its id.
        """
        if not self.is_main:
            return
        correct, tokens, _, _, names = zip(*rows, strict=True)
        path = self.run_dir / "dev_problems.json"
        found = {"step": step, "prompt_id": names, "correct": correct, "tokens": tokens}
        found |= {"base": [bases[name] for name in names]} if bases else {}
        with self._forgiving(path):
            write_json(path, found, indent=None)

    def wants(self, rollout: int) -> bool:
        """The completions of a rollout, counted from 0, are written; the same on every process."""
        return self.every > 0 and rollout % self.every == 0

    def completions(self, step: int, make: Callable[[], pa.Table]) -> None:
        """Write the table of one rollout's completions, after `step` completed optimizer steps."""
        if not self.is_main:
            return
        part, table = self._parts[step], make()
        self._parts[step] += 1
        path = self.run_dir / "completions" / f"step{step + 1:06d}-{part}.parquet"
        with self._forgiving(path):
            # A deleted run's folder must not appear again: the next save notices
            path.parent.mkdir(exist_ok=True)
            write_whole(path, lambda draft: pq.write_table(table, draft))

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

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON: the figures of the rollout that the next steps may still use, and the tokens so far."""
        return {"rollout": {k: _plain(v) for k, v in self._rollout.items()}, "totals": dict(self._totals)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with those figures; of a checkpoint without totals they begin at 0."""
        self._rollout = dict(state["rollout"])
        self._totals = dict.fromkeys(TOTALS, 0) | dict(state.get("totals", {}))

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
