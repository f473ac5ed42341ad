#!/usr/bin/env python3
"""docs/options/: every option of a recipe with type, bounds, default and meaning, from the classes and base.yaml.

scripts/option_pages.py            # writes the pages
scripts/option_pages.py --check    # exit code 1: a page says something else
"""

import html
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from lenrl.cli.ls import described_class, listing
from lenrl.cli.option_list import Option, options_of
from lenrl.cli.section_list import section_options, trainer_options
from lenrl.config import RECIPES, SLOTS

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "options"
HEAD = "| option | type, bounds | default | meaning |\n|---|---|---|---|\n"
SECTIONS = {
    "update": "",
    "guard": "",
    "logging": "",
    "hub": "",
    "evals": "A list; these are the options of an entry ([data](../data.md#other-data-to-evaluate-on)).",
    "eval": "Of the evaluation on test problems after training ([controls](../controls.md)).",
    "reward_functions": "`{NAME: weight}` or `{NAME: {weight: ..., verdict: ...}}` ([plug-ins](../plugins.md)).",
}


def pages() -> dict[str, str]:
    """The text of each page, by its file's name."""
    return {
        "README.md": _all_sections(),
        "model.md": _files("model", "The model: `model=NAME` or `model.path=FOLDER_OR_HUB_ID`"),
        "launch.md": _files("launch", "Processes and GPUs: `launch=NAME`"),
        "task.md": _classes("task", "Problems: `task=NAME`", ["task"]),
        "verifier.md": _classes("verifier", "Verdicts: `verifier.kind=NAME`", ["verifier"]),
        "strategies.md": _classes("strategies", "Strategies of the six slots: `SLOT=NAME`", SLOTS),
        "trainer.md": _trainer(),
    }


def _all_sections() -> str:
    text = _title(
        "Options",
        "A recipe's options are set in its file or on the command line, as `section.option=value`. `lenrl ls SECTION` "
        "prints the same tables with what plug-ins add. Defaults stand in `recipes/base.yaml` or in a class.",
    )
    text += "| options of | |\n|---|---|\n" + "".join(
        f"| [{name}]({name}.md) | {words} |\n"
        for name, words in {
            "model": "what is trained, in which precision, adapters",
            "task": "where problems come from, and their prompts",
            "verifier": "how an answer is found and compared, limits",
            "strategies": "budget, truncation, reward, advantage, objective, sampling",
            "trainer": "TRL's GRPOConfig: steps, learning rate, sampling, ...",
            "launch": "processes, machines, sharding",
        }.items()
    )
    text += "\n## Outside all sections\n\n" + _table(section_options("recipe"))
    for section, words in SECTIONS.items():
        text += f"\n## {section}\n\n{words + chr(10) * 2 if words else ''}{_table(section_options(section))}"
    return text


def _files(section: str, title: str) -> str:
    text = _title(title, "What a file leaves out has the default.") + _table(section_options(section))
    for path in sorted((RECIPES / section).glob("*.yaml")):
        text += f"\n## {section}={path.stem}\n\n```yaml\n{path.read_text(encoding='utf-8').rstrip()}\n```\n"
    return text


def _classes(page: str, title: str, kinds: Sequence[str]) -> str:
    text = _title(title, "")
    for kind in kinds:
        prefix = f"{kind}.kind" if kind == "verifier" else kind
        text += "" if len(kinds) == 1 else f"## {kind}\n\n"
        for name in listing(what=kind)[kind]:
            words, cls = described_class(kind, name)
            fields = options_of(cls) if hasattr(cls, "model_fields") else []
            text += f"{'#' * (2 if len(kinds) == 1 else 3)} {prefix}={name}\n\n{_prose(words)}\n\n"
            text += (_table(fields) if fields else "No options.\n") + "\n"
    return text.rstrip() + "\n"


def _trainer() -> str:
    title = "Training: `trainer.FIELD=value`"
    words = (
        "Fields of TRL's `GRPOConfig`, whose documentation says what each does; `lenrl ls trainer FIELD` prints its "
        "first sentence. Fields that lenrl decides are refused with the key that takes their place."
    )
    return _title(title, words) + _table(trainer_options(words_of_trl=False))


def _title(title: str, words: str) -> str:
    note = "<!-- made by scripts/option_pages.py -->\n"
    return f"# {title}\n\n{note}\n" + (f"{words}\n\n" if words else "")


def _table(options: Iterable[Option]) -> str:
    return HEAD + "".join(
        f"| `{option.name}` | {_cell(option.kind)} | {_default(option.default)} | {_cell(option.words)} |\n"
        for option in options
    )


def _default(text: str) -> str:
    return f"`{text}`" if text not in ("", "required") else text


def _cell(text: str) -> str:
    """Words between the bars of a table: no bar, no tag."""
    text = text.replace(" | ", " or ").replace(">=", "≥").replace("<=", "≤")
    return "".join(
        part if part.startswith("`") else html.escape(part, quote=False)
        for part in re.split(r"(`[^`]*`)", text)
    )


def _prose(text: str) -> str:
    return text.replace("\n    ", "\n")


def main(arguments: Sequence[str]) -> int:
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    wanted = pages()
    if list(arguments) == ["--check"]:
        stale = sorted(name for name in wanted.keys() | written if wanted.get(name) != written.get(name))
        print(*(f"docs/options/{name} is not what the classes say" for name in stale), sep="\n")
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
