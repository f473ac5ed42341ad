"""Names of weights that another program loads, from what is on the disk."""

import hashlib
from pathlib import Path

from lenrl.files import digest
from lenrl.generation.pretrained import PICKLES

READ = (".safetensors", ".gguf", *PICKLES)


def weights_name(source: str, revision: str | None = None) -> str:
    """A hash of a folder's weights and `config.json`, or a hub id with its commit.

    Args:
        source: what `lenrl.generation.pretrained.find` gives.
        revision: of a hub id; stands for the commit where the hub's cache does not tell it.
    """
    folder = Path(source)
    if folder.is_dir():
        files = sorted(p for p in folder.iterdir() if p.suffix in READ or p.name == "config.json")
        return digest([[path.name, _content(path)] for path in files], size=6)
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(source, "config.json", revision=revision)
    commit = Path(cached).parent.name if isinstance(cached, str) else revision or "main"
    return f"{source}@{commit}"


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
