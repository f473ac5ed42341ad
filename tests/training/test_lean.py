"""The update computes what its gradient needs: chunks of rows, rows moved between micro-batches, reasons against it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lenrl.strategies.base import StepTotals
from lenrl.strategies.objectives.drpo import DrpoObjective
from lenrl.strategies.objectives.kl_cov import KlCov
from lenrl.strategies.objectives.trl import Trl
from lenrl.training.chunks import Chunks, lengths, plan
from lenrl.training.lean import DIVISORS, LeanRows, every_row_reason, split, whole_batch_reason
from lenrl.training.loss import PolicyUpdate
from lenrl.training.trl_batch import has_signal, loss_mask
from tests.training.parts import one_process

S, T = 5, 9


def batch_of(rows: int, seed: int, signal: float = 0.5) -> Any:
    """Rows of all lengths, some of them without an advantage, one without a token."""
    generator = torch.Generator().manual_seed(seed)
    prompt_N = torch.randint(1, S + 1, (rows,), generator=generator)
    length_N = torch.randint(1, T + 1, (rows,), generator=generator)
    length_N[0] = 0
    columns = torch.arange(max(S, T))
    advantages = torch.randn(rows, generator=generator)
    return {
        "prompt_ids": torch.randint(1, 50, (rows, S), generator=generator),
        "prompt_mask": (columns[:S] >= S - prompt_N[:, None]).long(),
        "completion_ids": torch.randint(1, 50, (rows, T), generator=generator),
        "completion_mask": (columns[:T] < length_N[:, None]).long(),
        "advantages": torch.where(torch.rand(rows, generator=generator) < signal, advantages, 0.0),
        "old_per_token_logps": -torch.rand(rows, T, generator=generator),
        "num_items_in_batch": torch.tensor(100),
        "row": torch.arange(rows) + 100 * seed,
    }


class Model(torch.nn.Module):
    """Scores a token by those before it; padding counts for nothing, as under an attention mask."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(50, generator=torch.Generator().manual_seed(7)).double())
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, ids, mask, width):
        self.shapes.append(tuple(ids.shape))
        assert ids.shape == mask.shape and ids.size(1) > width
        before = torch.cumsum(self.weight[ids] * mask, 1) - self.weight[ids] * mask
        scored = (before.sin() * self.weight[ids] * mask)[:, -width:]
        return scored, scored.detach().abs()


def whole(batch):
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    return ids, torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)


def ahead(spare: int) -> Any:
    """A group in which another process makes `spare` more forwards."""
    group = one_process()
    return SimpleNamespace(max=lambda value: value + spare, gather=group.gather)


@pytest.mark.parametrize(("tokens", "spare"), [(None, 0), (20, 0), (1, 0), (30, 2)])
def test_chunks_score_what_the_whole_batch_scores_with_the_same_gradient(tokens, spare):
    batch, weights = batch_of(12, 1), torch.rand(12, T, dtype=torch.float64)
    ids, mask = whole(batch)
    one, other = Model(), Model()
    logp, entropy = one(ids, mask, T)
    (logp * weights).sum().backward()
    found, also = Chunks(ahead(spare), tokens).score(other, ids, mask, T, rows=12)
    (found * weights).sum().backward()
    assert torch.allclose(found, logp, atol=1e-12) and torch.allclose(also, entropy, atol=1e-12)
    assert torch.allclose(one.weight.grad, other.weight.grad, atol=1e-12)
    computed = sum(rows * columns for rows, columns in other.shapes)
    assert tokens == 1 or computed < ids.numel()
    assert all(rows == 1 or tokens is None or rows * columns <= tokens for rows, columns in other.shapes)
    if spare:
        assert len(set(other.shapes[-spare:])) == 1 and other.shapes[-1][0] == 1


def test_a_batch_without_a_token_stays_connected_to_the_weights():
    batch = batch_of(4, 1)
    ids, mask = whole(batch | {"completion_mask": torch.zeros(4, T, dtype=torch.int64)})
    model = Model()
    logp, _ = Chunks(one_process(), None).score(model, ids, mask, T, rows=4)
    logp.sum().backward()
    assert not logp.any() and not model.weight.grad.any()  # type: ignore[union-attr]
    assert len(model.shapes) == 1 and model.shapes[0][0] == 1


def test_lengths_are_found_from_the_mask():
    mask = torch.tensor([[0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 0, 0]])
    prompt_N, completion_N = lengths(mask, 3)
    assert prompt_N.tolist() == [1, 3, 2] and completion_N.tolist() == [2, 3, 0]


def test_the_plan_is_the_cheapest_of_all_cuts():
    generator = np.random.default_rng(0)
    for _ in range(20):
        prompt_N, completion_N = generator.integers(1, 9, 7), generator.integers(1, 40, 7)

        def cost(forwards, prompt_N=prompt_N, completion_N=completion_N):
            sizes = [len(f) * (prompt_N[f].max() + completion_N[f].max()) for f in forwards]
            return sum(sizes) + 25 * len(sizes)

        order = np.argsort(prompt_N + completion_N, kind="stable").tolist()
        every = []
        for bits in range(2**6):
            cuts = [0, *(i + 1 for i in range(6) if bits >> i & 1), 7]
            every.append([order[a:b] for a, b in zip(cuts, cuts[1:], strict=False)])
        found = plan(prompt_N, completion_N, most=10_000, forward_tokens=25)
        assert sorted(row for forward in found for row in forward) == list(range(7))
        assert cost(found) == min(map(cost, every))


def test_parts_hold_about_as_many_tokens_each():
    lengths_ = sorted(np.random.default_rng(0).integers(10, 200, 64).tolist())
    parts = split(range(64), lengths_, 4)
    sums = [sum(lengths_[row] for row in part) for part in parts]
    assert [row for part in parts for row in part] == list(range(64))
    assert max(sums) - min(sums) <= 200
    assert [len(part) for part in split(range(5), [1, 1, 1, 1, 500], 5)] == [1] * 5


def trl_loss(kind: str, batch: Any, logp: torch.Tensor, accumulation: int) -> torch.Tensor:
    """A loss of TRL's form: ratio times advantage, divided as `loss_type` says."""
    mask = loss_mask(batch)
    ratio = (logp - batch["old_per_token_logps"]).exp()
    advantages = batch["advantages"]
    token_NT = -ratio * (advantages if advantages.dim() == 2 else advantages[:, None]) * mask
    if kind == "rows":
        return (token_NT.sum(1) / mask.sum(1).clamp(min=1)).mean() / accumulation
    return token_NT.sum() / (mask.sum().clamp(min=1) * accumulation if kind == "tokens" else 100)


@pytest.mark.parametrize("kind", sorted(set(DIVISORS.values())))
@pytest.mark.parametrize("signal", [0.7, 0.15, 0.0])
@pytest.mark.parametrize("per_token", [False, True])
def test_rows_keep_their_weight_wherever_they_go(kind, signal, per_token):
    batches = [batch_of(6, seed, signal) for seed in range(4)]
    for batch in batches if per_token else ():
        batch["advantages"] = batch["advantages"][:, None] * torch.rand(6, T)
    one, other = Model(), Model()
    for batch in batches:
        trl_loss(kind, batch, one(*whole(batch), T)[0], 4).backward()
    shared = LeanRows(one_process(), kind).share_out(batches)
    chunks = Chunks(one_process(), None)
    for batch in shared:
        logp = chunks.score(other, *whole(batch), T, rows=6)[0]
        trl_loss(kind, batch, logp, 4).backward()
    assert len(shared) == 4
    assert torch.allclose(one.weight.grad, other.weight.grad, atol=1e-7)  # type: ignore[arg-type]
    kept = torch.cat([batch["row"][has_signal(batch)] for batch in batches])
    used = torch.cat([batch["row"][has_signal(batch)] for batch in shared])
    assert sorted(kept.tolist()) == sorted(used.tolist())
    assert [bool(batch["is_blank"]) for batch in shared] == [not has_signal(batch).any() for batch in shared]
    assert (signal == 0.0) == all(batch["is_blank"] for batch in shared)


def test_every_process_has_as_many_rows_in_a_micro_batch():
    """TRL gathers a figure a row."""
    fewer = SimpleNamespace(gather=lambda sizes: [*sizes, [9, 0]])
    first, second = LeanRows(fewer, "rows").share_out([batch_of(6, 1), batch_of(6, 2)])  # type: ignore[arg-type]
    assert len(first["advantages"]) == 9 and not first["is_blank"]
    assert not first["completion_mask"][~has_signal(first)].any()
    assert not first["old_per_token_logps"][~has_signal(first)].any(), (
        "no ratio of a row that is not computed"
    )
    assert len(second["advantages"]) == has_signal(second).sum()


def update(objective: Any, every_row: bool = False) -> PolicyUpdate:
    return PolicyUpdate(objective, one_process(), divisor="rows", every_row=every_row)


def test_next_shares_out_what_is_left_of_a_pass_and_of_a_step():
    batches = [batch_of(6, seed) for seed in range(3)]
    found = update(Trl())
    found.begin_step()
    found.begin([batches[1], batches[2], batches[0]], logps=None)  # type: ignore[arg-type]
    given = [found.next(batches[place:]) for place in (1, 2, 0)]
    rows = [sorted(batch["row"][has_signal(batch)].tolist()) for batch in given]
    expected = [batch["row"][has_signal(batch)].tolist() for batch in batches]
    assert sorted(rows[0] + rows[1]) == sorted(expected[1] + expected[2]), "the rollout ends here"
    assert rows[2] == sorted(expected[0])
    found = update(Trl(), every_row=True)
    found.begin(batches, logps=None)  # type: ignore[arg-type]
    assert all(found.next(batches[place:]) is batches[place] for place in range(3))


@pytest.mark.parametrize(("drift", "needs"), [(0.0, False), (0.05, False), (0.2, True)])
def test_drpo_computes_every_row_while_its_hinge_works(drift, needs):
    assert DrpoObjective(delta=0.1).needs_every_row(StepTotals(8, 100, 100 * drift, 1)) == needs
    assert not DrpoObjective(beta=0.0).needs_every_row(StepTotals(8, 100, 100 * drift, 1))
    assert DrpoObjective(kl_scope="micro_batch").needs_every_row(StepTotals(8, 100, 0.0, 1))


def test_reasons_to_compute_every_row():
    off = {"beta": 0.0, "entropy_coef": 0.0, "use_adaptive_entropy": False, "top_entropy_quantile": 1.0}
    assert every_row_reason(Trl(), off.__getitem__) is None
    for name, value in {"beta": 0.1, "entropy_coef": 0.2, "use_adaptive_entropy": True}.items():
        assert f"trainer.{name}={value}" in str(every_row_reason(Trl(), (off | {name: value}).__getitem__))
    assert every_row_reason(DrpoObjective(), (off | {"beta": 0.1}).__getitem__) is None, (
        "it replaces the loss"
    )
    assert "kl_cov" in str(every_row_reason(KlCov(), off.__getitem__))


@pytest.mark.parametrize(
    ("aux_loss", "options", "reason"),
    [
        (False, {"rope_parameters": {"rope_type": "default"}}, None),
        (
            False,
            {"rope_parameters": {"full": {"rope_type": "yarn"}, "sliding": {"rope_type": "default"}}},
            None,
        ),
        (False, {"rope_parameters": {"rope_type": "dynamic"}}, "positions"),
        (False, {"rope_parameters": {"full": {"rope_type": "longrope"}}}, "positions"),
        (False, {"rope_parameters": {"rope_type": "default"}, "attention_chunk_size": 64}, "positions"),
        (False, {}, "positions"),
        (True, {"rope_parameters": {"rope_type": "default"}}, "auxiliary"),
    ],
)
def test_reasons_to_compute_whole_micro_batches(aux_loss, options, reason):
    config = SimpleNamespace(model_type="some", **options)
    config.get_text_config = lambda: config
    found = whole_batch_reason(config, aux_loss)
    assert found is None if reason is None else reason in str(found)
