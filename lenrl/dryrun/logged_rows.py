"""A logged completion as a typed row, every field checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from lenrl.errors import BadInput, shown

MAX_TOKENS = 2**31
FIELD_CHARS = 60  # of a value, in a message

Flag = Annotated[bool | None, Field(description="true or false")]
Text = Annotated[str | None, Field(description="a string")]
Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS, description="an integer number of tokens, at least 0")]
Length = Annotated[float | None, Field(gt=0, le=MAX_TOKENS, description="a finite number above 0")]
Step = Annotated[tuple[float, Tokens], Strict(False)]
Value = TypeVar("Value")
Listed = Annotated[tuple[Value, ...], Strict(False)]  # JSON has lists only


class LoggedRow(BaseModel):
    """One completion of the file. None: its line does not say; of other fields only reward functions' are read."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, extra="allow")

    prompt: str = Field(description="a string, the group's id")
    problem: Text = None  # its text; None: that is the id
    length: Tokens  # as sampled, before any cap or cut
    correct: bool | None = Field(None, description="true, false or null")
    score: float | None = Field(None, ge=0, le=1, description="a number from 0 to 1, beside `correct`")
    truncated: Flag = None
    answer_length: Tokens | None = Field(None, description="an integer number of tokens, at least 0")
    thinking_tokens: Tokens | None = Field(None, description="an integer number of tokens, at least 0")
    mean_logp: float | None = Field(None, description="a finite number")
    think_tags: Flag = None
    answer_tags: Flag = None
    formatted: Flag = None
    target: Length = None
    lo: Length = None
    hi: Length = None
    level: Text = None
    mode: Text = None
    effort: Length = None
    text: Text = None
    answer: Text = None
    part: Text = None  # of a mix
    think_prefilled: Flag = None
    extracted: str | None = Field(None, description="a string, or null where the completion gives no answer")
    token_ids: Listed[Tokens] | None = Field(None, description="a list of `length` token ids")
    logps: Listed[float] | None = Field(None, description="a list of `length` numbers")
    step_numbers: Listed[Annotated[int, Field(ge=-1)]] | None = Field(
        None, description="a list of `length` numbers of steps, -1 outside of thinking"
    )
    teacher_logps: Listed[float | None] | None = Field(
        None, description="a list of `length` numbers or nulls"
    )
    steps: Listed[Step] | None = Field(
        None, description="a list of [score, tokens up to the step's end], ends rising"
    )

    @model_validator(mode="after")
    def _fits(self) -> LoggedRow:
        """A value a token; steps inside the completion."""
        for name in ("token_ids", "logps", "step_numbers", "teacher_logps"):
            values = getattr(self, name)
            if values is not None and len(values) != self.length:
                raise ValueError(f"field {name!r} has {len(values)} values, and `length` is {self.length}")
        ends = [0, *(end for _, end in self.steps or ())]
        if any(later <= earlier for earlier, later in pairwise(ends)) or ends[-1] > self.length:
            raise ValueError(
                f"field 'steps' ends at tokens {ends[1:]}, and `length` is {self.length}: ends rise, up to the length"
            )
        return self

    @property
    def unknown(self) -> bool:
        """The line says that nobody can tell: `correct` is null."""
        return self.correct is None and "correct" in self.model_fields_set

    def says(self, name: str) -> bool:
        """The line has the field, be it null."""
        return name in self.model_fields_set

    @property
    def given(self) -> dict[str, object]:
        """The fields that the line gives a value, apart from `prompt` and `length`."""
        return self.model_dump(exclude_none=True, exclude={"prompt", "length", *(self.model_extra or ())})

    @property
    def asked(self) -> str:
        """The problem's text."""
        return self.prompt if self.problem is None else self.problem

    def returned(self, function: str, place: str) -> float | None:
        """The logged value of a reward function, None where it did not apply; `place` names the row.

        Raises:
            BadInput: the line has no such field, or it is neither a finite number nor null.
        """
        if function not in self.model_fields_set:
            raise BadInput(
                f"{place}: field {function!r} is missing; a reward function adds it. Log what it "
                f"returned, a number or null, or leave the function out: '~reward_functions.{function}'"
            )
        value = getattr(self, function)
        if value is None:
            return None
        if isinstance(value, bool | int | float) and math.isfinite(value):
            return float(value)
        raise BadInput(
            f"{place}: field {function!r} is {shown(value, FIELD_CHARS)}; what a reward function returned is a "
            "finite number or null"
        )


def checked(rows: Sequence[Mapping[str, Any]]) -> list[LoggedRow]:
    """Rows of a program, checked as the lines of a file are.

    Raises:
        BadInput: none at all, or a bad one.
    """
    if not rows:
        raise BadInput("there are no rows; give one a completion")
    try:
        lines = [json.dumps(dict(row)).encode() for row in rows]
    except (TypeError, ValueError) as error:
        raise BadInput(f"a row is no plain value: {error}; give numbers, texts and booleans") from None
    return [parsed(f"row {number}", line) for number, line in enumerate(lines, start=1)]


def parsed(where: str, line: bytes) -> LoggedRow:
    """The row of a line of JSON; `where` begins the message where it is none.

    Raises:
        BadInput: no JSON object, or a bad field.
    """
    try:
        values = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: not UTF-8 at byte {error.start}; convert the file") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where}: not a JSON object: {error}") from None
    if not isinstance(values, dict):
        raise BadInput(
            f"{where}: found {shown(values, FIELD_CHARS)}, expected a JSON object with `prompt` and `length`"
        )
    return validated(where, values)


def validated(where: str, values: Mapping[str, Any]) -> LoggedRow:
    """The row of these fields; `where` begins the message where one is bad.

    Raises:
        BadInput: a bad field: its value, and the rule.
    """
    try:
        return LoggedRow.model_validate(values)
    except ValidationError as fault:
        if not (place := fault.errors()[0]["loc"]):  # fields that do not fit each other
            raise BadInput(f"{where}: {fault.errors()[0]['msg'].removeprefix('Value error, ')}") from None
        name = str(place[0])
        rule = f"it must be {LoggedRow.model_fields[name].description}"
        if values.get(name) is None:
            raise BadInput(f"{where}: field {name!r} is missing; {rule}") from None
        raise BadInput(f"{where}: field {name!r} is {shown(values[name], FIELD_CHARS)}; {rule}") from None


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse_constant(digits)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
