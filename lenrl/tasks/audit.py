"""The problems that a run or an evaluation uses, after an audit of answers, prompts and repetitions."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from lenrl.errors import BadInput, shown
from lenrl.tasks import SPLITS, MixTask, Problem, Task, by_part, encode, messages

NAMED = 3  # examples in a message


class Readable(Protocol):
    """The part of a verifier that the audit needs."""

    def readable(self, golds: list[str]) -> list[bool]:
        """For each gold answer: taken as an answer, it is judged correct against itself."""
        ...

    def part(self, name: str) -> "Readable":
        """The verifier of a part of a mix."""
        ...


@dataclass(frozen=True)
class Audit:
    """Findings in a split: counts of problems, and a sentence for each that is worth a warning."""

    split: str
    found: int = 0
    kept: int = 0
    without_answer: int = 0  # None or blank; dropped
    unreadable: int = 0  # the verifier can't read the gold answer; dropped
    long_prompts: int = 0  # dropped
    duplicates: int = 0  # same prompt, same answer; kept
    conflicts: int = 0  # prompts with different answers; kept
    overlap: int = 0  # prompts that another split holds too; kept
    in_mix: int = 0  # of a mix's part: as many of the mix's problems, repetitions included
    warnings: tuple[str, ...] = field(default=())
    parts: Mapping[str, "Audit"] = field(default_factory=dict)  # of a mix

    def counts(self) -> dict[str, int]:
        """The counts as plain values, for logs."""
        return {name: value for name, value in asdict(self).items() if isinstance(value, int)}


def load(
    task: Task,
    split: str,
    tokenizer: Any = None,
    verifier: Readable | None = None,
    max_prompt_tokens: int | None = None,
    *,
    others: Sequence[Problem] = (),
) -> tuple[list[Problem], Audit]:
    """The usable problems of a split, and what the audit found.

    Args:
        task: its `max_unreadable` and `long_prompts` decide what is refused.
        split: train, dev or test.
        tokenizer: with its chat template prompts are measured; needed for `max_prompt_tokens`.
        verifier: reads the gold answers; None: only missing and blank ones are found.
        max_prompt_tokens: longest prompt, template included; None: any.
        others: problems of the other splits, for counting the overlap.

    Raises:
        BadInput: the split is empty (before or after dropping), too many gold answers are unreadable, or a
            prompt is too long and the task does not say to drop it.
    """
    if isinstance(task, MixTask):
        return _load_parts(task, split, tokenizer, verifier, max_prompt_tokens, others)
    try:
        problems = task.problems(split)
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput(f"task {task.name!r}: {error}") from error
    if not problems:
        without = "" if split == "train" else f", or train without them: task.{split}=0"
        raise BadInput(
            f"task {task.name!r} gives no {split} problems (task.{split}={task.count(split)}); "
            f"raise task.{split}, or give data with rows for this split{without}"
        )
    audit = Audit(split, found=len(problems))
    if task.labelled:
        problems, audit = _with_answers(task, problems, audit, verifier)
    if max_prompt_tokens is not None:
        problems, audit = _short_enough(task, problems, audit, tokenizer, max_prompt_tokens)
    if not problems:
        raise BadInput(
            f"task {task.name!r}: all {audit.found} {split} problems were dropped ({_dropped(audit)}); "
            "fix the data or the options named there"
        )
    audit = _repetitions(problems, audit)
    audit = _overlap(problems, audit, others)
    return problems, replace(audit, kept=len(problems))


def _load_parts(
    task: MixTask,
    split: str,
    tokenizer: Any,
    verifier: Readable | None,
    max_prompt_tokens: int | None,
    others: Sequence[Problem],
) -> tuple[list[Problem], Audit]:
    """The problems of a mix, each part audited by itself before it is weighed."""
    kept, audits = {}, {}
    for name, count in task.counts(split).items():
        if count == 0 and split != "train":
            continue
        try:
            kept[name], audits[name] = load(
                task.parts[name].task, split, tokenizer, verifier and verifier.part(name), max_prompt_tokens
            )
        except BadInput as fault:
            raise BadInput(f"task.parts.{name}: {fault}") from None
    problems = task.mixed(split, kept)
    if not problems:
        raise BadInput(
            f"task 'mix' gives no {split} problems: no part has any; or leave them out: task.{split}=0"
        )
    said = [f"part {name}: {warning}" for name, audit in audits.items() for warning in audit.warnings]
    sums: dict[str, Any] = {
        name: sum(audit.counts()[name] for audit in audits.values()) for name in Audit(split).counts()
    }
    parts = {name: replace(audits[name], in_mix=len(some)) for name, some in by_part(problems).items()}
    audit = _overlap(problems, replace(Audit(split, **sums), warnings=tuple(said), parts=parts), others)
    return problems, replace(audit, kept=len(problems))


def load_all(
    task: Task,
    splits: Collection[str],
    needed: int,
    *,
    tokenizer: Any,
    verifier: Readable | None,
    max_prompt_tokens: int | None,
    elsewhere: Sequence[Problem] = (),
) -> tuple[dict[str, list[Problem]], list[Audit]]:
    """The usable problems of several splits by name, and their audits; training problems last, held against
    the others and against those that the model is evaluated on `elsewhere`.

    Raises:
        BadInput: what `load` refuses, or fewer training problems than the `needed` prompts of a rollout.
    """
    kept: dict[str, list[Problem]] = {}
    audits = []
    for split in reversed([split for split in SPLITS if split in splits]):
        others = [*elsewhere, *(p for rows in kept.values() for p in rows)] if split == "train" else ()
        kept[split], audit = load(task, split, tokenizer, verifier, max_prompt_tokens, others=others)
        audits.append(audit)
    if len(kept["train"]) < needed:
        raise BadInput(
            f"task {task.name!r} gives {len(kept['train'])} training prompts, a rollout takes {needed}. "
            "Raise task.train, or lower trainer.per_device_train_batch_size, trainer.steps_per_generation or "
            "the number of processes."
        )
    return kept, audits


def _with_answers(
    task: Task, problems: list[Problem], audit: Audit, verifier: Readable | None
) -> tuple[list[Problem], Audit]:
    """Drops what has no gold answer that the verifier can read."""
    answered = [problem for problem in problems if problem.answer and problem.answer.strip()]
    golds = [problem.answer or "" for problem in answered]
    readable = verifier.readable(golds) if verifier is not None else [True] * len(golds)
    kept = [problem for problem, reads in zip(answered, readable, strict=True) if reads]
    audit = replace(audit, without_answer=len(problems) - len(answered), unreadable=len(answered) - len(kept))
    dropped = len(problems) - len(kept)
    if not dropped:
        return kept, audit
    keepers = {problem.id for problem in kept}
    examples = [f"{_place(p)}: {_short(p.answer)}" for p in problems if p.id not in keepers][:NAMED]
    finding = (
        f"{dropped} of {len(problems)} {audit.split} problems have no readable gold answer "
        f"({audit.without_answer} none or blank, {audit.unreadable} unreadable), e.g. {'; '.join(examples)}"
    )
    if dropped > task.max_unreadable * len(problems):
        raise BadInput(
            f"{finding}. That is above task.max_unreadable={task.max_unreadable}: fix the answers, choose "
            "another verifier.kind, or raise task.max_unreadable to drop them"
        )
    return kept, _warn(audit, f"{finding}; they were dropped")


def _short_enough(
    task: Task, problems: list[Problem], audit: Audit, tokenizer: Any, limit: int
) -> tuple[list[Problem], Audit]:
    """Drops or refuses prompts that leave the model no room."""
    lengths = [len(encode(tokenizer, messages(task, problem))) for problem in problems]
    long = [(problem, length) for problem, length in zip(problems, lengths, strict=True) if length > limit]
    if not long:
        return problems, audit
    worst = max(long, key=lambda pair: pair[1])
    finding = (
        f"{len(long)} of {len(problems)} {audit.split} prompts are longer than {limit} tokens, "
        f"the longest is {_place(worst[0])} with {worst[1]}"
    )
    if task.long_prompts == "error":
        raise BadInput(f"{finding}; set task.long_prompts=drop to leave them out, or allow longer prompts")
    kept = [problem for problem, length in zip(problems, lengths, strict=True) if length <= limit]
    return kept, _warn(replace(audit, long_prompts=len(long)), f"{finding}; they were dropped")


def _repetitions(problems: list[Problem], audit: Audit) -> Audit:
    """Counts prompts that occur again, with the same answer or with another one."""
    answers: dict[Any, list[str | None]] = defaultdict(list)
    for problem in problems:
        answers[problem.asked].append(problem.answer)
    conflicts = [asked for asked, golds in answers.items() if len(set(golds)) > 1]
    repeated = sum(len(golds) - len(set(golds)) for golds in answers.values())
    audit = replace(audit, duplicates=repeated, conflicts=len(conflicts))
    if repeated:
        audit = _warn(audit, f"{repeated} {audit.split} problems repeat an earlier one; they count again")
    if conflicts:
        example = f"{_short(conflicts[0][-1])}: {', '.join(map(_short, answers[conflicts[0]][:NAMED]))}"
        audit = _warn(
            audit,
            f"{len(conflicts)} {audit.split} prompts have different gold answers, e.g. {example}; "
            "each row is judged by its own",
        )
    return audit


def _overlap(problems: list[Problem], audit: Audit, others: Sequence[Problem]) -> Audit:
    elsewhere = {problem.asked for problem in others}
    overlap = sum(problem.asked in elsewhere for problem in problems)
    if not overlap:
        return audit
    return _warn(
        replace(audit, overlap=overlap),
        f"{overlap} of {len(problems)} {audit.split} prompts are also prompts of an evaluation: "
        "figures on them measure memory; take them out of one of the two",
    )


def _warn(audit: Audit, sentence: str) -> Audit:
    return replace(audit, warnings=(*audit.warnings, sentence))


def _dropped(audit: Audit) -> str:
    return ", ".join(f"{name} {count}" for name, count in audit.counts().items() if count and name != "found")


def _place(problem: Problem) -> str:
    return problem.where or problem.id


def _short(value: Any) -> str:
    return shown(value, 60)
