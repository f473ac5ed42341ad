"""The table of a rollout's completions, one file of `completions/`; `lenrl score` reads it back."""

import math
from collections.abc import Mapping, Sequence

import pyarrow as pa
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.base import PromptBudget
from lenrl.strategies.groups import token_mean

COMPLETION_CHARS = 100_000  # of a logged text: a hostile completion must not fill the disk
Text = tuple[str, str, str | None, PromptBudget]  # prompt, completion, extracted answer, what the budget gave


def completion_table(
    step: int,
    texts: Sequence[Text],
    rollouts: Rollouts,
    reward: RewardResult,
    advantage: Tensor,
    *,
    kept: Sequence[int],
    extras: Sequence[Mapping[str, object]] = (),
    thinking: Sequence[int | None] = (),
) -> pa.Table:
    """A row a completion, in batch order.

    Args:
        step: completed optimizer steps; the table's `step` is the first one that the rollout feeds.
        texts: a row of the generation batch, after any cut.
        advantage: (P, G) or (P, G, T); of the latter the mean over kept tokens is written.
        kept: groups that the update uses.
        thinking: kept tokens up to the end of the thinking, a row; None: it has none.
        extras: further columns a row: rendered prompt, gold answer, and what reward functions logged.
    """
    groups = [p for p in range(rollouts.P) for _ in range(rollouts.G)]
    flat: dict[str, list | pa.Array] = {
        "step": [step + 1] * len(texts),
        "group": groups,
        "prompt_id": [rollouts.prompt_ids[p] for p in groups],
        "prompt": [_clean(prompt) for prompt, *_ in texts],
        "completion": [_clean(text) for _, text, *_ in texts],
        "extracted": [None if answer is None else _clean(answer) for _, _, answer, _ in texts],
        "verdict": _verdicts(rollouts.correct_PG),
        "sampled_verdict": _verdicts(rollouts.sampled_correct_PG),
        "tokens": rollouts.sampled_length_PG.flatten().tolist(),
        "kept_tokens": rollouts.length_PG.flatten().tolist(),
        "truncated": rollouts.truncated_PG.flatten().tolist(),
        "reward": _numbers(reward.total_PG),
        "advantage": token_mean(advantage, rollouts.length_PG).flatten().tolist(),
        "in_update": [p in set(kept) for p in groups],
        "budget": _numbers(rollouts.budget_PG),
        "score": _numbers(rollouts.grade_PG),
    }
    if thinking:
        flat["thinking_tokens"] = pa.array(thinking, pa.int64())
    if rollouts.mean_logp_PG is not None:
        flat["mean_logp"] = _numbers(rollouts.mean_logp_PG)
    budgets = [budget for *_, budget in texts]
    flat["cap"] = pa.array([budget.cap for budget in budgets], pa.int64())
    for name in sorted({name for budget in budgets for name in budget.columns}):
        flat[name] = [budget.columns.get(name) for budget in budgets]
    for name, part_PG in rollouts.parts.items():
        flat[f"part_{name}"] = _numbers(part_PG)
    for name in sorted({name for row in extras for name in row} - flat.keys()):
        flat[name] = [None if (value := row.get(name)) is None else _clean(str(value)) for row in extras]
    return pa.table(flat)


def _numbers(values_PG: Tensor) -> pa.Array:
    """Null where a value is not finite; typed, since a column of nothing has no type."""
    found = [value if math.isfinite(value) else None for value in values_PG.double().flatten().tolist()]
    return pa.array(found, pa.float64())


def _verdicts(correct_PG: Tensor) -> pa.Array:
    found = [None if math.isnan(c) else bool(c) for c in correct_PG.flatten().tolist()]
    return pa.array(found, pa.bool_())


def _clean(text: str) -> str:
    """Parquet wants valid UTF-8; a byte-level decoder may give lone surrogates."""
    return text[:COMPLETION_CHARS].encode("utf-8", "replace").decode("utf-8")
