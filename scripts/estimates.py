#!/usr/bin/env python3
"""Memory and time of the recipes in recipes/paper/: the table of docs/scale.md, without a network.

    scripts/estimates.py            # prints it
    scripts/estimates.py --write    # puts it into docs/scale.md
    scripts/estimates.py --check    # exit code 1: docs/scale.md holds another one

The same arithmetic as `lenrl check paper/NAME`, which reads the model's configuration from the hub; here the
architectures below stand for it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from transformers import Qwen2Config, Qwen3Config

from lenrl.config import compose, recipe_files
from lenrl.dryrun.estimate import checkpoint_bytes, estimate
from lenrl.training.prepare import prepare
from lenrl.training.sizes import GIB, shape

# From the models' published configurations.
SMALL = dict(
    hidden_size=1536, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2,
    intermediate_size=8960, vocab_size=151936, tie_word_embeddings=False,
)  # fmt: skip
LARGE = dict(
    hidden_size=3584, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4,
    intermediate_size=18944, vocab_size=152064, tie_word_embeddings=False,
)  # fmt: skip
QWEN3 = dict(
    hidden_size=4096, num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=8, head_dim=128,
    intermediate_size=12288, vocab_size=151936, tie_word_embeddings=False,
)  # fmt: skip
QWEN3_4B = dict(QWEN3, hidden_size=2560, intermediate_size=9728, tie_word_embeddings=True)
QWEN3_SMALL = dict(
    QWEN3, hidden_size=2048, num_hidden_layers=28, num_attention_heads=16, intermediate_size=6144,
    tie_word_embeddings=True,
)  # fmt: skip
CONFIGS = {  # by the end of a recipe's name, the longest first
    "4b_thinking": Qwen3Config.from_dict(QWEN3_4B),
    "1_7b": Qwen3Config.from_dict(QWEN3_SMALL),
    "1_5b": Qwen2Config.from_dict(SMALL),
    "7b": Qwen2Config.from_dict(LARGE),
    "8b": Qwen3Config.from_dict(QWEN3),
}
HEAD = (
    "| recipe | launch | weights, gradients, Adam | activations | logits | keys, values | in all | checkpoint "
    "| tokens, 10^9 | update, hours | sampling, hours |\n" + "| --- " * 11 + "|"
)
DOC = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
BEGIN, END = "<!-- estimates:begin -->\n", "<!-- estimates:end -->"


def line(name: str, problems: str) -> str:
    own = [f"task.path={problems}"] if "surrogate" in name else []
    recipe = compose(name, ["trainer.use_vllm=false", *own])  # keys and values as `generate` holds them
    checked_run = prepare(recipe)
    config = next(config for size, config in CONFIGS.items() if name.endswith(size))
    of = shape(config, recipe.model.peft)
    found = estimate(of, checked_run)
    stage = (recipe.launch.get("deepspeed_config") or {}).get("zero_stage")
    layout = checked_run.layout
    rollouts = -(-(checked_run.run_info.max_steps or 0) // layout.updates_per_rollout)
    cells = [
        f"`{name.split('/')[1]}`",
        f"`zero{stage}`" if stage else "`fsdp2`",
        *(
            f"{found[key]:.1f}"
            for key in (
                "weights_gradients_adam_gib",
                "activations_gib",
                "logits_gib",
                "key_values_gib",
                "memory_gib",
            )
        ),
        f"{checkpoint_bytes(of, checked_run) / GIB:.0f}",
        f"{rollouts * layout.rows_per_rollout * checked_run.run_info.max_length / 1e9:.2f}",
        f"{found['hours_updates_at_most']:.0f}",
        f"{found['hours_sampling_at_most']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write('{"problem": "1+1?", "question": "1+1?", "prompt": "1+1?", "answer": "2"}\n')
        file.flush()
        names = [name for name in sorted(recipe_files()) if name.startswith("paper/")]
        return "\n".join([HEAD, *(line(name, file.name) for name in names)]) + "\n"


def main(arguments: list[str]) -> int:
    estimates = table()
    before, _, rest = DOC.read_text().partition(BEGIN)
    written, _, after = rest.partition(END)
    if arguments == ["--check"]:
        return int(written != estimates)
    if arguments == ["--write"]:
        DOC.write_text(before + BEGIN + estimates + END + after)
        return 0
    print(estimates, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
