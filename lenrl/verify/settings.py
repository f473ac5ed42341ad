"""The recipe's `verifier` key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, SerializeAsAny

from lenrl import code_places, plugins
from lenrl.errors import BadInput, validated
from lenrl.options import Options
from lenrl.verify.kinds import KINDS


class VerifierSettings(Options):
    """Settings of finding and comparing answers, and of what a worker may spend on one completion."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def read(cls, spec: Mapping[str, Any], kind: str | None = None) -> VerifierSettings:
        """The settings of a recipe's `verifier` section; `kind` is the task's, where the section names none.

        Raises:
            BadInput: an unknown key (with the nearest one), or a value out of bounds.
        """
        spec = {**({"kind": kind} if kind else {}), **spec}
        name = spec.get("kind", "math")
        if isinstance(name, str) and name not in KINDS:
            return PluginSettings.of(name, spec)
        return validated(cls, spec, "verifier")

    def part(self, name: str) -> VerifierSettings:
        """The settings for a part of a mix."""
        return self

    @property
    def needs_gold(self) -> bool:
        """Without a gold answer nobody can say what is right."""
        return True

    @property
    def reads_columns(self) -> tuple[str, ...]:
        """Columns of the data that it judges by."""
        return ()

    def errors(self, columns: Collection[str]) -> list[str]:
        """Sentences on what the verifier reads and data with these columns do not have."""
        return []

    kind: str = Field("math", description="comparison with the gold answer")
    format: Literal["boxed", "answer_tag"] = Field("boxed", description="place of the answer in the text")
    unfinished: Literal["no_answer", "read"] = Field(
        "no_answer", description="an answer in thinking that never ended; some papers' code reads it"
    )
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


class PluginSettings(VerifierSettings):
    """Settings of a verifier of one's own, with its options."""

    options: dict[str, Any] = {}
    threshold: float = Field(1.0, gt=0, le=1, description="judgement from which on a completion is right")
    source: str | None = None  # hash of the plug-in's file; None: an installed package's

    @classmethod
    def of(cls, name: str, spec: Mapping[str, Any]) -> PluginSettings:
        """The settings of a `verifier` section that names a plug-in.

        Raises:
            BadInput: there is none of that name, the class cannot judge, or a value is out of bounds.
        """
        kind = plugins.named("verifier", name, KINDS, "verifier.kind={}")
        place = f"{code_places.place_of(kind)}: verifier {name!r}"
        own = [option for option in cls.model_fields if option not in ("options", "source")]
        if faults := [
            *kind.faults(),
            *(f"its option {o!r} is one of every verifier" for o in kind.model_fields if o in own),
        ]:
            raise BadInput(f"{place}: {'; '.join(faults)}")
        limits = {o: value for o in ("timeout_s", "memory_mib") if (value := getattr(kind, o)) is not None}
        others = {option: value for option, value in spec.items() if option not in own}
        options = validated(kind, others, "verifier", f"verifier {name!r}").model_dump(mode="json")
        common = {option: value for option, value in spec.items() if option in own}
        file = plugins.file_of(kind)
        source = None if file is None else file.digest
        return validated(cls, {**limits, **common, "options": options, "source": source}, "verifier")

    @property
    def plugin(self) -> Any:
        """The class."""
        return plugins.find("verifier", self.kind, {})

    @property
    def needs_gold(self) -> bool:
        return self.plugin.needs_gold

    @property
    def reads_columns(self) -> tuple[str, ...]:
        return tuple(self.plugin.reads_columns)

    def errors(self, columns: Collection[str]) -> list[str]:
        return [
            f"{code_places.place_of(self.plugin)}: verifier {self.kind!r} reads the column {name!r}; the data has "
            f"{sorted(columns)}"
            for name in self.reads_columns
            if name not in {*columns, "prompt"}
        ]


class PartsSettings(VerifierSettings):
    """Settings for each part of a mix, by the part's name; the fields of its own say what they have in common."""

    kind: str = "parts"
    parts: dict[str, SerializeAsAny[VerifierSettings]]

    @classmethod
    def of(cls, parts: Mapping[str, VerifierSettings]) -> PartsSettings:
        """The settings for these parts."""
        first = next(iter(parts.values()))
        return cls.model_validate({"parts": dict(parts), "format": first.format, "workers": first.workers})

    def part(self, name: str) -> VerifierSettings:
        return self.parts[name]

    @property
    def needs_gold(self) -> bool:
        return any(settings.needs_gold for settings in self.parts.values())

    @property
    def reads_columns(self) -> tuple[str, ...]:
        return tuple(name for settings in self.parts.values() for name in settings.reads_columns)
