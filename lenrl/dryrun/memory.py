"""Memory and disk that a recipe's model takes, from its configuration alone; what it takes to train: `estimate`."""

import shutil
from pathlib import Path

from lenrl.dryrun import estimate
from lenrl.errors import BadInput
from lenrl.generation.pretrained import TokenizerInfo, find, load_tokenizer_info, room
from lenrl.measures.format import Figures
from lenrl.training.prepare import CheckedRun
from lenrl.training.sizes import BYTES, shape

MIB = 2**20


def measure(checked_run: CheckedRun, warnings: list[str]) -> tuple[Figures, TokenizerInfo | None, int | None]:
    """Sizes by name, tokenizer and configuration, and the longest prompt that the context leaves room for, tokens.

    All unknown where the hub does not give the model.
    """
    settings = checked_run.recipe.model
    source = find(settings.path)
    try:
        info = load_tokenizer_info(settings.path, settings, needs_config=True)
    except BadInput:
        if Path(source).is_dir():
            raise
        return {"path": settings.path, "parameters": None}, None, None
    longest = room(info.context, checked_run.run_info.max_length)
    of = shape(info.config, settings.peft)
    size = BYTES[settings.dtype]
    saved = estimate.checkpoint_bytes(of, checked_run) / MIB
    kept = checked_run.grpo.get("save_total_limit") or max(
        1, (checked_run.run_info.max_steps or 0) // int(checked_run.grpo.get("save_steps") or 10**9)
    )
    free = shutil.disk_usage(_existing(checked_run.recipe.run_dir().absolute())).free / MIB
    need = saved * (kept + 1) + of.trained * size / MIB
    if need > free:
        warnings.append(
            f"the run's folder needs about {need / 1024:.1f} GiB for {kept + 1} checkpoints and the model, and "
            f"{free / 1024:.1f} GiB are free. Lower trainer.save_total_limit, or set output_dir to a larger disk."
        )
    sizes = {
        "path": settings.path,
        "parameters": of.parameters,
        **({"parameters_trained": of.trained} if settings.peft else {}),
        **estimate.estimate(of, checked_run),
        "disk_needed_mib": round(need, 1),
        "disk_free_mib": round(free),
    }
    return sizes, info, longest


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())
