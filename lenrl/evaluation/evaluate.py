"""Accuracy and tokens of models on the problems of a task, with intervals, on the same prompts for all.

Writes `eval.json` and, for each model and decoding, parquet files of completions and of prompts. Completions
are kept as they are sampled: the same evaluation into the same folder continues.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lenrl import measures
from lenrl.errors import BadInput
from lenrl.evaluation import sft as sft_rows
from lenrl.evaluation import tellings
from lenrl.evaluation.by_function import columns_of, judged
from lenrl.evaluation.cache import CompletionCache
from lenrl.evaluation.controlled import Controlled, controls_of, search_warnings, thinking_of, word_warnings
from lenrl.evaluation.doubts import control_warnings, warnings
from lenrl.evaluation.fingerprint import fingerprint
from lenrl.evaluation.hinted import Ways, hinted, hints_of
from lenrl.evaluation.measure import measure
from lenrl.evaluation.output import plain, stem, write
from lenrl.evaluation.pairs import mark_front, pairs
from lenrl.evaluation.results import NONE, ModelResults, describe, reach_of
from lenrl.evaluation.settings import EvalSettings
from lenrl.evaluation.structured import check_structure, with_structure
from lenrl.generation.base import Batches, Completion, Decoding, Engine
from lenrl.generation.controls import Control
from lenrl.generation.engines import load_engine
from lenrl.generation.pretrained import find
from lenrl.generation.sampling import completion_text
from lenrl.measures.format import Evaluation, Figures
from lenrl.rollouts import Verdict
from lenrl.strategies.functions import FunctionInputs, RewardFunction
from lenrl.tasks import Problem, Task, build, encode, messages
from lenrl.tasks.audit import load
from lenrl.tasks.prompts import Prompts
from lenrl.verify.claims import AnyVerifier
from lenrl.verify.several import verifier_of


def evaluate(
    models: Sequence[str],
    task: Task | Mapping[str, object] | str,
    settings: EvalSettings,
    *,
    out_dir: Path | str | None = None,
    replace_other: bool = False,
    sft: Path | None = None,
    judge: RewardFunction | None = None,
    console: Console | None = None,
) -> Evaluation:
    """Measure models on the same problems; the result is what `eval.json` holds.

    Args:
        models: names for `lenrl.generation.pretrained.find`; the first one is the base of the pairs.
        task: a task, its options, its name, or a data file.
        settings: how they are measured.
        out_dir: where `eval.json` and the parquet files go; None: nowhere. Completions that it holds of the
            same models and settings are not sampled again.
        replace_other: completions of other models or settings there are replaced instead of refused.
        sft: a new file for the shortest correct completions, see `lenrl.evaluation.sft`.
        judge: gives the verdicts in the verifier's place.
        console: shows a progress bar there.

    Raises:
        BadInput: a model, the task or an option can't be used, or `out_dir` holds something else.
    """
    _check(models, settings, sft)
    decodings = settings.each_decoding()
    controls = [controls_of(settings, first=place == 0) for place in range(len(models))]
    task = task if isinstance(task, Task) else build(task)
    check_structure(settings, task)
    folder = None if out_dir is None else Path(out_dir)
    measured: list[tuple[ModelResults, Figures]] = []
    tokenizer = None  # the last model's
    with verifier_of(task.verifier_settings(settings.verifier)) as verifier:
        problems, audit = load(task, settings.split, verifier=verifier)
        hints = hints_of(models, problems, settings)
        ways = sum(1 + len(own) + len(words) for own, words in zip(controls, hints, strict=True))
        if sft is not None:
            sft_rows.refuse(sft, ways, len(decodings))
        total = ways * len(problems) * sum(decoding.samples for decoding in decodings)
        with _progress(console, total) as bar:
            bench = _Bench(task, settings, problems, verifier, judge, bar, folder, replace_other)
            for name, own, words in zip(models, controls, hints, strict=True):
                engine = load_engine(name, settings)
                for results, entry in bench.of_model(engine, decodings, own, words, len(measured)):
                    entry["warnings"] = [*audit.warnings, *entry["warnings"], *warnings(entry)]
                    measured.append((results, entry))
                tokenizer = engine.info.tokenizer
                del engine  # before the next one is loaded
                gc.collect()
    entries = [entry for _, entry in measured]
    mark_front(entries)
    result: Evaluation = plain({"models": entries, "pairs": list(pairs(measured, settings.seed))})
    if folder is not None:
        write(folder, result, [results for results, _ in measured])
    if sft is not None and tokenizer is not None:
        sft_rows.write(sft, task, measured[0][0], tokenizer, settings.sft_pick or "shortest")
    return result


@dataclass(frozen=True)
class _Bench:
    """Problems, verifier and folder that all models share."""

    task: Task
    settings: EvalSettings
    problems: Sequence[Problem]
    verifier: AnyVerifier
    judge: RewardFunction | None
    bar: Callable[[str, str, int], None]
    folder: Path | None
    replace_other: bool

    def of_model(
        self,
        engine: Engine,
        decodings: Sequence[Decoding],
        controls: Sequence[Control],
        hints: Ways,
        number: int,
    ) -> Iterator[tuple[ModelResults, Figures]]:
        """Results and entry under each decoding: as it is, under each control, with each of its budget's words.

        `number`: of the first.
        """
        answers = self.verifier.settings.format
        if self.settings.logps and (reason := engine.no_logps()):
            raise BadInput(
                f"logps=true: {engine.name!r} gives no log-probs: {reason}; leave it out, or choose another engine"
            )
        thinking = thinking_of(engine, controls, answers, self.settings.max_new_tokens)
        for decoding in decodings:
            free, entry = self.run(engine, decoding, number)
            if controls:
                entry["warnings"] += [*search_warnings(self.settings), *word_warnings(self.settings)]
            yield free, entry
            ways = [Controlled(control, thinking, free) for control in controls]
            ways += hinted(hints, self.problems, thinking, free)
            for place, way in enumerate(ways, number + 1):
                results, entry = self.run(engine, decoding, place, way)
                entry["warnings"] += control_warnings(results, free)
                yield results, entry
            number += 1 + len(ways)

    def run(
        self, engine: Engine, decoding: Decoding, number: int, controlled: Controlled | None = None
    ) -> tuple[ModelResults, Figures]:
        """Sample what the folder does not hold, and verify all; the results, and their entry of `eval.json`."""
        settings, tokenizer = self.settings, engine.info.tokenizer
        if controlled is None:
            prompt_ids = [encode(tokenizer, messages(self.task, p)) for p in self.problems]
            name, sample, prefill, identity = NONE, None, "", None
        else:
            prompt_ids = [controlled.prompt_ids(self.task, p) for p in self.problems]
            name, sample = controlled.control.label, controlled.sampler(engine)
            prefill = completion_text(tokenizer, controlled.prefill, engine.info.eos_ids)
            identity = controlled.control.identity(controlled.thinking)
        decoding, lowered = _fit(decoding, engine, max(map(len, prompt_ids)))
        source = {
            "fingerprint": fingerprint(
                engine,
                self.task,
                split=settings.split,
                problems=self.problems,
                prompt_ids=prompt_ids,
                decoding=decoding,
                verifier=self.verifier.settings,
                judge=self.judge,
                control=identity,
            ),
            "weights": engine.weights(),
        }
        logps = settings.logps and (controlled is None or controlled.in_one_piece(engine))
        file = stem(number, decoding.name, name)
        cache = CompletionCache(self.folder, file, source, self.replace_other, logps=logps)
        self.bar(engine.name, decoding.name, len(cache.done))

        def keep(completions: Mapping[int, Completion]) -> None:
            cache.add(completions)
            self.bar(engine.name, decoding.name, len(completions.keys() - cache.done.keys()))

        before = dict(self.verifier.counts)
        batches = Batches(settings.batch_size, cache.done, keep, logps=logps)
        asked = engine, self.problems, prompt_ids, decoding, self.verifier
        results = measure(*asked, batches=batches, sample=sample, prefill=prefill)
        results = replace(results, control=name, verdicts=self._judged(engine, results))
        structure = None
        if settings.structure != "off":
            results, structure = with_structure(results, self.task, settings, tokenizer, self.folder)
        budget = settings.budget or settings.max_new_tokens
        return results, {
            **describe(results, budget, settings.vote_width or measures.VOTE_WIDTH),
            **source,
            **reach_of(results, self.task),
            **({} if structure is None else {"structure": structure}),
            "task": _task_name(self.task),
            "split": settings.split,
            "verifier": {name: count - before[name] for name, count in self.verifier.counts.items()},
            "resumed": len(cache.done),
            "warnings": [*lowered, *tellings.warnings_of(self.problems)],
        }

    def _judged(self, engine: Engine, results: ModelResults) -> list[Verdict]:
        """The verdicts, by the function where there is one."""
        if self.judge is None:
            return results.verdicts
        prompts = Prompts(self.task, engine.info.tokenizer)
        asked = [p for p in self.problems for _ in range(results.decoding.samples)]
        inputs = FunctionInputs(
            prompts=[prompts.for_trl(problem) for problem in asked],
            texts=[results.prefill + text for text in results.texts],
            completion_ids=[completion.ids for completion in results.completions],
            columns=[columns_of(self.task, problem, {}) for problem in asked],
        )
        return judged(self.judge, inputs, results.verdicts)


def _check(models: Sequence[str], settings: EvalSettings, sft: Path | None) -> None:
    if settings.sft_pick and sft is None:
        raise BadInput(
            f"sft_pick={settings.sft_pick} does nothing without --sft NEW.jsonl; give both or neither"
        )
    if not models:
        raise BadInput("no model given; name at least one: tiny, a folder, a run's folder or a hub id")
    for name in models:
        if settings.engine != "server":  # which has names of its own
            find(name)  # a misspelt second model must not cost the first one's evaluation


def _fit(decoding: Decoding, engine: Engine, longest_prompt: int) -> tuple[Decoding, list[str]]:
    """The decoding with its cap lowered to what the model's context leaves next to the longest prompt."""
    cap, context = decoding.max_new_tokens, engine.info.context
    room = cap if context is None else context - longest_prompt
    if room < 1:
        raise BadInput(
            f"the longest prompt has {longest_prompt} tokens, {engine.name!r} takes {context}; "
            "choose a model with a longer context, or shorter prompts"
        )
    if room >= cap:
        return decoding, []
    lowered = f"max_new_tokens lowered from {cap} to {room}: the model's context"
    return decoding.model_copy(update={"max_new_tokens": room}), [lowered]


def _task_name(task: Task) -> str:
    return str(getattr(task, "path", None) or getattr(task, "generator", None) or task.name)


@contextmanager
def _progress(console: Console | None, total: int) -> Iterator[Callable[[str, str, int], None]]:
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
