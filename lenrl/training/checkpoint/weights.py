"""Saved weights against the model's: every tensor there, of its name and size.

transformers loads with `strict=False`: what a file lacks or calls otherwise is left as it is in the model.
"""

import json
from pathlib import Path

from torch import Tensor, nn

from lenrl.errors import RunFailed

_NAMED = 3  # tensors that a message names
_WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.")  # of torch.compile and activation checkpointing


def check_saved(folder: Path, model: nn.Module) -> None:
    """Compare a folder just written with the model.

    Raises:
        RunFailed: they differ.
    """
    if wrong := weight_faults(folder, model):
        raise RunFailed(
            f"the weights written for {folder.name} are not the model's, and were discarded: {'; '.join(wrong)}."
        )


def weight_faults(folder: Path, model: nn.Module) -> list[str]:
    """Differences of the weights in a folder from the model's tensors; shared tensors may be there once.

    Shards that FSDP or DeepSpeed write in forms of their own are not looked into.
    """
    adapter = folder / "adapter_model.safetensors"
    index = folder / "model.safetensors.index.json"
    files = [adapter] if adapter.is_file() else [folder / "model.safetensors"]
    if index.is_file():
        files = sorted({folder / name for name in json.loads(index.read_text())["weight_map"].values()})
    saved: dict[str, list[int]] = {}
    faults = []
    for path in files:
        if not path.is_file():
            return [f"{path} is missing"] if index.is_file() else []
        try:
            saved |= _shapes(path)
        except (ValueError, KeyError) as fault:
            faults.append(f"{path} is cut short ({fault})")
    expected = _adapter(model) if adapter.is_file() else _tensors(model)
    if any("_flat_param" in name for name in expected):  # FSDP 1 keeps no names
        return faults
    groups: dict[int, list[str]] = {}
    for name, tensor in expected.items():
        groups.setdefault(id(tensor), []).append(name)
    missing = [names[0] for names in groups.values() if not set(names) & set(saved)]
    buffers = {_bare(name) for name, _ in model.named_buffers()}
    unknown = [] if adapter.is_file() else sorted(set(saved) - set(expected) - buffers)
    wrong = [n for n, t in expected.items() if n in saved and saved[n] != _shape(t)]
    for names, what in ((missing, "missing"), (unknown, "not the model's"), (wrong, "of another shape")):
        if names:
            faults.append(f"{len(names)} of {len(expected)} tensors {what} ({', '.join(names[:_NAMED])})")
    return faults


def _shapes(path: Path) -> dict[str, list[int]]:
    """Names and shapes in a safetensors file, from its header; the file must be as long as that says."""
    with path.open("rb") as data:
        length = int.from_bytes(data.read(8), "little")
        header = json.loads(data.read(length))
    header.pop("__metadata__", None)
    end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if end != path.stat().st_size:
        raise ValueError(f"{path.stat().st_size} bytes, its header says {end}")
    return {name: entry["shape"] for name, entry in header.items()}


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    # of sharded models `state_dict` may be collective, and parameters know their whole shapes
    sharded = any(hasattr(p, "ds_shape") or hasattr(p, "device_mesh") for p in model.parameters())
    named = (
        dict(model.named_parameters(remove_duplicate=False)) if sharded else model.state_dict(keep_vars=True)
    )
    return {_bare(name): tensor for name, tensor in named.items()}


def _adapter(model: nn.Module) -> dict[str, Tensor]:
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model, save_embedding_layers=False)


def _bare(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _shape(tensor: Tensor) -> list[int]:
    return list(getattr(tensor, "ds_shape", tensor.shape))
