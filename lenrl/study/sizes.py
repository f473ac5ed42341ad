"""How much memory and disk a recipe's model takes, from its configuration alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from lenrl.engine import pretrained
from lenrl.engine.options import Prepared
from lenrl.errors import BadInput
from lenrl.models import find

MIB = 2**20


def measure(prepared: Prepared, warnings: list[str]) -> tuple[dict[str, Any], Any, int | None]:
    """Sizes by name, the tokenizer, and the longest prompt that the context leaves room for, tokens."""
    from transformers import AutoModelForCausalLM

    settings = prepared.recipe.model
    source = find(settings.path)
    try:
        config, tokenizer = pretrained.configuration(settings), pretrained.tokenizer(settings)
    except BadInput as fault:
        if Path(source).is_dir():
            raise
        warnings.append(f"{fault} Sizes are unknown")
        return {"path": settings.path, "parameters": None}, None, None
    longest = pretrained.room(config, prepared.setting.max_length)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    count = sum(p.numel() for p in empty.parameters())
    size = {"float32": 4, "bfloat16": 2, "float16": 2}[settings.dtype]
    saved = count * (size + 2 * size) / MIB  # weights and Adam's two moments
    kept = prepared.grpo.get("save_total_limit") or max(
        1, (prepared.setting.max_steps or 0) // int(prepared.grpo.get("save_steps") or 10**9)
    )
    free = shutil.disk_usage(_existing(prepared.recipe.run_dir().absolute())).free / MIB
    need = saved * (kept + 1) + count * size / MIB
    if need > free:
        warnings.append(
            f"the run's folder needs about {need:.0f} MiB for {kept + 1} checkpoints and the model, "
            f"{free:.0f} MiB are free. Lower trainer.save_total_limit, or set output_dir to a larger disk."
        )
    vocabulary = config.get_text_config().vocab_size
    logits = prepared.arithmetic.rows_per_process * prepared.setting.max_length * vocabulary
    sizes = {
        "path": settings.path,
        "parameters": count,
        "weights_gradients_adam_mib": round(count * size * 4 / MIB, 1),
        "logits_of_a_micro_batch_mib": round(logits * 4 / MIB, 1),
        "disk_needed_mib": round(need, 1),
        "disk_free_mib": round(free),
    }
    return sizes, tokenizer, longest


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())
