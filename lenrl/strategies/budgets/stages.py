"""ThinkPrune: hard caps that fall in stages."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator

from lenrl.strategies import hints
from lenrl.strategies.base import Budget, PromptBudget, RunInfo

HINT = "The output must not exceed {budget} tokens."


class Stages(Budget):
    """A hard cap for all prompts, stated in the system prompt, that falls after each equal share of the run.

    Stage `min(n - 1, floor(t n / total))` of n = `len(caps)`, t completed of `total_steps` optimizer steps.

    Source: ThinkPrune, arXiv 2504.01296.

    Degenerate cases: a cap above L_max is L_max; caps that rise are refused.

    >>> rule = Stages(total_steps=300)
    >>> [rule(["q"], [{}], t, RunInfo(1, 4096))[0].cap for t in (0, 99, 100, 299, 1000)]
    [4000, 4000, 3000, 2000, 2000]
    """

    name = "stages"

    caps: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(4000, 3000, 2000), min_length=1)  # tokens
    total_steps: int | None = Field(default=None, ge=1)  # optimizer steps; None: max_steps
    hint: bool | str = True  # or a template with {budget}

    @field_validator("caps")
    @classmethod
    def _fall(cls, caps: tuple[int, ...]) -> tuple[int, ...]:
        for earlier, later in zip(caps, caps[1:], strict=False):
            if later > earlier:
                raise ValueError(
                    f"a stage of {later} tokens follows one of {earlier}; stages must not rise: sort them"
                )
        return caps

    def __call__(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        total = self.total_steps or run_info.max_steps
        if total is None:
            raise ValueError("budget 'stages' needs budget.total_steps or trainer.max_steps")
        stage = min(len(self.caps) - 1, step * len(self.caps) // total)
        cap = min(self.caps[stage], run_info.max_length)
        text = hints.fill(self.hint, HINT, budget=cap)
        return [PromptBudget(system=text, budget=float(cap), cap=cap) for _ in prompt_ids]

    def errors(self, run_info: RunInfo) -> list[str]:
        if self.total_steps or run_info.max_steps:
            return []
        return [
            "budget 'stages' divides the run into equal stages: set budget.total_steps or trainer.max_steps"
        ]

    def warnings(self, run_info: RunInfo) -> list[str]:
        if run_info.training and max(self.caps) > run_info.max_length:
            return [
                f"budget.caps={list(self.caps)}: caps above max_completion_length={run_info.max_length} "
                "are that; set budget.caps to lengths that the run can reach"
            ]
        return []
