"""docs/options: every option is there as its class has it, and found by its name."""

import re
import runpy
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from lenrl.cli.ls import described_class, listing
from lenrl.cli.option_list import options_of
from lenrl.cli.section_list import SECTIONS, section_options
from lenrl.config import RECIPES, SLOTS, compose

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "options"


def names(section: str) -> set[str]:
    """The options in the tables of a page's part below a heading, or of the whole page."""
    page, _, heading = section.partition("#")
    text = (FOLDER / f"{page}.md").read_text()
    if heading:
        text = re.split(
            r"^##", text[re.search(rf"^##+ {re.escape(heading)}$", text, re.M).end() :], flags=re.M
        )[0]
    return set(re.findall(r"^\| `(\w+)` \|", text, re.M))


def test_the_pages_are_what_the_classes_say(monkeypatch):
    monkeypatch.setattr("lenrl.plugins.of_files", lambda *_: {})  # other tests' plug-ins, in this process
    script = runpy.run_path(str(ROOT / "scripts" / "option_pages.py"))
    wanted = script["pages"]()
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    if any(version(package) != pins[package] for package in ("trl", "transformers")):
        wanted.pop("trainer.md")  # its fields are theirs
    stale = [name for name, text in wanted.items() if text != (FOLDER / name).read_text()]
    assert not stale, "run scripts/option_pages.py"


@pytest.mark.parametrize("kind", ["task", "verifier", *SLOTS])
def test_every_option_of_a_class_is_found(kind, monkeypatch):
    monkeypatch.setattr("lenrl.plugins.of_files", lambda *_: {})  # other tests' plug-ins, in this process
    page = "strategies" if kind in SLOTS else kind
    for name in listing(what=kind)[kind]:
        cls = described_class(kind, name)[1]
        wanted = {option.name for option in options_of(cls)} if hasattr(cls, "model_fields") else set()
        prefix = "verifier.kind" if kind == "verifier" else kind
        assert names(f"{page}#{prefix}={name}") == wanted, name


@pytest.mark.parametrize("section", SECTIONS)
def test_every_option_of_a_section_is_found(section):
    place = {"recipe": "README#Outside all sections"}.get(section, f"README#{section}")
    place = section if section in ("model", "launch") else place
    assert names(place) == {option.name for option in section_options(section)}


def test_every_key_of_a_model_or_launch_file_is_found():
    for kind in ("model", "launch"):
        page = (FOLDER / f"{kind}.md").read_text()
        for path in (RECIPES / kind).glob("*.yaml"):
            assert path.read_text().rstrip() in page
            assert yaml.safe_load(path.read_text()).keys(), path
    assert names("trainer") >= set(compose("grpo").trainer)
