"""The pipeline from completions to rewards, which `Method.advantages` follows.

Rows become one record, completions are truncated, what was cut is judged again, and each gets its reward. Training,
`lenrl score`, `lenrl attack` and `lenrl check` all come through here. They differ in how they judge a completion that
was cut, which each gives as a `Judge`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lenrl.rollouts import RewardResult, Rollouts, Verdict
from lenrl.strategies.base import PromptBudget
from lenrl.strategies.groups import inside
from lenrl.strategies.method import Method

Judge = Callable[[Mapping[int, int]], Sequence["Row"]]
"""The rows that were cut, in batch order, judged and read again, from their kept tokens by row of the batch."""

Parts = Callable[[], Mapping[str, Sequence[float | None]]]
"""Values of the reward functions that the method adds, a batch row each, by name; asked for after any cut."""

Stage = Callable[[str, Callable[[], Any]], Any]
"""Runs a named stage of the pipeline, timed or guarded as its caller likes."""

Carried = (
    tuple[Any, ...] | Tensor
)  # P values of prompts, (P, G) nested ones of completions, (P, G, T) of tokens
OF_PROMPTS = ("prompt", "gold")  # of `READABLE`: a value a prompt
# Tensors (P, G, T), and what fills them past the kept tokens
OF_TOKENS: dict[str, tuple[torch.dtype, float]] = {
    "logps": (torch.float32, float("nan")),
    "teacher_logps": (torch.float32, float("nan")),
    "step_numbers": (torch.int16, -1),
}

NAN = float("nan")


@dataclass(frozen=True)
class Row:
    """One completion with all that strategies may know of it; small, since every process gets every row."""

    prompt_id: str
    length: int  # tokens sampled, EOS counted, at most the row's cap
    truncated: bool  # stopped without EOS
    verdict: Verdict
    prompt_budget: PromptBudget
    columns: Mapping[str, Any]  # what the data says of the prompt; the budget's columns go before it
    mean_logp: float | None = None  # mean token log-prob under the sampling policy
    carried: Mapping[str, Any] = field(default_factory=dict)  # what `Method.reads` names, of this completion


def carry(reads: Collection[str], **parts: Callable[[], Any]) -> dict[str, Any]:
    """`Row.carried`: of the parts, each of which is made by a function, those that strategies read."""
    return {name: make() for name, make in parts.items() if name in reads}


@dataclass(frozen=True)
class Scored:
    """A generation batch after the truncation, and its rewards."""

    rollouts: Rollouts
    reward: RewardResult


def build_rollouts(rows: Sequence[Row], num_generations: int, max_length: int, step: int) -> Rollouts:
    """The record of a whole generation batch; rows in batch order, groups adjacent.

    Raises:
        AssertionError: a group mixes prompts.
    """
    groups = [rows[i : i + num_generations] for i in range(0, len(rows), num_generations)]
    for group in groups:
        if len(prompts := {row.prompt_id for row in group}) != 1:
            raise AssertionError(
                f"a group mixes the prompts {sorted(prompts)}: the sampler and the gathering disagree"
            )

    def grid(values: Sequence[Any], dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype).reshape(len(groups), num_generations)

    def nested(name: str) -> Carried:
        if name in OF_TOKENS:
            dtype, fill = OF_TOKENS[name]
            values = [torch.tensor(row.carried[name], dtype=dtype) for row in rows]
            return pad_sequence(values, batch_first=True, padding_value=fill).unflatten(0, length_PG.shape)
        table = tuple(tuple(row.carried[name] for row in group) for group in groups)
        return tuple(row[0] for row in table) if name in OF_PROMPTS else table

    names = sorted({name for row in rows for name in (*row.columns, *row.prompt_budget.columns)})
    length_PG = grid([row.length for row in rows], torch.int64)
    correct_PG = grid([_number(row.verdict.correct) for row in rows], torch.float64)
    logps = [row.mean_logp for row in rows]
    return Rollouts(
        prompt_ids=tuple(group[0].prompt_id for group in groups),
        length_PG=length_PG,
        correct_PG=correct_PG,
        max_length=max_length,
        step=step,
        sampled_length_PG=length_PG,
        sampled_correct_PG=correct_PG,
        truncated_PG=grid([row.truncated for row in rows], torch.bool),
        formatted_PG=grid([row.verdict.formatted for row in rows], torch.bool),
        think_tags_PG=grid([row.verdict.think_tags for row in rows], torch.bool),
        answer_tags_PG=grid([row.verdict.answer_tags for row in rows], torch.bool),
        budget_PG=grid([_number(row.prompt_budget.budget) for row in rows], torch.float64),
        mean_logp_PG=None if None in logps else grid(logps, torch.float64),
        grade_PG=grid([_number(row.verdict.score) for row in rows], torch.float64),
        columns={
            name: tuple(
                tuple(row.prompt_budget.columns.get(name, row.columns.get(name)) for row in group)
                for group in groups
            )
            for name in names
        },
        carried={name: nested(name) for name in (rows[0].carried if rows else ())},
    )


def score(
    method: Method,
    rollouts: Rollouts,
    judge: Judge,
    nonfinite: Literal["fail", "drop"],
    stage: Stage = lambda name, work: work(),
    parts: Parts | None = None,
) -> Scored:
    """Truncate a batch, judge what was cut, and reward it. `nonfinite` is `guard.nonfinite`.

    `stage` runs the strategies' parts, named `truncation` and `reward`. `parts` is needed, and asked for, only where
    the method adds reward functions.

    Raises:
        BadStrategy, NonfiniteReward: as `Method.truncate` and `Method.rewards` do.
    """
    kept_PG = stage("truncation", lambda: method.truncate(rollouts))
    after = cut(rollouts, kept_PG, judge, caps=method.truncation.caps)
    if method.added:
        assert parts is not None
        given = {name: [_number(value) for value in values] for name, values in parts().items()}
        shape = (after.P, after.G)
        grids = {name: torch.tensor(given[name], dtype=torch.float64).reshape(shape) for name in given}
        after = after.with_(parts=grids)
    return Scored(after, stage("reward", lambda: method.rewards(after, nonfinite)))


def cut(rollouts: Rollouts, kept_PG: Tensor, judge: Judge, *, caps: bool) -> Rollouts:
    """The record of completions cut to `kept_PG` tokens, with the verdicts of what is left of them.

    `caps`: the cut stands for a cap on generation, so what it cuts counts as truncated.
    """
    cut_PG = kept_PG < rollouts.length_PG
    rows = cut_PG.flatten().nonzero().squeeze(1).tolist()
    if not rows:
        return rollouts
    again = judge(dict(zip(rows, kept_PG[cut_PG].tolist(), strict=True)))
    verdicts = [row.verdict for row in again]

    def judged(name: str, values: Sequence[Any]) -> Tensor:
        grid = getattr(rollouts, name).clone()
        grid[cut_PG] = torch.tensor(values, dtype=grid.dtype)
        return grid

    def read_again(name: str, table: Carried) -> Carried:
        if name in OF_PROMPTS:
            return table
        if isinstance(table, Tensor):
            return table.masked_fill(~inside(kept_PG, table.shape[2]), OF_TOKENS[name][1])
        flat = [value for group in table for value in group]
        for i, row in zip(rows, again, strict=True):
            flat[i] = row.carried[name]
        return tuple(tuple(flat[i : i + rollouts.G]) for i in range(0, len(flat), rollouts.G))

    return rollouts.with_(
        length_PG=kept_PG,
        correct_PG=judged("correct_PG", [_number(verdict.correct) for verdict in verdicts]),
        grade_PG=judged("grade_PG", [_number(verdict.score) for verdict in verdicts]),
        formatted_PG=judged("formatted_PG", [verdict.formatted for verdict in verdicts]),
        think_tags_PG=judged("think_tags_PG", [verdict.think_tags for verdict in verdicts]),
        answer_tags_PG=judged("answer_tags_PG", [verdict.answer_tags for verdict in verdicts]),
        truncated_PG=rollouts.truncated_PG | cut_PG if caps else rollouts.truncated_PG,
        carried={name: read_again(name, table) for name, table in rollouts.carried.items()},
    )


def _number(value: float | None) -> float:
    return NAN if value is None else float(value)
