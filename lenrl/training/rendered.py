"""Prompts as the model reads them: template, hint, chat template; and the form of answers that they ask for."""

from collections.abc import Callable, Sequence
from typing import Any

from lenrl.config import Recipe, quoted
from lenrl.strategies.base import RunInfo
from lenrl.tasks import by_part
from lenrl.tasks.base import Task
from lenrl.tasks.problem import Problem
from lenrl.tasks.prompts import Prompts
from lenrl.verify.kinds import KINDS
from lenrl.verify.settings import VerifierSettings

LOOKED_AT = 8  # prompts
FORMS = {"boxed": ("boxed", r"\boxed{}"), "answer_tag": ("<answer>", "<answer>...</answer>")}


def rendered(
    recipe: Recipe, task: Task, problems: Sequence[Problem], tokenizer: Any, run_info: RunInfo
) -> list[str]:
    """The first prompts of a run, with special tokens, and with what the budget adds at the first step."""
    method, some = recipe.method, problems[:LOOKED_AT]
    G = run_info.num_generations or 1
    rows = [problem for problem in some for _ in range(G)]
    columns = [method.budget.visible(p.columns, prompt=p.prompt, gold=p.answer) for p in rows]
    budgets = method.budgets([problem.id for problem in rows], columns, 0, run_info)
    prompts = Prompts(task, tokenizer)
    return [prompts.text(problem, budgets[row * G]) for row, problem in enumerate(some)]


def unasked_by_part(
    task: Task,
    verifier: VerifierSettings,
    problems: Sequence[Problem],
    read: Callable[[Sequence[Problem]], list[str]],
) -> list[str]:
    """A warning where no prompt asks for the form in which the verifier looks for the answer; of a mix one a part.

    Args:
        problems: of which the first are looked at.
        read: the prompts of problems, as the model reads them.
    """
    found = []
    for part, some in by_part(problems).items():
        own = task.part_of(some[0])
        warnings = unasked(own, verifier.part(part), read(some[:LOOKED_AT]))
        found += [f"part {part}: {warning}" if part else warning for warning in warnings]
    return found


def unasked(task: Task, verifier: VerifierSettings, texts: Sequence[str]) -> list[str]:
    """A warning where no prompt asks for the form in which the verifier looks for the answer.

    None for a task that says that its models were trained to that form (`answers_unasked`), and for verifiers of
    one's own, which may look for anything.
    """
    sign, form = FORMS[verifier.format]
    if task.answers_unasked or verifier.kind not in KINDS or not texts:
        return []
    template = quoted(f"{{prompt}} Put the final answer into {form}.")
    if any(rf"\\{sign}" in text for text in texts):
        return [
            rf"the prompts ask for \\{sign}, with two backslashes: overrides and plain YAML take each as it stands. "
            f"Write one, e.g. 'task.template={template}'"
        ]
    if any(sign in text for text in texts):
        return []
    return [
        f"nothing in the prompts asks for {form}, where verifier.format={verifier.format} looks for the answer: other "
        "answers count as wrong. Say so in task.template or task.system_prompt, e.g. "
        f"'task.template={template}'; or, if the model was trained to answer so, set task.answers_unasked=true"
    ]
