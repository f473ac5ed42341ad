"""Run by every process of a launch: trains two steps and records TRL's own advantages beside ours.

Usage: compare_advantages.py OUT_DIR [key=value ...]
"""

import json
import os
import sys
from pathlib import Path

import torch
from trl import GRPOTrainer

from tests.engine.runs import SMALL


def main(out: Path, overrides: list[str]) -> None:
    from lenrl.config import compose
    from lenrl.engine.options import prepare
    from lenrl.train import build

    theirs: list[torch.Tensor] = []
    original = GRPOTrainer._generate_and_score_completions

    def spy(self, inputs):
        output = original(self, inputs)
        theirs.append(output["advantages"].clone())
        return output

    GRPOTrainer._generate_and_score_completions = spy  # type: ignore[method-assign]
    recipe = compose("grpo", [*SMALL, *overrides])
    trainer, verifier = build(prepare(recipe, int(os.environ.get("WORLD_SIZE", "1"))), out)
    ours: list[torch.Tensor] = []
    score = trainer._generate_and_score_completions

    def record(inputs):
        output = score(inputs)
        ours.append(output["advantages"].clone())
        return output

    trainer._generate_and_score_completions = record
    with verifier:
        trainer.train()
    result = {
        "processes": trainer.accelerator.num_processes,
        "wrapped": type(trainer.model_wrapped).__name__,
        "backend": torch.distributed.get_backend() if torch.distributed.is_initialized() else None,
        "theirs": torch.stack(theirs).tolist(),
        "ours": torch.stack(ours).tolist(),
        "weights": sum(p.double().abs().sum().item() for p in trainer.model.parameters()),
    }
    (out / f"rank{trainer.accelerator.process_index}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
