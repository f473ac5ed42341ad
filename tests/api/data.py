"""Rows of the embedded model's task, and TRL's configuration of small runs, for the tests of the Python API."""

import random
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import GRPOConfig

from lenrl.tasks.chain import ChainTask

SMALL: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 64,
    "activation_checkpointing": False,
    "learning_rate": 1e-3,
}


def config(folder: Path | str, **fields: Any) -> GRPOConfig:
    """A configuration for the CPU."""
    return GRPOConfig(str(folder), **{**SMALL, **fields})


def rows(count: int = 16, answer: str = "answer") -> Dataset:
    """Problems of the chain task as conversations, with a column that no strategy knows."""
    problems = ChainTask(train=count).problems("train")
    return Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": p.prompt}], answer: p.answer, "worth": float(n % 3)}
            for n, p in enumerate(problems)
        ]
    )


def right(completions, answer, **columns):
    """1 where the completion's text ends with the box of the answer."""
    texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [float(f"boxed{{{gold}}}" in text) for text, gold in zip(texts, answer, strict=True)]


def shorter(completion_ids, worth, **columns):
    """Fewer tokens are better, and None where the row is worth nothing."""
    return [None if w == 0 else -len(ids) / 64 for ids, w in zip(completion_ids, worth, strict=True)]


def noise(completions, **columns):
    """A number that the text alone decides."""
    return [random.Random(str(completion)).random() for completion in completions]
