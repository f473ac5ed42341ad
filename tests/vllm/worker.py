"""Trains four steps with vLLM in this process: worker.py RECIPE OUT [stale]; `stale` never hands new weights over."""

import json
import sys
from functools import partial
from pathlib import Path

from transformers import TrainerCallback
from trl.generation import vllm_generation

from tests.training.runs import rows_of, small_run

GAP = "sampling/sampling_logp_difference/max"
CAP = 120


class Logged(TrainerCallback):
    """What TRL logs at each step."""

    def __init__(self) -> None:
        self.gaps: list[float] = []

    def on_log(self, args, state, control, logs=None, **_):
        if logs and GAP in logs:
            self.gaps.append(float(logs[GAP]))


def main(recipe: str, out: Path, stale: bool) -> None:
    # By itself vLLM samples from a float32 model in bfloat16, and both differ by some 0.005 whatever the weights are.
    vllm_generation.LLM = partial(vllm_generation.LLM, dtype="float32")
    trainer, verifier = small_run(
        recipe, out / "run", "trainer.use_vllm=true", "trainer.vllm_mode=colocate",
        "trainer.vllm_importance_sampling_correction=true", "trainer.max_steps=4", "trainer.steps_per_generation=1",
        "trainer.gradient_accumulation_steps=1", "trainer.learning_rate=0.001", "trainer.warmup_steps=0",
        f"trainer.max_completion_length={CAP}", "guard.truncated_share=1.0", "trainer.eval_steps=0", "task.dev=0",
        *(["budget.threshold=0.5", "task.train=4"] if recipe == "palu" else []),
    )  # fmt: skip
    logged = Logged()
    trainer.add_callback(logged)
    if stale:
        trainer.vllm_generation.sync_weights = lambda *_, **__: None
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    with verifier:
        trainer.train()
    moved = max(float((p.detach() - before[n]).abs().max()) for n, p in trainer.model.named_parameters())
    kept = ("step", "tokens", "truncated", "cap", "verdict")
    rows = [{key: row[key] for key in kept} for row in rows_of(out / "run")]
    (out / "found.json").write_text(json.dumps({"gaps": logged.gaps, "moved": moved, "rows": rows}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), "stale" in sys.argv[3:])
