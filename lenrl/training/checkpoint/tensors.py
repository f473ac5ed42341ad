"""Tensors and plain values in one safetensors file: random states, and the rollout in use."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_model, save_file, save_model
from torch import Tensor

_VALUES = "lenrl"  # key of the plain values, as JSON, in the file's own metadata


def write_random(path: Path, device: torch.device) -> None:
    """Every random stream of this process: Python's, NumPy's, torch's on the CPU and on its device."""
    version, internal, gauss = random.getstate()
    kind, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    tensors = {
        "python": torch.tensor(internal, dtype=torch.int64),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "torch": torch.get_rng_state(),
    }
    if device.type != "cpu":
        tensors["device"] = torch.get_device_module(device).get_rng_state()
    values = {"python": [version, gauss], "numpy": [kind, int(place), int(has_gauss), float(cached)]}
    _write(path, tensors, values)


def read_random(path: Path, device: torch.device) -> None:
    """Put every random stream of this process back."""
    tensors, values = _read(path)
    version, gauss = values["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), gauss))
    kind, place, has_gauss, cached = values["numpy"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), place, has_gauss, cached))
    torch.set_rng_state(tensors["torch"])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(tensors["device"])


def write_batches(path: Path, batches: Sequence[Mapping[str, object]]) -> None:
    """This process's micro-batches of a rollout: tensors of any shape, and plain values.

    Raises:
        TypeError: a value is neither a tensor nor JSON.
    """
    entries = [(f"{i}/{key}", value) for i, batch in enumerate(batches) for key, value in batch.items()]
    tensors = {name: value for name, value in entries if isinstance(value, Tensor)}
    values = [{key: v for key, v in batch.items() if not isinstance(v, Tensor)} for batch in batches]
    _write(path, tensors, values)


def read_batches(path: Path, device: torch.device) -> list[dict[str, Any]]:
    """The micro-batches that `write_batches` wrote, on that device."""
    tensors, batches = _read(path)
    for name, tensor in tensors.items():
        place, key = name.split("/", 1)
        batches[int(place)][key] = tensor.to(device)
    return batches


def write_tensors(path: Path, named: Mapping[str, Tensor]) -> None:
    """Tensors by name."""
    _write(path, named, None)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors that `write_tensors` wrote, on the CPU."""
    return _read(path)[0]


def write_model(path: Path, model: torch.nn.Module) -> None:
    """A whole model's tensors, shared ones once."""
    save_model(model, str(path))


def read_model(path: Path, model: torch.nn.Module) -> None:
    """Put them back, in place."""
    load_model(model, path)


def _write(path: Path, tensors: Mapping[str, Tensor], values: object) -> None:
    # copies of their own: micro-batches are views into one storage
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    save_file(plain, path, metadata={_VALUES: json.dumps(values)})


def _read(path: Path) -> tuple[dict[str, Tensor], Any]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()[_VALUES])  # noqa: SIM118
