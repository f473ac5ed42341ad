"""Controls of an evaluation: which there are, and a model's prompts and completions under one of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from lenrl.errors import BadInput
from lenrl.evaluation.measure import Sampler
from lenrl.evaluation.results import ModelResults
from lenrl.evaluation.settings import EvalSettings
from lenrl.generation.base import Engine
from lenrl.generation.controls import Control, Thinking, controlled, read
from lenrl.tasks import Problem, Task, encode, messages

ESCAPED = re.compile(r"\\n(?![a-z])|\\\\boxed")  # no word of LaTeX
MOST_DIALS = 3  # of one control on test problems; more are a search


@dataclass(frozen=True)
class Controlled:
    """A control at work on a model, whose results without it are known."""

    control: Control
    thinking: Thinking
    free: ModelResults

    @property
    def prefill(self) -> list[int]:
        """Token ids after the generation prompt."""
        return self.control.prefill(self.thinking)

    def prompt_ids(self, task: Task, problem: Problem) -> list[int]:
        """The prompt with the control's words."""
        tokenizer = self.thinking.info.tokenizer
        return [*encode(tokenizer, self.control.chat(messages(task, problem), tokenizer)), *self.prefill]

    def in_one_piece(self, engine: Engine) -> bool:
        """Completions are sampled as one, not in stages, so that all their tokens have log-probs."""
        shaped = engine.shapes_logits and self.control.logits(self.thinking) is not None
        return self.control.whole or shaped

    def sampler(self, engine: Engine) -> Sampler:
        """Sampling under the control."""
        return partial(controlled, self.control, self.thinking, engine, self.free.completions)


def controls_of(settings: EvalSettings, *, first: bool) -> list[Control]:
    """The controls of a model, `none` not among them.

    Raises:
        BadInput: an unknown control, a dial or an option that it can't have.
    """
    controls = read(settings.controls, settings.control)
    return controls if first or settings.control.get("on") == "all" else []


def thinking_of(engine: Engine, controls: Sequence[Control], answer_format: str, cap: int) -> Thinking:
    """The thinking of an engine's model, and whether the controls can do something with it.

    Raises:
        BadInput: engine or model can't do what a control needs.
    """
    given = [control.options for control in controls]
    opens, closes = (given[0].open, given[0].close) if given else ("", "")
    thinking = Thinking(engine.info, opens, closes, answer_format)
    for control in controls:
        control.check(thinking, cap, engine)
        if not control.whole and (reason := engine.no_stages()):
            raise BadInput(f"{control.label}: {reason}; choose another engine, or a control by words")
    return thinking


def word_warnings(settings: EvalSettings) -> list[str]:
    r"""A warning for each option of the controls that holds `\n` as two characters, or `\\boxed` with two backslashes.

    >>> len(word_warnings(EvalSettings(control={"answer": "\\n\\\\boxed{"})))
    1
    >>> word_warnings(EvalSettings(control={"answer": "\n\\boxed{", "text": "so $x \\neq 2$"}))
    []
    """
    return [
        f"control.{name}={text} goes to the model as it stands, each backslash a character: overrides know no escapes. "
        r"""For a line break write $'control.answer="\n\\boxed{"', where the shell reads them"""
        for name, text in settings.control.items()
        if isinstance(text, str) and ESCAPED.search(text)
    ]


def search_warnings(settings: EvalSettings) -> list[str]:
    """A warning where dials are searched for on the problems that they are judged by."""
    names = [label.partition("@")[0] for label in dict.fromkeys(settings.controls)]
    many = sorted({name for name in names if names.count(name) > MOST_DIALS})
    if settings.split != "test" or not many:
        return []
    return [
        f"{names.count(name)} dials of {name} on test problems are a search: choose one with split=dev"
        for name in many
    ]
