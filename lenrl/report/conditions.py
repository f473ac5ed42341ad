"""Conditions of two evaluations that differ, in words."""

from collections.abc import Mapping, Sequence

from lenrl.evaluation.fingerprint import differing
from lenrl.report.entries import Entry

HASHED = {  # their values are hashes
    "task": "other problems",
    "prompt_tokens": "prompts of other tokens",
    "tokenizer": "another tokenizer",
    "chat_template": "another chat template",
}
WORDS = {  # before the value
    "split": "split",
    "prompts": "problems:",
    "decoding.samples": "samples a problem:",
    "decoding.max_new_tokens": "cap in tokens:",
    "decoding.seed": "sampling seed",
    "eos_ids": "end-of-text tokens",
    "think_prefilled": "<think> opened by the prompt:",
}
MOST = 4  # differences that are named


def in_words(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Differences of a second evaluation to the first one, e.g. `samples a problem: 8 instead of 4`.

    >>> in_words({"tokenizer": "a1", "decoding": {"seed": 0}}, {"tokenizer": "b2", "decoding": {"seed": 1}})
    ['another tokenizer', 'sampling seed 1 instead of 0']
    """
    return [
        HASHED[key] if key in HASHED else f"{_label(key)} {right} instead of {left}"
        for key, left, right in differing(one, other)
    ]


def warnings(pairs: Sequence[tuple[Entry, Entry]]) -> list[str]:
    """A sentence for each way in which models were measured otherwise than another one.

    Another sampling seed alone is none: it draws the same kind of completions, and the intervals cover it.

    Args:
        pairs: (model, the one that it is compared with).
    """
    unlike: dict[tuple[str, str, str], list[str]] = {}
    for entry, other in pairs:
        found = in_words(other.figures["fingerprint"], entry.figures["fingerprint"])
        if found and not all(text.startswith(WORDS["decoding.seed"]) for text in found):
            more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
            key = (other.name, entry.decoding, "; ".join(found[:MOST]) + more)
            if entry.name not in unlike.setdefault(key, []):
                unlike[key].append(entry.name)
    return [
        f"{', '.join(names)} ({decoding}) {'was' if len(names) == 1 else 'were'} not measured like {other}: {how}"
        for (other, decoding, how), names in unlike.items()
    ]


def _label(key: str) -> str:
    if key in WORDS:
        return WORDS[key]
    group, _, name = key.partition(".")
    return {"versions": f"version of {name}:", "decoding": f"{name}:", "verifier": f"verifier's {name}:"}.get(
        group, f"{key}:"
    )
