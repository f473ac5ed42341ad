"""Options of a recipe's sections: types from the classes, defaults and words from `recipes/base.yaml`."""

import re
from dataclasses import replace
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from lenrl.cli.option_list import Option, kind_of, options_of, written

SECTIONS = (
    "model",
    "update",
    "guard",
    "logging",
    "hub",
    "evals",
    "eval",
    "reward_functions",
    "launch",
    "recipe",
)
_LINE = re.compile(r"^( *)([a-z_0-9]+):(?: [^#]*)?(?:# *(.*))?$")
_COMMENT = re.compile(r"^ +# *(.*)$")


def section_options(section: str) -> list[Option]:
    """The options of one of `SECTIONS`; `recipe` has those that stand in no section."""
    from lenrl.config import Recipe

    if section == "launch":
        return launch_options()
    if section == "recipe":
        plain = {"resume", "resume_with_changes", "name", "output_dir", "seed"}
        fields = {name: field for name, field in Recipe.model_fields.items() if name in plain}
        return _with_base([Option(name, kind_of(field), "") for name, field in fields.items()], "")
    return _with_base(options_of(_record(Recipe.model_fields[section].annotation)), section)


def trainer_options(words_of_trl: bool = True) -> list[Option]:
    """The fields of TRL's GRPOConfig that a recipe may set; defaults and words of those that `base` sets are its.

    Args:
        words_of_trl: add TRL's own sentence on each field.
    """
    from lenrl.training.trl_fields import GRPO_FIELDS, OWNED, trainer_fields

    checked = trainer_fields().model_fields
    options = [
        Option(
            name,
            kind_of(checked[name]),
            written(field.default) if isinstance(field.default, str | int | float | bool | None) else "",
            _first_sentence(field.metadata.get("help", "")),
        )
        for name, field in GRPO_FIELDS.items()
        if name not in OWNED
    ]
    ours = _with_base([replace(option, words="") for option in options], "trainer")
    if not words_of_trl:
        return ours
    return [
        replace(own, words=". TRL: ".join(filter(None, (own.words, field.words))))
        for own, field in zip(ours, options, strict=True)
    ]


def launch_options() -> list[Option]:
    """The fields of accelerate's configuration that a launch may set."""
    from lenrl.launch.command import FIELDS

    return [Option(name, "", "", words) for name, words in FIELDS.items()]


def _record(annotation: Any) -> type[BaseModel]:
    """The record in `Record`, `tuple[Record, ...]` or `dict[str, Record]`."""
    candidates = (annotation, *get_args(annotation))
    return next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))


def _with_base(options: list[Option], section: str) -> list[Option]:
    from lenrl.config import RECIPES

    text = (RECIPES / "base.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    values, words = (content[section] if section else content), _words(text, section)
    values = values if isinstance(values, dict) else {}  # evals and reward_functions: each entry has its own
    return [
        replace(
            option,
            default=written(values[option.name]) if option.name in values else option.default,
            words=words.get(option.name) or option.words,
        )
        for option in options
    ]


def _words(text: str, section: str) -> dict[str, str]:
    """Comments beside the keys of a section, with those that go on below; `""` is the top level."""
    found: dict[str, str] = {}
    inside, last, depth = section == "", "", 0 if section == "" else 2
    for line in text.splitlines():
        if match := _LINE.match(line):
            indent, name, comment = match.groups()
            if section and not indent:
                inside = name == section
            last = name if inside and len(indent) == depth else ""
            if last:
                found[last] = comment or ""
        elif last and (match := _COMMENT.match(line)):
            found[last] += f" {match[1]}"
        else:
            last = ""
    return found


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).split(". ")[0].rstrip(".")
