"""A worker: trains two steps and writes down where, in which precision, and what moved.

Usage: two_steps.py OUT_DIR RECIPE [key=value ...]
"""

import json
import math
import sys
from pathlib import Path

import torch

from tests.training.runs import lines_of, small_run


def dtypes_of_products(model: torch.nn.Module) -> set[str]:
    """The kinds of numbers that the model's query projections give, from now on."""
    seen: set[str] = set()
    for name, module in model.named_modules():
        if name.endswith("q_proj"):
            module.register_forward_hook(lambda _module, _given, out: seen.add(str(out.dtype)))
    return seen


def main(out: Path, recipe: str, overrides: list[str]) -> None:
    trainer, verifier = small_run(
        recipe, out / "run", "trainer.learning_rate=1e-3", "trainer.warmup_steps=0", *overrides
    )
    dtypes = dtypes_of_products(trainer.model)
    with verifier:
        trainer.train()
    lines = lines_of(out / "run")
    state = trainer.accelerator.state
    found = {
        "device": trainer.accelerator.device.type,
        "precision": trainer.accelerator.mixed_precision,
        "dtypes": sorted(dtypes),
        "attention": getattr(trainer.model.config, "_attn_implementation", None),
        "wrapped": type(trainer.model_wrapped).__name__,
        "processes": state.num_processes,
        "grad_norms": [line["grad_norm"] for line in lines],
        "finite": all(math.isfinite(v) for line in lines for v in line.values() if isinstance(v, float)),
        "peak_mib": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None,
        "seconds": [line["time_step_s"] for line in lines],
    }
    (out / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
