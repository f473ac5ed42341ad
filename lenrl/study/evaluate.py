"""Accuracy and tokens of models on the problems of a task, with intervals, on the same prompts for all.

Writes `eval.json` and one parquet file of completions for each model and decoding.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import platform
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lenrl import __version__, measures
from lenrl.engine import data
from lenrl.engine.rollout import completion_text
from lenrl.engine.sample import Completion, sample
from lenrl.errors import BadInput
from lenrl.rollouts import Verdict
from lenrl.study import models as loading
from lenrl.tasks import GymTask, Problem, Task, build, digest, encode, messages
from lenrl.verify.pool import Claim, Verifier
from lenrl.verify.settings import VerifierSettings

FEW_PROMPTS = 100  # below, a 95 % interval of an accuracy is up to 20 points wide
MUCH_TRUNCATED = 0.1  # share; above, lengths and accuracies say more of the cap than of the model
MAX_GRADES = 20  # different difficulties; more are no breakdown
PASS_AT = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Decoding:
    """How completions are drawn. Greedy takes one sample; its temperature, top_p and top_k mean nothing."""

    name: str  # sampled | greedy
    samples: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 4096
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What one model did under one decoding: P prompts, S samples; lists run prompt by prompt."""

    model: str
    decoding: Decoding
    problems: Sequence[Problem]
    completions: list[Completion]
    texts: list[str]
    verdicts: list[Verdict]
    seconds: dict[str, float]

    @property
    def correct_PS(self) -> np.ndarray:
        """Verdicts, (P, S): 1, 0 or NaN."""
        values = [math.nan if v.correct is None else float(v.correct) for v in self.verdicts]
        return np.array(values).reshape(len(self.problems), -1)

    @property
    def tokens_PS(self) -> np.ndarray:
        """Tokens, (P, S)."""
        return np.array([len(c.ids) for c in self.completions], dtype=float).reshape(len(self.problems), -1)


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
        max_new_tokens, temperature, top_p, top_k, batch_size, seed: see `lenrl.engine.sample.sample`; the cap is
            lowered, with a warning, to what a model's context leaves.
        out_dir: where `eval.json` and `completions-*.parquet` go; None: nowhere.
        verifier_settings: default: the verifier's own, with the scorer of reasoning-gym for its tasks.
        device, dtype, think_prefilled, trust_remote_code: see `lenrl.study.models.load`.
        console: shows a progress bar there.

    Raises:
        BadInput: a model, the task or an option can't be used.
    """
    if not models:
        raise BadInput("no model given; name at least one: tiny, a folder, a run's folder or a hub id")
    names = tuple(decodings or (["greedy"] if greedy else ["sampled"]))
    plans = [
        _decoding(name, samples, temperature, top_p, top_k, max_new_tokens, seed)
        for name in dict.fromkeys(names)
    ]
    for name in models:
        loading.find(name)  # a misspelt second model must not cost the first one's evaluation
    task = task if isinstance(task, Task) else build(task)
    settings = _verifier_settings(verifier_settings, task)
    outcomes: list[Outcome] = []
    entries: list[dict[str, Any]] = []
    with Verifier(settings) as verifier:
        problems, audit = data.load(task, split, verifier=verifier)
        total = len(models) * len(problems) * sum(plan.samples for plan in plans)
        with _progress(console, total) as bar:
            for name in models:
                loaded = loading.load(
                    name,
                    device=device,
                    dtype=dtype,
                    think=think_prefilled,
                    trust_remote_code=trust_remote_code,
                )
                prompt_ids = [encode(loaded.tokenizer, messages(task, problem)) for problem in problems]
                for plan in plans:
                    fitting, warnings = _fit(plan, loaded, max(map(len, prompt_ids)))
                    bar(name, plan.name, 0)
                    before = dict(verifier.counts)
                    outcome = _run(loaded, problems, prompt_ids, fitting, verifier, batch_size, bar)
                    counts = {key: verifier.counts[key] - before[key] for key in before}
                    outcomes.append(outcome)
                    entry = describe(outcome) | {"task": _task_name(task), "split": split, "verifier": counts}
                    entry["warnings"] = [*audit.warnings, *warnings, *_warnings(entry)]
                    entry["fingerprint"] = _fingerprint(task, split, problems, fitting, settings, loaded)
                    entries.append(entry)
                del loaded
                gc.collect()
    result = {"models": entries, "pairs": list(_pairs(outcomes, seed))}
    if out_dir is not None:
        _write(Path(out_dir), result, outcomes)
    return result


def describe(outcome: Outcome) -> dict[str, Any]:
    """The figures of one model under one decoding, plain values."""
    correct, tokens = outcome.correct_PS, outcome.tokens_PS
    P, S = tokens.shape
    grades = defaultdict(list)
    for row, problem in enumerate(outcome.problems):
        if problem.difficulty is not None:
            grades[problem.difficulty].append(row)
    grades = grades if len(grades) <= MAX_GRADES else {}
    return {
        "model": outcome.model,
        "decoding": outcome.decoding.name,
        **_headline(correct, tokens),
        "tokens_p50": measures.percentile(tokens, 50),
        "tokens_p95": measures.percentile(tokens, 95),
        "tokens_p99": measures.percentile(tokens, 99),
        "truncated_share": sum(c.truncated for c in outcome.completions) / (P * S),
        **measures.tokens_by_verdict(correct, tokens),
        "samples": S,
        "prompts": P,
        "unknown": int(np.isnan(correct).sum()),
        "pass_at_k": {str(k): measures.pass_at_k(correct, k) for k in PASS_AT if k <= S},
        "by_difficulty": {
            str(grade): _headline(correct[rows], tokens[rows]) | {"prompts": len(rows)}
            for grade, rows in sorted(grades.items(), key=lambda item: (isinstance(item[0], str), item[0]))
        },
        "seconds": outcome.seconds,
    }


def _headline(correct_PS: np.ndarray, tokens_PS: np.ndarray) -> dict[str, Any]:
    accuracy, tokens = measures.accuracy(correct_PS), measures.mean_tokens(tokens_PS)
    return {
        "accuracy": accuracy.value if accuracy else None,
        "accuracy_ci95": accuracy.ci95 if accuracy else None,
        "tokens_mean": tokens.value,
        "tokens_mean_ci95": tokens.ci95,
    }


def _decoding(
    name: str, samples: int, temperature: float, top_p: float, top_k: int, max_new_tokens: int, seed: int
) -> Decoding:
    if name not in ("sampled", "greedy"):
        raise BadInput(f"decoding {name!r} is unknown; there are sampled, greedy")
    rules = {
        f"samples={samples} is below 1": samples >= 1,
        f"max_new_tokens={max_new_tokens} is below 1": max_new_tokens >= 1,
        f"temperature={temperature} is not above 0; for the most probable token give greedy=true": (
            0 < temperature < math.inf
        ),
        f"top_p={top_p} is outside (0, 1]; 1 keeps everything": 0 < top_p <= 1,
        f"top_k={top_k} is negative; 0 keeps everything": top_k >= 0,
    }
    for complaint, holds in rules.items():
        if not holds:
            raise BadInput(complaint)
    if name == "greedy":
        return Decoding("greedy", max_new_tokens=max_new_tokens, seed=seed)
    return Decoding("sampled", samples, temperature, top_p, top_k, max_new_tokens, seed)


def _verifier_settings(given: VerifierSettings | Mapping[str, Any] | None, task: Task) -> VerifierSettings:
    if isinstance(given, VerifierSettings):
        return given
    options = dict(given or {})
    if isinstance(task, GymTask):
        options.setdefault("kind", "gym")
    try:
        return VerifierSettings.model_validate(options)
    except ValueError as error:
        raise BadInput(f"verifier options {options!r}: {error}") from None


def _fit(plan: Decoding, loaded: loading.Loaded, longest_prompt: int) -> tuple[Decoding, list[str]]:
    """The decoding with its cap lowered to what the model's context leaves beside the longest prompt."""
    room = plan.max_new_tokens if loaded.context is None else loaded.context - longest_prompt
    if room < 1:
        raise BadInput(
            f"the longest prompt has {longest_prompt} tokens, model {loaded.name!r} is made for {loaded.context}; "
            "choose a model with a longer context, or shorter prompts"
        )
    if room >= plan.max_new_tokens:
        return plan, []
    lowered = Decoding(**{**asdict(plan), "max_new_tokens": room})
    return lowered, [f"max_new_tokens lowered from {plan.max_new_tokens} to {room}: the model's context"]


def _run(
    loaded: loading.Loaded,
    problems: Sequence[Problem],
    prompt_ids: list[list[int]],
    plan: Decoding,
    verifier: Verifier,
    batch_size: int | None,
    bar: Any,
) -> Outcome:
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
        batch_size=batch_size,
        seed=plan.seed,
        eos_ids=loaded.eos_ids,
        progress=lambda count: bar(loaded.name, plan.name, count),
    )
    sampled = time.perf_counter()
    texts = [completion_text(loaded.tokenizer, c.ids, loaded.eos_ids) for c in completions]
    golds = [problem.answer for problem in problems for _ in range(plan.samples)]
    claims = [Claim(text, gold, loaded.think_prefilled) for text, gold in zip(texts, golds, strict=True)]
    verdicts = verifier.verify(claims)
    seconds = {"generate": sampled - began, "verify": time.perf_counter() - sampled}
    return Outcome(loaded.name, plan, problems, completions, texts, verdicts, seconds)


def _pairs(outcomes: Sequence[Outcome], seed: int) -> Iterator[dict[str, Any]]:
    """Each model against the first one, under the same decoding."""
    for outcome in outcomes[1:]:
        base = next(o for o in outcomes if o.decoding.name == outcome.decoding.name)
        if base is outcome:
            continue
        found = measures.compare(base.correct_PS, base.tokens_PS, outcome.correct_PS, outcome.tokens_PS, seed)
        diff = found.accuracy_diff
        yield {
            "base": base.model,
            "model": outcome.model,
            "decoding": outcome.decoding.name,
            "accuracy_diff": diff.value if diff else None,
            "accuracy_diff_ci95": diff.ci95 if diff else None,
            "tokens_ratio": found.tokens_ratio.value,
            "tokens_ratio_ci95": found.tokens_ratio.ci95,
            "aes": found.aes,
            "aes_weights": {"rise": measures.AES_RISE, "fall": measures.AES_FALL},
        }


def _warnings(entry: Mapping[str, Any]) -> list[str]:
    found = []
    if entry["prompts"] < FEW_PROMPTS and entry["accuracy_ci95"] is not None:
        low, high = entry["accuracy_ci95"]
        found.append(
            f"{entry['prompts']} prompts are few: the accuracy is known to {50 * (high - low):.0f} points up or "
            f"down; give at least {FEW_PROMPTS} before comparing"
        )
    if entry["truncated_share"] > MUCH_TRUNCATED:
        found.append(
            f"{entry['truncated_share']:.0%} of the completions were cut at the cap: lengths and accuracy say more "
            "of the cap than of the model; raise max_new_tokens"
        )
    if entry["unknown"]:
        found.append(f"{entry['unknown']} verdicts are unknown and left out of the accuracy")
    return found


def _fingerprint(
    task: Task,
    split: str,
    problems: Sequence[Problem],
    plan: Decoding,
    settings: VerifierSettings,
    loaded: loading.Loaded,
) -> dict[str, Any]:
    """Everything beside the model that moves the figures; compare figures only where the hash is equal."""
    parameter = next(loaded.model.parameters())
    found: dict[str, Any] = {
        "task": digest(task, problems),
        "split": split,
        "prompts": len(problems),
        "decoding": asdict(plan),
        "verifier": settings.model_dump(mode="json", exclude={"workers"}),
        "arithmetic": f"{parameter.dtype} on {parameter.device.type}".removeprefix("torch."),
        "versions": {
            "lenrl": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "math-verify")},
        },
    }
    text = json.dumps(found, sort_keys=True)
    return found | {"hash": hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}


def _task_name(task: Task) -> str:
    return str(getattr(task, "path", None) or getattr(task, "generator", None) or task.name)


def _write(folder: Path, result: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
    """`completions-*.parquet` first, `eval.json` last and at once: where it stands, all of it is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, (entry, outcome) in enumerate(zip(result["models"], outcomes, strict=True)):
            slug = re.sub(r"[^A-Za-z0-9.-]+", "-", outcome.model).strip("-.")[-60:]
            entry["completions"] = f"completions-{number}-{slug}-{outcome.decoding.name}.parquet"
            pq.write_table(pa.table(_columns(outcome)), folder / entry["completions"])
        draft = folder / "eval.json.part"
        draft.write_text(json.dumps(_plain(result), indent=2, allow_nan=False) + "\n")
        draft.replace(folder / "eval.json")
    except OSError as error:
        raise BadInput(f"out_dir {str(folder)!r} can't be written ({error}); give another folder") from error


def _columns(outcome: Outcome) -> dict[str, list[Any]]:
    problems = [problem for problem in outcome.problems for _ in range(outcome.decoding.samples)]
    return {
        "prompt_id": [problem.id for problem in problems],
        "prompt": [problem.prompt for problem in problems],
        "gold": [problem.answer for problem in problems],
        "completion": [text.encode("utf-8", "replace").decode() for text in outcome.texts],
        "answer": [verdict.answer for verdict in outcome.verdicts],
        "verdict": [verdict.correct for verdict in outcome.verdicts],
        "outcome": [verdict.outcome for verdict in outcome.verdicts],
        "tokens": [len(completion.ids) for completion in outcome.completions],
        "truncated": [completion.truncated for completion in outcome.completions],
        "difficulty": [None if p.difficulty is None else str(p.difficulty) for p in problems],
        "model": [outcome.model] * len(problems),
        "decoding": [outcome.decoding.name] * len(problems),
    }


def _plain(value: Any) -> Any:
    """JSON has no infinity and no NaN: they become null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
