"""The recipe's `verifier` key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lenrl.errors import BadInput, explain


class VerifierSettings(BaseModel):
    """Settings of finding and comparing answers, and of what a worker may spend on one completion."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def read(cls, spec: Mapping[str, Any], kind: str | None = None) -> VerifierSettings:
        """The settings of a recipe's `verifier` section; `kind` is the task's, where the section names none.

        Raises:
            BadInput: an unknown key (with the nearest one), or a value out of bounds.
        """
        try:
            return cls(**{**({"kind": kind} if kind else {}), **spec})
        except ValidationError as fault:
            raise BadInput(explain(fault, cls, "verifier")) from None

    kind: Literal["math", "exact", "gym"] = Field("math", description="comparison with the gold answer")
    format: Literal["boxed", "answer_tag"] = Field("boxed", description="place of the answer in the text")
    workers: int = Field(2, ge=1, le=256, description="worker processes")
    timeout_s: float = Field(2.0, gt=0, le=600, description="CPU seconds; killed after 2x + 1 s by the clock")
    memory_mib: int = Field(1024, ge=64, description="MiB that a worker may add to its start-up size")
    max_answer_chars: int = Field(2000, ge=16, le=100_000, description="characters; a longer answer is wrong")
    max_digits: int = Field(400, ge=16, le=4000, description="digits of one number in an answer")
    max_nesting: int = Field(24, ge=2, le=100, description="depth of brackets in an answer")
    max_value_digits: int = Field(
        5000, ge=16, le=1_000_000, description="digits of numbers to be written out"
    )
    max_elements: int = Field(64, ge=2, le=10_000, description="elements of a list, set, tuple or matrix")
