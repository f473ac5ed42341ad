"""The base of every record of options."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, field_validator
from pydantic_core.core_schema import ValidationInfo


class Options(BaseModel):
    """Options in which true and false are no numbers: pydantic would take them for 1 and 0."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields.get(info.field_name or "")
        kinds = set() if field is None else set(_leaves(field.annotation))
        if kinds & {int, float} and not kinds & {bool, Any, object} and _holds_boolean(value):
            raise ValueError("should be a number, not true or false")
        return value


def _leaves(annotation: Any) -> Iterator[Any]:
    arguments = get_args(annotation)
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from _leaves(argument)


def _holds_boolean(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_boolean, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_boolean, value))
    return isinstance(value, bool)
