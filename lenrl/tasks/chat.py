"""What the model reads: a problem, and what the budget allows it."""

from __future__ import annotations

from typing import Any

from lenrl.strategies.base import PromptBudget
from lenrl.tasks import Task
from lenrl.tasks.problem import Problem
from lenrl.tasks.prompts import Messages, encode, messages, render, with_system

NOTHING = PromptBudget()


class Prompts:
    """A task's problems in a tokenizer's words."""

    def __init__(self, task: Task, tokenizer: Any) -> None:
        self.task = task
        self.tokenizer = tokenizer

    def chat(self, problem: Problem, prompt_budget: PromptBudget = NOTHING) -> Messages:
        """Messages, with the budget's hint in the user's and its words in the system's."""
        return with_system(messages(self.task, problem, prompt_budget.hint), prompt_budget.system)

    def for_trl(self, problem: Problem, prompt_budget: PromptBudget = NOTHING) -> Any:
        """What TRL takes: messages, or text for a tokenizer without a chat template."""
        chat = self.chat(problem, prompt_budget)
        return chat if getattr(self.tokenizer, "chat_template", None) else render(self.tokenizer, chat)

    def ids(self, problem: Problem, prompt_budget: PromptBudget = NOTHING) -> list[int]:
        """Token ids, generation prompt included."""
        return encode(self.tokenizer, self.chat(problem, prompt_budget))

    def row(self, problem: Problem) -> dict[str, Any]:
        """A row of the data set that TRL's trainer iterates over."""
        return {"prompt_id": problem.id, "prompt": self.for_trl(problem)}
