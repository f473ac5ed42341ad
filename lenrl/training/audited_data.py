"""The usable problems of a checked run, with their audits, and what its method and verifiers say of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from transformers import PreTrainedTokenizerBase

from lenrl import tasks
from lenrl.errors import BadInput
from lenrl.generation.pretrained import load_tokenizer_info, room
from lenrl.strategies.base import RunInfo
from lenrl.tasks.audit import Audit, Readable, load, load_all
from lenrl.tasks.prompts import Prompts
from lenrl.tasks.row_task import RowTask
from lenrl.training.prepare import CheckedRun
from lenrl.training.rendered import rendered, unasked_by_part
from lenrl.verify.settings import VerifierSettings
from lenrl.verify.several import Verifiers


def audited(
    checked_run: CheckedRun,
    tokenizer: PreTrainedTokenizerBase | None,
    verifier: Readable | None,
    max_prompt_tokens: int | None,
    *,
    elsewhere: Sequence[tasks.Problem] = (),
) -> tuple[dict[str, list[tasks.Problem]], list[Audit], RunInfo]:
    """The problems of a run by split, their audits, and the facts of the run with those of its data.

    `elsewhere` are the problems of other data, which the training problems are held against.

    Raises:
        BadInput: what `load_all` refuses, or data without a field that the method reads.
    """
    kept, audits = load_all(
        checked_run.task,
        checked_run.splits,
        checked_run.layout.prompts_per_rollout,
        tokenizer=tokenizer,
        verifier=verifier,
        max_prompt_tokens=max_prompt_tokens,
        elsewhere=elsewhere,
    )
    columns = _columns(kept["train"])
    visits = checked_run.layout.prompts_sampled(checked_run.run_info.max_steps or 0) / len(kept["train"])
    run_info = replace(checked_run.run_info, columns=columns, visits=visits)
    method = checked_run.method
    faults = method.errors(run_info)
    for part, problems in tasks.by_part(kept["train"]).items():
        faults += checked_run.verifier.part(part).errors(_columns(problems))
    if faults:
        raise BadInput("\n".join(faults))
    new = [warning for warning in method.warnings(run_info) if warning not in checked_run.warnings]
    answered = method.judge is None and any(problem.answer for problem in kept["train"])
    if tokenizer is not None and (answered or method.reward.reads_format):  # else nobody looks for a form
        read = partial(rendered, checked_run.recipe, checked_run.task, tokenizer=tokenizer, run_info=run_info)
        new += unasked_by_part(
            checked_run.task, checked_run.verifier, kept["train"], lambda some: read(problems=some)
        )
    train = replace(audits[-1], warnings=(*audits[-1].warnings, *new))  # the method's, of this data
    audits = [*audits[:-1], train]
    return kept, audits, run_info


def audited_others(
    checked_run: CheckedRun,
    tokenizer: PreTrainedTokenizerBase | None,
    verifier: Callable[[VerifierSettings], Readable | None],
    context: int | None,
) -> list[tuple[list[tasks.Problem], Audit]]:
    """The problems of each entry of `evals`, and their audits, whose split is called by the entry's name.

    Args:
        checked_run: its `others`.
        tokenizer: measures prompts, if given.
        context: tokens that the model takes; None: any number.

    Raises:
        BadInput: what `load` refuses; the message names the entry.
    """
    found = []
    for other in checked_run.others:
        longest = None if tokenizer is None else room(context, other.cap)
        try:
            kept, audit = load(other.task, other.entry.split, tokenizer, verifier(other.verifier), longest)
        except BadInput as fault:
            raise BadInput(f"evals, {other.entry.name}: {fault}") from None
        said = list(audit.warnings)
        if tokenizer is not None:
            text = Prompts(other.task, tokenizer).text
            said += unasked_by_part(
                other.task, other.verifier, kept, lambda some, text=text: list(map(text, some))
            )
        named = tuple(f"evals, {other.entry.name}: {warning}" for warning in said)
        found.append((kept, replace(audit, split=other.entry.name, warnings=named)))
    return found


def read_data(checked_run: CheckedRun) -> None:
    """Read all problems once, to refuse data that can't be used before any process starts.

    Rows of data sets are held against verifier and tokenizer, as `lenrl check` and every rank do. Problems that a task
    makes itself are not: their answers are right, and each process starts a verifier of its own.

    Raises:
        BadInput: what `audited` and `audited_others` refuse.
    """
    used = [checked_run.task, *(other.task for other in checked_run.others if checked_run.evaluates)]
    tokenizer = longest = context = None
    with Verifiers() as verifiers:
        of: Callable[[VerifierSettings], Readable | None] = _nobody
        if any(isinstance(source, RowTask) for task in used for source in task.sources):
            model, of = checked_run.recipe.model, verifiers.of
            info = load_tokenizer_info(model.path, model, needs_config=True)
            tokenizer, context = info.tokenizer, info.context
            longest = room(context, checked_run.run_info.max_length)
        others = audited_others(checked_run, tokenizer, of, context) if checked_run.evaluates else []
        elsewhere = [problem for problems, _ in others for problem in problems]
        audited(checked_run, tokenizer, of(checked_run.verifier), longest, elsewhere=elsewhere)


def _nobody(_: VerifierSettings) -> None:
    """No verifier: gold answers are taken as they are."""


def _columns(problems: Sequence[tasks.Problem]) -> frozenset[str]:
    """Columns that all problems have."""
    return frozenset.intersection(*(frozenset(problem.columns) for problem in problems))
