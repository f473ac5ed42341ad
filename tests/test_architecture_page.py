"""docs/architecture.md names files and packages that there are, and every package."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
LIBRARY = ROOT / "lenrl"


def test_every_file_that_is_named_is_there():
    places = {path.relative_to(ROOT).as_posix() for path in (*LIBRARY.rglob("*.py"), *ROOT.glob("scripts/*"))}
    named = set(re.findall(r"(?<![\w*/])((?:[a-z_]+/)*[a-z_]+\.py)\b", PAGE))
    missing = {
        name for name in named if not any(place == name or place.endswith(f"/{name}") for place in places)
    }
    assert len(named) > 40 and missing == set()


def test_the_table_of_packages_has_every_package_and_module():
    table = PAGE[PAGE.index("## The packages") : PAGE.index("## The way of a prompt")]
    named = set(re.findall(r"`(\w+(?:/|\.py))`", table))
    there = {f"{p.name}/" for p in LIBRARY.iterdir() if (p / "__init__.py").is_file()}
    there |= {path.name for path in LIBRARY.glob("*.py")} - {"__init__.py"}
    assert named == there
