"""Controls by words: `concise`, `draft`, `words`, and `nothink`, which closes the thinking before it begins.

Sources: concise: arXiv 2401.05618; draft: arXiv 2502.18600; nothink: arXiv 2504.09858.
"""

from collections.abc import Mapping
from typing import Any

from lenrl.errors import BadInput
from lenrl.generation.controls.base import Control, ControlOptions, Dial
from lenrl.generation.controls.thinking import Thinking
from lenrl.strategies.hints import number
from lenrl.tasks.prompts import Messages, render, with_system
from lenrl.tasks.rows import read_rows

FINISHED = "Okay, I think I have finished thinking."


class Concise(Control):
    """Step by step, and concise."""

    whole = True
    words = "Think step by step. Be concise."

    def chat(self, chat: Messages, tokenizer: Any) -> Messages:
        """See `Control`: at the end of the system message, or of the user's where the template takes no system."""
        asked = with_system(chat, self.words)
        try:
            render(tokenizer, asked)
        except BadInput:
            return [*chat[:-1], {**chat[-1], "content": f"{chat[-1]['content']}\n\n{self.words}"}]
        return asked

    def resolved(self, thinking: Thinking) -> dict[str, Any]:
        return {"words": self.words}


class Draft(Concise):
    """Step by step, of each step a draft of a few words; with examples, as its authors ask."""

    knows = frozenset({"shots"})
    words = "Think step by step, but keep only a minimal draft of each step, of five words at most."

    def chat(self, chat: Messages, tokenizer: Any) -> Messages:
        chat = super().chat(chat, tokenizer)
        if self.options.shots is None:
            return chat
        turns = [turn for row in read_rows(self.options.shots) for turn in _turns(row.values, row.where)]
        place = 1 if chat[0]["role"] == "system" else 0
        return [*chat[:place], *turns, *chat[place:]]


class Words(Concise):
    """Words of one's own, in which `{n}` is the dial."""

    dial_of = Dial("tokens in the words", 1, whole=True)
    knows = frozenset({"text"})

    def __init__(self, label: str, dial: float, options: ControlOptions) -> None:
        super().__init__(label, dial, options)
        if not options.text or "{n}" not in options.text:
            raise BadInput(
                f"{label} needs words with {{n}} in them: control.text='\"Think for {{n}} tokens.\"'"
            )
        self.words = options.text.replace("{n}", number(dial))


class NoThink(Control):
    """The thinking is prefilled and closed."""

    whole = True
    knows = frozenset({"text"})

    def prefill(self, thinking: Thinking) -> list[int]:
        """See `Control`; empty words are the empty block of models that may think or not."""
        text = FINISHED if self.options.text is None else self.options.text
        opened = "" if thinking.prefilled else thinking.open
        return thinking.ids(f"{opened}\n{text}\n{thinking.close}\n\n")


def _turns(row: Mapping[str, Any], where: str) -> list[dict[str, str]]:
    texts = [row.get(column) for column in ("prompt", "completion")]
    if not all(isinstance(text, str) and text for text in texts):
        raise BadInput(f"{where}: a row of control.shots has texts `prompt` and `completion`; add them")
    return [
        {"role": role, "content": str(text)} for role, text in zip(("user", "assistant"), texts, strict=True)
    ]
