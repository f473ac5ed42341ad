"""TRL's own advantages next to ours, on the same rollouts."""

from pathlib import Path

import torch
from trl import GRPOTrainer

from tests.training.runs import small_run


def compare(run_dir: Path, *overrides: str) -> dict:
    """Train two steps: the advantages of this process's rows by TRL and by us, and what its weights sum up to."""
    theirs: list[torch.Tensor] = []
    original = GRPOTrainer._generate_and_score_completions

    def spy(self, inputs):
        output = original(self, inputs)
        theirs.append(output["advantages"].clone())
        return output

    trainer, verifier = small_run("grpo", run_dir, "trainer.max_completion_length=120", *overrides)
    ours: list[torch.Tensor] = []
    score = trainer._generate_and_score_completions

    def record(inputs):
        output = score(inputs)
        ours.append(output["advantages"].clone())
        return output

    trainer._generate_and_score_completions = record
    GRPOTrainer._generate_and_score_completions = spy  # type: ignore[method-assign]
    try:
        with verifier:
            trainer.train()
    finally:
        GRPOTrainer._generate_and_score_completions = original  # type: ignore[method-assign]
    return {
        "wrapped": type(trainer.model_wrapped).__name__,
        "theirs": torch.stack(theirs).tolist(),
        "ours": torch.stack(ours).tolist(),
        "weights": sum(p.double().abs().sum().item() for p in trainer.model.parameters()),
    }
