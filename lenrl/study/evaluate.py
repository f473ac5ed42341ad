"""Accuracy and tokens of models on the problems of a task, with intervals, on the same prompts for all.

Writes `eval.json` and one parquet file of completions for each model and decoding.
"""

from __future__ import annotations

import gc
import hashlib
import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lenrl import __version__
from lenrl.engine import data
from lenrl.engine.rollout import completion_text
from lenrl.engine.sample import sample
from lenrl.errors import BadInput
from lenrl.models import find
from lenrl.study import models as loading
from lenrl.study.evalfiles import plain, write
from lenrl.study.outcome import Decoding, Outcome, describe, pairs, warnings
from lenrl.tasks import GymTask, Problem, Task, build, digest, encode, messages
from lenrl.verify.pool import Claim, Verifier
from lenrl.verify.settings import VerifierSettings


def evaluate(
    models: Sequence[str],
    task: Task | Mapping[str, Any] | str,
    *,
    split: str = "test",
    samples: int = 1,
    greedy: bool = False,
    decodings: Sequence[str] | None = None,
    max_new_tokens: int = 4096,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    batch_size: int | None = None,
    seed: int = 0,
    out_dir: Path | str | None = None,
    verifier_settings: VerifierSettings | Mapping[str, Any] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    tokenizer: str | None = None,
    think_prefilled: bool | None = None,
    trust_remote_code: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure models on the same problems; the result is what `eval.json` holds.

    Args:
        models: names for `lenrl.study.models.find`; the first one is the base of the pairs.
        task: a task, its options, its name, or a data file.
        split: which of its problems.
        samples: completions a prompt when sampling.
        greedy: greedy decoding instead of sampling.
        decodings: any of `sampled`, `greedy`, each measured; overrides `greedy`.
        max_new_tokens, temperature, top_p, top_k, batch_size, seed: see `lenrl.engine.sample.sample`; the cap
            is lowered, with a warning, to what a model's context leaves.
        out_dir: where `eval.json` and `completions-*.parquet` go; None: nowhere.
        verifier_settings: default: the verifier's own, with the scorer of reasoning-gym for its tasks.
        device, dtype, revision, tokenizer, think_prefilled, trust_remote_code: see `lenrl.study.models.load`.
        console: shows a progress bar there.

    Returns:
        `models`: figures of each model and decoding; `pairs`: each model against the first one.

    Raises:
        BadInput: a model, the task or an option can't be used.
    """
    if not models:
        raise BadInput("no model given; name at least one: tiny, a folder, a run's folder or a hub id")
    drawn = Decoding("sampled", samples, temperature, top_p, top_k, max_new_tokens, seed)
    wanted = dict.fromkeys(decodings or ["greedy" if greedy else "sampled"])
    plans = [drawn if name == "sampled" else Decoding(name, max_new_tokens=max_new_tokens) for name in wanted]
    for name in models:
        find(name)  # a misspelt second model must not cost the first one's evaluation
    task = task if isinstance(task, Task) else build(task)
    measured: list[tuple[Outcome, dict[str, Any]]] = []
    with Verifier(_verifier_settings(verifier_settings, task)) as verifier:
        problems, audit = data.load(task, split, verifier=verifier)
        total = len(models) * len(problems) * sum(plan.samples for plan in plans)
        with _progress(console, total) as bar:
            bench = _Bench(task, split, problems, audit.warnings, verifier, batch_size, bar)
            for name in models:
                loaded = loading.load(
                    name,
                    device=device,
                    dtype=dtype,
                    revision=revision,
                    tokenizer=tokenizer,
                    think=think_prefilled,
                    trust_remote_code=trust_remote_code,
                )
                measured += [bench.measure(loaded, plan) for plan in plans]
                del loaded  # before the next one is loaded
                gc.collect()
    outcomes = [outcome for outcome, _ in measured]
    result = plain({"models": [entry for _, entry in measured], "pairs": list(pairs(outcomes, seed))})
    if out_dir is not None:
        write(Path(out_dir), result, outcomes)
    return result


@dataclass(frozen=True)
class _Bench:
    """What all models are measured on, and with."""

    task: Task
    split: str
    problems: Sequence[Problem]
    audit_warnings: Sequence[str]
    verifier: Verifier
    batch_size: int | None
    bar: Any

    def measure(self, loaded: loading.Loaded, plan: Decoding) -> tuple[Outcome, dict[str, Any]]:
        """Sample, verify, describe; the entry of `eval.json` beside what it was made from."""
        prompt_ids = [encode(loaded.tokenizer, messages(self.task, problem)) for problem in self.problems]
        fitting, lowered = _fit(plan, loaded, max(map(len, prompt_ids)))
        self.bar(loaded.name, plan.name, 0)
        before = dict(self.verifier.counts)
        outcome = self._run(loaded, prompt_ids, fitting)
        entry = describe(outcome) | {
            "task": _task_name(self.task),
            "split": self.split,
            "verifier": {key: count - before[key] for key, count in self.verifier.counts.items()},
            "fingerprint": self._fingerprint(loaded, fitting),
        }
        entry["warnings"] = [*self.audit_warnings, *lowered, *warnings(entry)]
        return outcome, entry

    def _run(self, loaded: loading.Loaded, prompt_ids: list[list[int]], plan: Decoding) -> Outcome:
        began = time.perf_counter()
        completions = sample(
            loaded.model,
            loaded.tokenizer,
            [ids for ids in prompt_ids for _ in range(plan.samples)],
            max_new_tokens=plan.max_new_tokens,
            greedy=plan.name == "greedy",
            temperature=plan.temperature,
            top_p=plan.top_p,
            top_k=plan.top_k,
            batch_size=self.batch_size,
            seed=plan.seed,
            eos_ids=loaded.eos_ids,
            progress=lambda count: self.bar(loaded.name, plan.name, count),
        )
        sampled = time.perf_counter()
        texts = [completion_text(loaded.tokenizer, c.ids, loaded.eos_ids) for c in completions]
        golds = [problem.answer for problem in self.problems for _ in range(plan.samples)]
        claims = [Claim(text, gold, loaded.think_prefilled) for text, gold in zip(texts, golds, strict=True)]
        verdicts = self.verifier.verify(claims)
        seconds = {"generate": sampled - began, "verify": time.perf_counter() - sampled}
        return Outcome(loaded.name, plan, self.problems, completions, texts, verdicts, seconds)

    def _fingerprint(self, loaded: loading.Loaded, plan: Decoding) -> dict[str, Any]:
        """Everything beside the model that moves the figures; only equal hashes are comparable."""
        parameter = next(loaded.model.parameters())
        found: dict[str, Any] = {
            "task": digest(self.task, self.problems),
            "split": self.split,
            "prompts": len(self.problems),
            "decoding": asdict(plan),
            "verifier": self.verifier.settings.model_dump(mode="json", exclude={"workers"}),
            "arithmetic": f"{parameter.dtype} on {parameter.device.type}".removeprefix("torch."),
            "versions": {
                "lenrl": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "transformers", "math-verify")},
            },
        }
        text = json.dumps(found, sort_keys=True)
        return found | {"hash": hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}


def _verifier_settings(given: VerifierSettings | Mapping[str, Any] | None, task: Task) -> VerifierSettings:
    if isinstance(given, VerifierSettings):
        return given
    options = dict(given or {})
    if isinstance(task, GymTask):
        options.setdefault("kind", "gym")
    return VerifierSettings.read(options)


def _fit(plan: Decoding, loaded: loading.Loaded, longest_prompt: int) -> tuple[Decoding, list[str]]:
    """The decoding with its cap lowered to what the model's context leaves beside the longest prompt."""
    room = plan.max_new_tokens if loaded.context is None else loaded.context - longest_prompt
    if room < 1:
        raise BadInput(
            f"the longest prompt has {longest_prompt} tokens, {loaded.name!r} takes {loaded.context}; "
            "choose a model with a longer context, or shorter prompts"
        )
    if room >= plan.max_new_tokens:
        return plan, []
    return replace(plan, max_new_tokens=room), [
        f"max_new_tokens lowered from {plan.max_new_tokens} to {room}: the model's context"
    ]


def _task_name(task: Task) -> str:
    return str(getattr(task, "path", None) or getattr(task, "generator", None) or task.name)


@contextmanager
def _progress(console: Console | None, total: int) -> Iterator[Any]:
    """A function (model, decoding, finished completions) that moves a bar, if there is a console."""
    if console is None:
        yield lambda model, decoding, count: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        job = progress.add_task("evaluate", total=total)
        yield lambda model, decoding, count: progress.update(
            job, description=f"{model}, {decoding}", advance=count
        )
