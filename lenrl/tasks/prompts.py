"""Prompts of a task: chat messages, their text, their token ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lenrl.errors import BadInput, shown
from lenrl.tasks.base import Task
from lenrl.tasks.problem import Problem

if TYPE_CHECKING:  # it loads torch
    from lenrl.strategies.base import PromptBudget

Messages = list[dict[str, str]]


class Prompts:
    """Prompts of a task, rendered by a tokenizer, with what a budget adds to them."""

    def __init__(self, task: Task, tokenizer: Any) -> None:
        self.task = task
        self.tokenizer = tokenizer

    def chat(self, problem: Problem, prompt_budget: PromptBudget | None = None) -> Messages:
        """Messages, with the budget's hint in the user's and its words in the system's."""
        if prompt_budget is None:
            return messages(self.task, problem)
        return with_system(messages(self.task, problem, prompt_budget.hint), prompt_budget.system)

    def for_trl(self, problem: Problem, prompt_budget: PromptBudget | None = None) -> Any:
        """Messages for TRL, or text for a tokenizer without a chat template."""
        chat = self.chat(problem, prompt_budget)
        return chat if getattr(self.tokenizer, "chat_template", None) else render(self.tokenizer, chat)

    def text(self, problem: Problem, prompt_budget: PromptBudget | None = None) -> str:
        """The whole text that the model reads, special tokens and generation prompt included."""
        return render(self.tokenizer, self.chat(problem, prompt_budget))

    def ids(self, problem: Problem, prompt_budget: PromptBudget | None = None) -> list[int]:
        """Token ids, generation prompt included."""
        return encode(self.tokenizer, self.chat(problem, prompt_budget))

    def row(self, problem: Problem) -> dict[str, Any]:
        """A row of the data set that TRL's trainer iterates over."""
        return {"prompt_id": problem.id, "prompt": self.for_trl(problem)}


def messages(task: Task, problem: Problem, hint: str | None = None) -> Messages:
    """Chat messages of a problem: its earlier ones, if it has any, then the user's.

    `hint` (a budget's words, such as "Think for 500 tokens.") goes where the system prompt or the template
    holds `{hint}`, else after the user's text. Only the words {prompt} and {hint} are replaced, once, so that
    braces inside problems stay as they are.
    """
    task = task.part_of(problem)
    holders = (task.system_prompt or "", task.template)
    user = _fill(task.template, {"{prompt}": problem.prompt, "{hint}": hint or ""})
    if hint and not any("{hint}" in text for text in holders):
        user = f"{user}\n\n{hint}"
    chat = [{"role": role, "content": text} for role, text in (*problem.context, ("user", user))]
    if task.system_prompt is not None:
        chat.insert(0, {"role": "system", "content": _fill(task.system_prompt, {"{hint}": hint or ""})})
    return chat


def with_system(chat: Messages, text: str | None) -> Messages:
    """The chat with a text at the end of its system message, which is added if there is none."""
    if not text:
        return chat
    if chat[0]["role"] != "system":
        return [{"role": "system", "content": text}, *chat]
    return [{**chat[0], "content": f"{chat[0]['content']}\n\n{text}"}, *chat[1:]]


def render(tokenizer: Any, chat: Sequence[Mapping[str, str]]) -> str:
    """The text that a completion continues: the chat template with its generation prompt.

    A tokenizer without a template (a base model) gets the contents, a blank line between them.

    Raises:
        BadInput: the template refuses the messages, or is none.
    """
    if getattr(tokenizer, "chat_template", None):
        try:
            return tokenizer.apply_chat_template(list(chat), tokenize=False, add_generation_prompt=True)
        except Exception as error:  # jinja2's, and whatever its expressions raise
            roles = ", ".join(message["role"] for message in chat)
            raise BadInput(
                f"the chat template of {shown(tokenizer.name_or_path)} refuses messages of {roles} "
                f"({type(error).__name__}: {str(error)[:300]}); give model.tokenizer a template that takes them, or "
                "leave out task.system_prompt"
            ) from error
    return "\n\n".join(message["content"] for message in chat)


def encode(tokenizer: Any, chat: Sequence[Mapping[str, str]]) -> list[int]:
    """Token ids of `render`; a template brings its own special tokens, so none are added then."""
    templated = bool(getattr(tokenizer, "chat_template", None))
    return tokenizer(render(tokenizer, chat), add_special_tokens=not templated, verbose=False)["input_ids"]


def think_prefilled(tokenizer: Any) -> bool:
    """The chat template's generation prompt opens `<think>` and leaves it open."""
    return render(tokenizer, [{"role": "user", "content": "?"}]).rstrip().endswith("<think>")


def _fill(template: str, values: Mapping[str, str]) -> str:
    """Replaces the keys in one pass: what a value brings in is not looked at again."""
    return re.sub("|".join(map(re.escape, values)), lambda key: values[key[0]], template)
