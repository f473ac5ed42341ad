"""Trains four steps with vLLM in this process: worker.py RECIPE OUT [stale]; `stale` never hands new weights over.

The model is a random one: vLLM's CPU engine takes no heads of 16, which the embedded reasoner has. So that there is
something to learn, a completion is right if its number of characters is even.
"""

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM, TrainerCallback
from trl.generation import vllm_generation

from lenrl.models import TINY
from lenrl.rollouts import Verdict
from tests.engine.runs import rows_of, small_run

GAP = "sampling/sampling_logp_difference/max"
CAP = 32
ENDS = [1, *range(20, 50)]  # so many that random completions end early


class Logged(TrainerCallback):
    """What TRL logs at each step."""

    def __init__(self) -> None:
        self.gaps: list[float] = []

    def on_log(self, args, state, control, logs=None, **_):
        if logs and GAP in logs:
            self.gaps.append(float(logs[GAP]))


def random_model(folder: Path) -> None:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, head_dim=32, max_position_embeddings=512,
        tie_word_embeddings=True, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = ENDS
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (TINY / name).exists():
            shutil.copy(TINY / name, folder)


def main(recipe: str, out: Path, stale: bool) -> None:
    random_model(out / "base")
    # By itself vLLM samples from a float32 model in bfloat16, and both differ by some 0.005 whatever the weights are.
    vllm_generation.LLM = partial(vllm_generation.LLM, dtype="float32")
    trainer, verifier = small_run(
        recipe, out / "run", f"model.path={out / 'base'}", "trainer.use_vllm=true", "trainer.vllm_mode=colocate",
        "trainer.vllm_importance_sampling_correction=true", "trainer.max_steps=4", "trainer.steps_per_generation=1",
        "trainer.gradient_accumulation_steps=1", "trainer.learning_rate=0.01", "trainer.warmup_steps=0",
        f"trainer.max_completion_length={CAP}", "guard.truncated_share=1.0", "trainer.eval_steps=0", "task.dev=0",
        *(["budget.threshold=0.3", "task.train=4"] if recipe == "palu" else []),
    )  # fmt: skip
    trainer._verify = lambda texts, golds: [Verdict(correct=len(text) % 2 == 0) for text in texts]
    logged = Logged()
    trainer.add_callback(logged)
    if stale:
        trainer.vllm_generation.sync_weights = lambda *_, **__: None
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    with verifier:
        trainer.train()
    moved = max(float((p.detach() - before[n]).abs().max()) for n, p in trainer.model.named_parameters())
    rows = [{key: row[key] for key in ("step", "tokens", "truncated", "cap")} for row in rows_of(out / "run")]
    (out / "found.json").write_text(json.dumps({"gaps": logged.gaps, "moved": moved, "rows": rows}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), "stale" in sys.argv[3:])
