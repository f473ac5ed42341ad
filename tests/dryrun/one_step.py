"""One training step of a small model, plain and checkpointed, each in a process of its own; their peak memory and
operations as a line of JSON each.

python -m tests.dryrun.one_step
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2Config, Qwen2ForCausalLM

ROWS, TOKENS = 8, 256
CONFIG = Qwen2Config(
    hidden_size=512, num_hidden_layers=6, num_attention_heads=8, num_key_value_heads=2, intermediate_size=1536,
    vocab_size=6000, tie_word_embeddings=False,
)  # fmt: skip


def resident(line: str) -> int:
    """Bytes of this process in memory: `VmRSS` now, `VmHWM` at most so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{line}:")[1].split()[0]) * 1024


def step(
    model: Qwen2ForCausalLM, optimizer: torch.optim.Optimizer, rows: int = ROWS, tokens: int = TOKENS
) -> None:
    """Forward, policy-gradient loss, backward, AdamW."""
    ids = torch.randint(0, model.config.vocab_size, (rows, tokens))
    logits = model(input_ids=ids, use_cache=False).logits
    chosen_NT = logits.gather(2, ids[..., None]).squeeze(2)
    logp_NT = chosen_NT - torch.stack([row.logsumexp(dim=-1) for row in logits])  # row by row, as TRL does
    (-logp_NT.mean()).backward()
    optimizer.step()


def warm_up() -> None:
    """Load what the first step of any model loads."""
    config = Qwen2Config(
        hidden_size=64, num_hidden_layers=1, num_attention_heads=8, num_key_value_heads=2, intermediate_size=64,
        vocab_size=99,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    with FlopCounterMode(display=False):
        step(model, torch.optim.AdamW(model.parameters()))


def measure(checkpointed: bool) -> None:
    """Print {"bytes", "operations"} of this process."""
    torch.manual_seed(0)
    warm_up()
    before = resident("VmRSS")
    model = Qwen2ForCausalLM(CONFIG)
    if checkpointed:
        model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    step(model, optimizer, rows=1, tokens=8)  # Adam's moments come with the first step
    optimizer.zero_grad(set_to_none=False)
    with FlopCounterMode(display=False) as counter:
        step(model, optimizer)
    print(
        json.dumps({"bytes": resident("VmHWM") - before, "operations": counter.get_total_flops()}), flush=True
    )


def main() -> None:
    for checkpointed in (False, True):
        if (pid := os.fork()) == 0:
            measure(checkpointed)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0


if __name__ == "__main__":
    main()
