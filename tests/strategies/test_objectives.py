"""Gradients of the objectives: against closed forms, and split against whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lenrl.strategies.base import MicroBatch, Objective, RunInfo, StepTotals
from lenrl.strategies.objectives.drpo import DrpoObjective
from lenrl.strategies.objectives.kl_cov import KlCov

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "drpo_gradients_grpo_lambda.json").read_text())


def step_gradient(rule: Objective, whole: MicroBatch, pieces: int, processes: int = 1) -> Tensor:
    """The optimizer step's gradient for the log-probs, from so many micro-batches over so many processes."""
    mask, drift = whole.mask_NT, whole.old_logp_NT - whole.logp_NT
    gone = [
        MicroBatch(*(part.detach() for part in piece))
        for piece in zip(
            *(x.chunk(pieces) for x in (whole.logp_NT, whole.old_logp_NT, mask, whole.advantage_N)),
            strict=True,
        )
    ]
    totals = StepTotals(
        rows=mask.shape[0],
        tokens=float(mask.sum()),
        kl_tokens=float(drift[mask].sum()),
        processes=processes,
        extra=rule.survey(gone, lambda x: x) if rule.surveys == "tokens" else {},
    )
    logp = whole.logp_NT.detach().clone().requires_grad_()
    parts = (x.chunk(pieces) for x in (logp, whole.old_logp_NT, mask, whole.advantage_N))
    loss = sum(rule(MicroBatch(*piece), totals)[0] for piece in zip(*parts, strict=True)) / processes
    (gradient,) = torch.autograd.grad(loss, logp)
    return gradient


def random_step(rows: int = 8, width: int = 5, seed: int = 0) -> MicroBatch:
    noise = torch.Generator().manual_seed(seed)
    logp = -torch.rand(rows, width, generator=noise).double() - 0.1
    old = logp + 0.02 * torch.rand(rows, width, generator=noise).double()
    mask = torch.arange(width) < torch.randint(0, width + 1, (rows, 1), generator=noise)
    return MicroBatch(logp, old, mask, torch.randn(rows, generator=noise).double())


@pytest.mark.parametrize("pieces", [1, 2, 4])
@pytest.mark.parametrize("case", GOLDEN["drpo"], ids=lambda c: c["name"])
def test_drpo_gradient(case: dict, pieces: int) -> None:
    lengths = torch.tensor(case["lengths"])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    logp = torch.tensor(case["mean_logp"]).double()[:, None].expand(mask.shape)
    old = logp + case["K"]
    batch = MicroBatch(logp, old, mask, torch.tensor(case["advantage"]).double())
    gradient = step_gradient(DrpoObjective(beta=case["beta"], delta=case["delta"]), batch, pieces).sum(dim=1)
    assert torch.allclose(gradient, torch.tensor(case["grad_mean_logp"]).double(), atol=1e-6)


@pytest.mark.parametrize(
    "rule", [DrpoObjective(), KlCov(scope="optimizer_step", ratio=0.2)], ids=lambda r: r.name
)
@pytest.mark.parametrize(("pieces", "processes"), [(2, 1), (4, 1), (8, 1), (4, 2)])
def test_split_equals_whole(rule: Objective, pieces: int, processes: int) -> None:
    batch = random_step()
    assert torch.allclose(
        step_gradient(rule, batch, pieces, processes), step_gradient(rule, batch, 1), atol=1e-12
    )


def test_drpo_against_autograd_of_the_whole_objective() -> None:
    batch = random_step(seed=3)
    logp = batch.logp_NT.clone().requires_grad_()
    n = batch.mask_NT.sum(dim=1).clamp(min=1)
    s = (logp * batch.mask_NT).sum(dim=1) / n
    k = ((batch.old_logp_NT - logp) * batch.mask_NT).sum() / batch.mask_NT.sum()
    whole = -(batch.advantage_N * s).mean() + 500 * (k - 1e-4).clamp(min=0).square()
    (expected,) = torch.autograd.grad(whole, logp)
    assert k > 1e-4, "the constraint must bite"
    assert torch.allclose(step_gradient(DrpoObjective(), batch, 4), expected, atol=1e-12)


def test_drpo_micro_batch_scope_takes_each_its_own_kl() -> None:
    batch = random_step(seed=3)
    rule = DrpoObjective(kl_scope="micro_batch")
    assert rule.surveys == "nothing"
    whole, split = step_gradient(rule, batch, 1), step_gradient(rule, batch, 4)
    assert torch.allclose(whole, step_gradient(DrpoObjective(), batch, 1), atol=1e-12)
    assert not torch.allclose(whole, split)


def test_rows_that_only_fill_a_micro_batch_add_nothing_to_its_hinge() -> None:
    real = random_step(rows=4, seed=1)
    fields = (real.logp_NT, real.old_logp_NT, real.mask_NT, real.advantage_N)
    filled = MicroBatch(*(torch.cat([field, torch.zeros_like(field)]) for field in fields))
    totals = StepTotals(rows=4, tokens=float(real.mask_NT.sum()), kl_tokens=0.0, processes=1)
    losses = [DrpoObjective(kl_scope="micro_batch")(batch, totals) for batch in (real, filled)]
    assert losses[0][1]["drpo_hinge"] > 0
    assert torch.allclose(losses[0][0], losses[1][0], atol=1e-12)


def test_drpo_takes_advantages_of_tokens() -> None:
    batch = random_step(seed=5)
    spread = batch.advantage_N[:, None].expand_as(batch.logp_NT)
    tokens = MicroBatch(batch.logp_NT, batch.old_logp_NT, batch.mask_NT, spread)
    for rule in (DrpoObjective(), KlCov()):
        assert torch.allclose(step_gradient(rule, tokens, 2), step_gradient(rule, batch, 2))


def test_kl_cov_by_brute_force() -> None:
    batch = random_step(rows=4, seed=1)
    rule = KlCov(ratio=0.25, coef=3.0)
    logp = batch.logp_NT.clone().requires_grad_()
    tokens = [(i, t) for i, t in batch.mask_NT.nonzero().tolist()]
    a = torch.tensor([batch.advantage_N[i] for i, _ in tokens])
    lp = torch.tensor([batch.logp_NT[i, t] for i, t in tokens])
    cov = (a - a.mean()) * (lp - lp.mean())
    chosen = {tokens[j] for j in cov.argsort(descending=True)[: max(1, len(tokens) // 4)].tolist()}
    rows = []
    for i in range(4):
        losses = [
            -batch.advantage_N[i] * (logp[i, t] - batch.old_logp_NT[i, t]).exp()
            + (3.0 * (logp[i, t] - batch.old_logp_NT[i, t]).abs() if (i, t) in chosen else 0.0)
            for t in range(5)
            if batch.mask_NT[i, t]
        ]
        rows.append(sum(losses) / max(1, len(losses)))
    (expected,) = torch.autograd.grad(sum(rows) / 4, logp)
    assert torch.allclose(step_gradient(rule, batch, 1), expected, atol=1e-12)


def test_kl_cov_is_inert_at_one_update_a_rollout() -> None:
    batch = random_step()
    batch = MicroBatch(batch.logp_NT, batch.logp_NT.clone(), batch.mask_NT, batch.advantage_N)
    with_penalty, without = (step_gradient(KlCov(coef=c), batch, 2) for c in (5.0, 0.0))
    assert torch.equal(with_penalty, without)
    assert "inert" in KlCov().warnings(RunInfo(16, 4096, updates_per_rollout=1))[0]
    assert KlCov().warnings(RunInfo(16, 4096, updates_per_rollout=4)) == []


def test_kl_cov_penalises_nothing_where_all_tokens_have_one_advantage() -> None:
    """`A - mean A` is rounding noise there, and the tokens that it would choose are arbitrary."""
    batch = random_step()
    alike = MicroBatch(batch.logp_NT, batch.old_logp_NT, batch.mask_NT, torch.full((8,), 0.1 + 0.2).double())
    for scope in ("micro_batch", "optimizer_step"):
        with_penalty, without = (step_gradient(KlCov(coef=c, scope=scope), alike, 2) for c in (5.0, 0.0))
        assert torch.equal(with_penalty, without)


@pytest.mark.parametrize(
    ("options", "rows", "refused", "warned"),
    [
        ({}, 1, True, True),
        ({"scope": "optimizer_step"}, 1, False, False),
        ({}, 4, False, True),
        ({}, 16, False, False),
        ({}, None, False, False),
    ],
)
def test_kl_cov_where_micro_batches_can_share_one_advantage(
    options: dict, rows: int | None, refused: bool, warned: bool
) -> None:
    run_info = RunInfo(16, 4096, updates_per_rollout=4, micro_batch_rows=rows)
    rule = KlCov(**options)
    assert any("scope=optimizer_step" in message for message in rule.errors(run_info)) == refused
    assert any("scope=optimizer_step" in message for message in rule.warnings(run_info)) == warned


@pytest.mark.parametrize("rule", [DrpoObjective, KlCov])
def test_refused_fields_exist_in_trl(rule: type[Objective]) -> None:
    fields = pytest.importorskip("trl").GRPOConfig.__dataclass_fields__
    assert set(rule.refuses) <= set(fields)
