"""Inputs that a fuzzer found worth keeping, a file a target: texts, each byte the character of its number."""

import json
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def read(target: str) -> list[bytes]:
    """The inputs of a target."""
    path = FOLDER / f"{target}.json"
    return [text.encode("latin-1") for text in json.loads(path.read_text())] if path.exists() else []


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Put inputs into the place of a target's, each once, shortest first."""
    texts = [data.decode("latin-1") for data in sorted(set(inputs), key=lambda data: (len(data), data))]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{target}.json").write_text(json.dumps(texts, indent=0) + "\n")
