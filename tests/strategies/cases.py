"""Random generation batches for the common battery."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies.columns import LEVELS, MODES
from lenrl.strategies.examples import groups
from lenrl.strategies.groups import inside

MAX_LENGTH = 4096
NEUTRAL = {  # each slot's choice that does nothing of its own
    "budget": "none",
    "truncation": "none",
    "reward": "correctness",
    "advantage": "grpo",
    "objective": "trl",
    "sampling": "uniform",
}
PER_ROW = ("target", "lo", "hi", "level", "mode")


@st.composite
def batches(draw: st.DrawFn, uniform: bool = False, known: bool = False) -> Rollouts:
    """A batch of 1 to 4 groups of 2 to 6. Sizes and kinds are drawn, values come from a drawn seed.

    `uniform`: all rows alike but for length and verdict. `known`: no unknown verdicts.
    """
    p, g = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    lengths = draw(st.sampled_from(("any", "few", "equal", "tiny")))
    verdicts = draw(
        st.sampled_from(("any", "right", "wrong") if known else ("any", "right", "wrong", "some", "none"))
    )
    noise = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def pick(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (p, g), generator=noise)

    length = {
        "any": pick(1, MAX_LENGTH + 1),
        "few": 100 * pick(1, 4),
        "equal": torch.full((p, g), 700),
        "tiny": pick(0, 3),
    }[lengths]
    correct = {"right": torch.ones(p, g), "wrong": torch.zeros(p, g)}.get(verdicts, pick(0, 2)).double()
    if verdicts == "none":
        correct.fill_(float("nan"))
    if verdicts == "some":
        correct[pick(0, 2).bool()] = float("nan")

    graded = not uniform and draw(st.booleans())  # some verdicts have a grade, between 0 and 1
    grade = (
        torch.rand(p, g, generator=noise).double() if graded else torch.full((p, g), float("nan")).double()
    )
    grade[pick(0, 2).bool() | correct.isnan()] = float("nan")

    def flags() -> Tensor:
        return torch.ones(p, g, dtype=torch.bool) if uniform else pick(0, 2).bool()

    def words(among: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        values = torch.zeros(p, g, dtype=torch.int64) if uniform else pick(0, len(among))
        return tuple(tuple(among[i] for i in row) for row in values.tolist())

    def of_tokens(fill: float, low: float, high: float) -> Tensor:
        """Values of the kept tokens of each completion; all the lowest where rows are alike."""
        width = int(length.max())
        values = low + (high - low) * torch.rand(p, g, width, generator=noise) * (not uniform)
        return values.masked_fill(~inside(length, width), fill)

    ids = range(60) if uniform else [0, 1] * 30
    carried = {
        "token_ids": tuple(tuple(tuple(ids[:n]) for n in row) for row in length.tolist()),
        "logps": of_tokens(float("nan"), -3, 0),
        "teacher_logps": of_tokens(float("nan"), -3, 0),
        "step_numbers": of_tokens(-1, -1, 5).ceil().to(torch.int16),
    }
    lo = 500 if uniform else int(pick(1, 2000)[0, 0])
    return groups(
        length.tolist(),
        correct.tolist(),
        max_length=MAX_LENGTH,
        truncated_PG=~flags(),
        formatted_PG=flags(),
        think_tags_PG=flags(),
        answer_tags_PG=flags(),
        grade_PG=grade,
        budget_PG=torch.full((p, g), 900.0).double(),
        mean_logp_PG=-5 * torch.rand(p, g, generator=noise).double(),
        carried=carried,
        columns={
            "target": ((1200,) * g,) * p,
            "lo": ((lo,) * g,) * p,
            "hi": ((lo + 500,) * g,) * p,
            "effort": ((0.8,) * g,) * p,
            "reference_accuracy": ((0.5,) * g,) * p,
            "level": words(LEVELS),
            "mode": words(MODES),
        },
    )


def taken(batch: Rollouts, prompts: list[int] | None = None, order: Tensor | None = None) -> Rollouts:
    """Some groups, in that order, with their completions reordered by `order` (P, G)."""
    chosen = list(range(batch.P)) if prompts is None else prompts
    rows = torch.arange(batch.G).expand(len(chosen), batch.G) if order is None else order

    def move(value: Tensor) -> Tensor:
        return value[chosen].gather(1, rows)

    tensors = {k: move(v) for k, v in vars(batch).items() if isinstance(v, Tensor)}
    columns = {
        name: tuple(tuple(table[p][g] for g in rows[i].tolist()) for i, p in enumerate(chosen))
        for name, table in batch.columns.items()
    }
    carried = {
        name: value[chosen].gather(1, rows[..., None].expand(-1, -1, value.shape[2]))
        if isinstance(value, Tensor)
        else tuple(tuple(value[p][g] for g in rows[i].tolist()) for i, p in enumerate(chosen))
        for name, value in batch.carried.items()
    }
    ids = tuple(batch.prompt_ids[p] for p in chosen)
    return batch.with_(prompt_ids=ids, columns=columns, carried=carried, **tensors)


def frozen(batch: Rollouts) -> list[Tensor]:
    """Copies of all its tensors."""
    return [value.clone() for value in vars(batch).values() if isinstance(value, Tensor)]


def unchanged(batch: Rollouts, before: list[Tensor]) -> bool:
    now = [value for value in vars(batch).values() if isinstance(value, Tensor)]
    return all(torch.equal(a.nan_to_num(-7.0), b.nan_to_num(-7.0)) for a, b in zip(now, before, strict=True))


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=1e-9, atol=1e-9, equal_nan=True)
