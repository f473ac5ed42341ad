"""Accuracy and tokens of models on the problems of a task, with intervals, on the same prompts for all.

Writes `eval.json` and, for each model and decoding, parquet files of completions and of prompts. Completions
are kept as they are sampled: the same evaluation into the same folder continues.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lenrl import measures
from lenrl.errors import BadInput
from lenrl.evaluation import sft as sft_rows
from lenrl.evaluation.cache import CompletionCache
from lenrl.evaluation.fingerprint import fingerprint
from lenrl.evaluation.output import plain, stem, write
from lenrl.evaluation.results import ModelResults, describe, mark_front, pairs, warnings
from lenrl.generation.base import Decoding
from lenrl.generation.engines import Engine, opened
from lenrl.generation.names import find
from lenrl.generation.sampling import completion_text
from lenrl.tasks import Problem, Task, build, encode, messages
from lenrl.tasks.audit import load
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
    budget: int | None = None,
    vote_width: int = measures.VOTE_WIDTH,
    out_dir: Path | str | None = None,
    replace_other: bool = False,
    sft: Path | None = None,
    verifier_settings: VerifierSettings | Mapping[str, Any] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    tokenizer: str | None = None,
    think_prefilled: bool | None = None,
    trust_remote_code: bool = False,
    engine: str = "transformers",
    server_url: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure models on the same problems; the result is what `eval.json` holds.

    Args:
        models: names for `lenrl.generation.transformers_engine.find`; the first one is the base of the pairs.
        task: a task, its options, its name, or a data file.
        split: which of its problems.
        samples: completions a prompt when sampling.
        greedy: greedy decoding instead of sampling.
        decodings: any of `sampled`, `greedy`, each measured; overrides `greedy`.
        max_new_tokens, temperature, top_p, top_k, batch_size, seed: see `lenrl.generation.sampling.sample`; the cap
            is lowered, with a warning, to what a model's context leaves.
        budget: tokens up to which accuracies within a budget are given, and the area; default: the cap.
        vote_width: steps of a bucket of the length-filtered vote.
        out_dir: where `eval.json` and the parquet files go; None: nowhere. Completions that it holds of the
            same models and settings are not sampled again.
        replace_other: completions of other models or settings there are replaced instead of refused.
        sft: a new file for the shortest correct completions, see `lenrl.evaluation.sft`.
        verifier_settings: default: the verifier's own, with the scorer of reasoning-gym for its tasks.
        device, dtype, revision, tokenizer, think_prefilled, trust_remote_code: see
            `lenrl.generation.transformers_engine.load`.
        engine, server_url: what samples, see `lenrl.generation.engines`.
        console: shows a progress bar there.

    Returns:
        `models`: figures of each model and decoding; `pairs`: each model against the first one.

    Raises:
        BadInput: a model, the task or an option can't be used, or `out_dir` holds something else.
    """
    if not models:
        raise BadInput("no model given; name at least one: tiny, a folder, a run's folder or a hub id")
    drawn = Decoding("sampled", samples, temperature, top_p, top_k, max_new_tokens, seed)
    wanted = dict.fromkeys(decodings or ["greedy" if greedy else "sampled"])
    plans = [drawn if name == "sampled" else Decoding(name, max_new_tokens=max_new_tokens) for name in wanted]
    for name in models:
        if engine != "server":  # which has names of its own
            find(name)  # a misspelt second model must not cost the first one's evaluation
    if (budget is not None and budget < 1) or vote_width < 1:
        raise BadInput(f"budget={budget}, vote_width={vote_width}: both are at least 1")
    if sft is not None:
        sft_rows.refuse(sft, len(models), len(plans))
    task = task if isinstance(task, Task) else build(task)
    folder = None if out_dir is None else Path(out_dir)
    measured: list[tuple[ModelResults, dict[str, Any]]] = []
    sources: list[dict[str, Any]] = []
    spoken: Any = None  # the last model's tokenizer
    with Verifier(_verifier_settings(verifier_settings, task)) as verifier:
        problems, audit = load(task, split, verifier=verifier)
        total = len(models) * len(problems) * sum(plan.samples for plan in plans)
        with _progress(console, total) as bar:
            bench = _Bench(task, split, problems, verifier, batch_size, bar)
            for name in models:
                loaded = opened(
                    engine,
                    name,
                    server_url,
                    device=device,
                    dtype=dtype,
                    revision=revision,
                    tokenizer=tokenizer,
                    think=think_prefilled,
                    trust_remote_code=trust_remote_code,
                )
                for plan in plans:
                    fitting, prompt_ids, lowered = bench.fit(loaded, plan)
                    source = bench.source(loaded, fitting, prompt_ids)
                    kept = CompletionCache(folder, stem(len(measured), plan.name), source, replace_other)
                    outcome, counts = bench.run(loaded, fitting, prompt_ids, kept)
                    entry = describe(outcome, budget or max_new_tokens, vote_width) | source
                    entry |= {"task": _task_name(task), "split": split, "verifier": counts}
                    entry |= {"resumed": len(kept.done)}
                    entry["warnings"] = [*audit.warnings, *lowered, *warnings(entry)]
                    measured.append((outcome, entry))
                    sources.append(source)
                spoken = loaded.tokenizer
                del loaded  # before the next one is loaded
                gc.collect()
    entries = [entry for _, entry in measured]
    mark_front(entries)
    result = plain({"models": entries, "pairs": list(pairs(measured, seed))})
    if folder is not None:
        write(folder, result, [outcome for outcome, _ in measured], sources)
    if sft is not None:
        sft_rows.write(sft, task, measured[0][0], spoken)
    return result


@dataclass(frozen=True)
class _Bench:
    """What all models are measured on, and with."""

    task: Task
    split: str
    problems: Sequence[Problem]
    verifier: Verifier
    batch_size: int | None
    bar: Any

    def fit(self, loaded: Engine, plan: Decoding) -> tuple[Decoding, list[list[int]], list[str]]:
        """The decoding that the model's context allows, the prompts' token ids, and warnings."""
        prompt_ids = [encode(loaded.tokenizer, messages(self.task, problem)) for problem in self.problems]
        fitting, lowered = _fit(plan, loaded, max(map(len, prompt_ids)))
        return fitting, prompt_ids, lowered

    def source(self, loaded: Engine, plan: Decoding, prompt_ids: list[list[int]]) -> dict[str, Any]:
        """What the completions and their figures come from."""
        found = fingerprint(
            loaded,
            self.task,
            split=self.split,
            problems=self.problems,
            prompt_ids=prompt_ids,
            plan=plan,
            verifier=self.verifier.settings,
        )
        return {"fingerprint": found, "weights": loaded.weights()}

    def run(
        self, loaded: Engine, plan: Decoding, prompt_ids: list[list[int]], kept: CompletionCache
    ) -> tuple[ModelResults, dict[str, int]]:
        """Sample what is not kept, verify all; the outcome, and what the verifier counted."""
        self.bar(loaded.name, plan.name, 0)
        before = dict(self.verifier.counts)
        began = time.perf_counter()
        completions = loaded.sample(
            [ids for ids in prompt_ids for _ in range(plan.samples)],
            plan,
            batch_size=self.batch_size,
            done=kept.done,
            keep=kept.add,
            progress=lambda count: self.bar(loaded.name, plan.name, count),
        )
        sampled = time.perf_counter()
        texts = [completion_text(loaded.tokenizer, c.ids, loaded.eos_ids) for c in completions]
        golds = [problem.answer for problem in self.problems for _ in range(plan.samples)]
        claims = [Claim(text, gold, loaded.think_prefilled) for text, gold in zip(texts, golds, strict=True)]
        verdicts = self.verifier.verify(claims)
        seconds = {"generate": sampled - began, "verify": time.perf_counter() - sampled}
        counts = {name: count - before[name] for name, count in self.verifier.counts.items()}
        return ModelResults(loaded.name, plan, self.problems, completions, texts, verdicts, seconds), counts


def _verifier_settings(given: VerifierSettings | Mapping[str, Any] | None, task: Task) -> VerifierSettings:
    return given if isinstance(given, VerifierSettings) else VerifierSettings.read(given or {}, task.VERIFIER)


def _fit(plan: Decoding, loaded: Engine, longest_prompt: int) -> tuple[Decoding, list[str]]:
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
