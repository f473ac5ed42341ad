"""How much memory and disk a recipe's model takes, from its configuration alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from lenrl.engine.options import Prepared
from lenrl.errors import BadInput
from lenrl.models import locate

MIB = 2**20


def measure(prepared: Prepared, warnings: list[str]) -> tuple[dict[str, Any], Any, int | None]:
    """Sizes by name, the tokenizer, and the longest prompt that the context leaves room for, tokens."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    settings = prepared.recipe.model
    options: dict[str, Any] = {"revision": settings.revision, "trust_remote_code": settings.trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(locate(settings.path), **options)
        tokenizer = AutoTokenizer.from_pretrained(locate(settings.tokenizer or settings.path), **options)
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # hub, network and transformers each raise types of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        if Path(locate(settings.path)).exists():
            raise BadInput(
                f"model.path={settings.path!r} can't be read: {reason}. Check the folder."
            ) from None
        warnings.append(f"model {settings.path!r} can't be reached, sizes unknown: {reason}")
        return {"path": settings.path, "parameters": None}, None, None
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
    text = config.get_text_config()
    context = getattr(text, "max_position_embeddings", None)
    logits = prepared.arithmetic.rows_per_process * prepared.setting.max_length * text.vocab_size
    sizes = {
        "path": settings.path,
        "parameters": count,
        "weights_gradients_adam_mib": round(count * size * 4 / MIB, 1),
        "logits_of_a_micro_batch_mib": round(logits * 4 / MIB, 1),
        "disk_needed_mib": round(need, 1),
        "disk_free_mib": round(free),
    }
    return sizes, tokenizer, context - prepared.setting.max_length if context else None


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())
