"""Prints what pyproject.toml asks for, with some extras, a requirement a line: `python requirements.py gym report`."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
sys.stdout.write(
    "\n".join([*project["dependencies"], *(line for name in sys.argv[1:] for line in extras[name])]) + "\n"
)
