"""Properties that every strategy the registry finds must have, unless it declares why not."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lenrl.errors import BadInput
from lenrl.rollouts import Reward, Rollouts
from lenrl.strategies import groups, registry
from lenrl.strategies.base import Allowance, MicroBatch, Setting, StepTotals, as_reward
from lenrl.strategies.method import Method
from tests.strategies.cases import batches, close, frozen, taken, unchanged

battery = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SETTING = Setting(num_generations=4, max_length=4096, max_steps=100)
PROPERTIES = {"permute_prompts", "permute_completions", "groups_leak", "monotone_length"}


def names(slot: str) -> list[str]:
    return sorted(registry.available(slot))


def make(slot: str, name: str):
    return registry.build(slot, {"name": name})


def pays(rule, batch: Rollouts) -> torch.Tensor:
    return as_reward(rule(batch)).total_PG


@pytest.mark.parametrize(("slot", "name"), [(slot, name) for slot in registry.SLOTS for name in names(slot)])
def test_options_spec_state_and_docs(slot: str, name: str) -> None:
    rule = make(slot, name)
    with pytest.raises(BadInput, match="no_such_option"):
        registry.build(slot, {"name": name, "no_such_option": 1})
    spec = json.loads(json.dumps(registry.spec(rule)))
    assert registry.spec(registry.build(slot, spec)) == registry.spec(rule)
    rule.load_state_dict(json.loads(json.dumps(rule.state_dict())))
    kind = type(rule)
    assert ">>>" in (kind.__doc__ or ""), "no worked example"
    assert set(kind.declares) <= PROPERTIES
    for declared in kind.declares:
        assert f"`{declared}`" in kind.__doc__, f"declares {declared} without saying why"


@pytest.mark.parametrize(("slot", "name"), [(slot, name) for slot in registry.SLOTS for name in names(slot)])
def test_numbers_out_of_bounds_are_refused(slot: str, name: str) -> None:
    kind = registry.available(slot)[name]
    for option, field in kind.model_fields.items():
        if option == "seed" or not isinstance(field.default, int | float) or isinstance(field.default, bool):
            continue
        for value in (-1, float("nan"), float("inf")):
            with pytest.raises(BadInput, match=option):
                registry.build(slot, {"name": name, option: value})


@pytest.mark.parametrize("name", names("reward"))
@battery
@given(batch=batches(), seed=st.integers(0, 2**31))
def test_reward(name: str, batch: Rollouts, seed: int) -> None:
    rule = make("reward", name)
    before = frozen(batch)
    paid = pays(rule, batch)
    assert unchanged(batch, before)
    assert close(pays(rule, batch), paid), "not a function of its input"
    assert paid.dtype == torch.float64
    valid = ~paid.isnan()
    assert paid[valid].isfinite().all()
    assert not (paid.isnan() & batch.known_PG).any(), "a known verdict was not paid"
    if rule.reads_verdicts:
        assert not (valid & ~batch.known_PG).any(), "an unknown verdict was paid"

    noise = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(batch.G, generator=noise) for _ in range(batch.P)])
    assert close(pays(rule, taken(batch, order=order)), paid.gather(1, order))
    if "permute_prompts" not in rule.declares:
        prompts = torch.randperm(batch.P, generator=noise).tolist()
        assert close(pays(rule, taken(batch, prompts)), paid[prompts])
    if "groups_leak" not in rule.declares:
        assert close(pays(rule, taken(batch, [0])), paid[:1])


@pytest.mark.parametrize("name", names("reward"))
@battery
@given(batch=batches(uniform=True, known=True))
def test_reward_order(name: str, batch: Rollouts) -> None:
    rule = make("reward", name)
    paid = pays(rule, batch)
    if "monotone_length" not in rule.declares:
        for r, length, right in zip(paid, batch.length_PG, batch.right_PG, strict=True):
            by_length = r[right][torch.argsort(length[right], stable=True)]
            assert (by_length.diff() <= 1e-9).all(), "a longer correct completion is paid more"
    for g in range(batch.G):
        if batch.wrong_PG[0, g]:
            correct = batch.correct_PG.clone()
            correct[0, g] = 1.0
            assert pays(rule, batch.with_(correct_PG=correct))[0, g] >= paid[0, g] - 1e-9, "being right costs"


@pytest.mark.parametrize("name", names("advantage"))
@battery
@given(batch=batches(), seed=st.integers(0, 2**31), plain=st.booleans())
def test_advantage(name: str, batch: Rollouts, seed: int, plain: bool) -> None:
    rule = make("advantage", name)
    noise = torch.Generator().manual_seed(seed)
    total = batch.correct_PG if plain else torch.randn(batch.P, batch.G, generator=noise).double()
    total = total.masked_fill(~batch.known_PG, float("nan"))
    reward = Reward(total.clone(), {} if plain else {"one": total.clone(), "two": -2 * total})
    before = frozen(batch)
    pushed = rule(reward, batch)
    assert unchanged(batch, before)
    assert close(reward.total_PG, total)
    assert pushed.dtype == torch.float64
    assert pushed.isfinite().all()
    assert (pushed[total.isnan()] == 0).all(), "a row that is not valid is pushed"
    if plain:
        flat = ~groups.spread(total, ~total.isnan()).squeeze(1)
        assert (pushed[flat] == 0).all(), "a flat group is pushed"
        for a, right, wrong in zip(pushed, batch.right_PG, batch.wrong_PG, strict=True):
            if right.any() and wrong.any():
                assert a[right].min() >= a[wrong].max() - 1e-12, "wrong above correct"

    def again(prompts: list[int] | None = None, order: torch.Tensor | None = None) -> torch.Tensor:
        def move(x: torch.Tensor) -> torch.Tensor:
            x = x if prompts is None else x[prompts]
            return x if order is None else x.gather(1, order)

        moved = Reward(move(total), {name: move(part) for name, part in reward.parts.items()})
        return rule(moved, taken(batch, prompts, order))

    order = torch.stack([torch.randperm(batch.G, generator=noise) for _ in range(batch.P)])
    if "permute_completions" not in rule.declares:
        assert close(again(order=order), pushed.gather(1, order))
    prompts = torch.randperm(batch.P, generator=noise).tolist()
    assert close(again(prompts), pushed[prompts])
    if "groups_leak" not in rule.declares:
        assert close(again([0]), pushed[:1])


@pytest.mark.parametrize("name", names("truncation"))
@battery
@given(batch=batches(), seed=st.integers(0, 2**31))
def test_truncation(name: str, batch: Rollouts, seed: int) -> None:
    rule = make("truncation", name)
    before = frozen(batch)
    kept = rule(batch)
    assert unchanged(batch, before)
    assert kept.dtype == torch.int64
    assert (kept >= 0).all()
    assert (kept <= batch.length_PG).all()
    noise = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(batch.G, generator=noise) for _ in range(batch.P)])
    assert torch.equal(rule(taken(batch, order=order)), kept.gather(1, order))
    assert torch.equal(rule(taken(batch, [0])), kept[:1])


@pytest.mark.parametrize("name", names("budget"))
def test_budget(name: str) -> None:
    rule = make("budget", name)
    prompts = ["a"] * 4 + ["b"] * 4
    rows = [{"target": 300}] * 8
    given_ = rule(prompts, rows, 7, SETTING)
    assert len(given_) == 8
    assert rule(prompts, rows, 7, SETTING) == given_, "not a function of its input"
    assert make("budget", name)(prompts, rows, 7, SETTING) == given_
    alone = rule(["b"] * 4, rows[:4], 7, SETTING)
    assert alone == given_[4:], "a prompt's allowance depends on its neighbours"
    for allowance in given_:
        assert isinstance(allowance, Allowance)
        assert set(allowance.columns) == set(rule.gives)
        assert (allowance.budget is not None) == rule.gives_budget
        assert "{" not in (allowance.hint or "") + (allowance.system or "")
        assert allowance.cap is None or 1 <= allowance.cap <= SETTING.max_length
    assert len(rule.evaluation(prompts, rows, 7, SETTING)) == 8


@pytest.mark.parametrize("name", names("sampling"))
@battery
@given(signal=st.lists(st.booleans(), max_size=12), prompts=st.integers(1, 8))
def test_sampling(name: str, signal: list[bool], prompts: int) -> None:
    rule = make("sampling", name)
    assert rule.factor() >= 1
    kept = rule.keep(torch.tensor(signal, dtype=torch.bool), prompts).tolist()
    assert kept == sorted(set(kept))
    assert len(kept) <= prompts
    assert all(0 <= index < len(signal) for index in kept)


@pytest.mark.parametrize("name", [n for n in names("objective") if make("objective", n).replaces_loss])
def test_objective_ignores_padding_and_empty_rows(name: str) -> None:
    rule = make("objective", name)
    logp = torch.tensor(
        [[-1.0, -2.0, float("nan")], [-1.0, -1.5, -0.5], [-9.0, -9.0, -9.0]], requires_grad=True
    )
    mask = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    old = torch.where(mask, logp.detach() + 0.1, float("nan"))
    batch = MicroBatch(logp, old, mask, torch.tensor([1.0, -1.0, 5.0]))
    loss, _ = rule(batch, StepTotals(rows=3, tokens=5, kl_tokens=0.5, processes=1))
    loss.backward()
    assert loss.isfinite()
    assert logp.grad.isfinite().all()
    assert (logp.grad[~mask] == 0).all()
    assert (logp.grad[mask] != 0).all()


@pytest.mark.parametrize(
    ("slot", "name"), [("budget", "palu"), ("reward", "laser_d"), ("sampling", "predictive")]
)
def test_state_survives_json_and_changes_only_in_observe(slot: str, name: str) -> None:
    options = {"refresh": 1} if name == "laser_d" else {}
    rule, twin = (registry.build(slot, {"name": name, **options}) for _ in range(2))
    batch = taken(
        Rollouts(
            ("q0", "q1"),
            torch.tensor([[100, 300, 900, 700], [2000, 500, 800, 100]]),
            torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 0]]).double(),
            4096,
        )
    )
    empty = json.dumps(rule.state_dict())
    use = {
        "budget": lambda r: r(["q0", "q1"], [{}, {}], 0, SETTING),
        "reward": lambda r: r(batch).tolist(),
        "sampling": lambda r: r.factor(),
    }[slot]
    before = use(rule)
    assert json.dumps(rule.state_dict()) == empty
    rule.observe(batch, Reward(batch.correct_PG))
    assert use(rule) != before
    twin.load_state_dict(json.loads(json.dumps(rule.state_dict())))
    assert use(twin) == use(rule)
    assert twin.state_dict() == rule.state_dict()
    rule.observe(batch, Reward(batch.correct_PG))
    assert twin.state_dict() != rule.state_dict(), "the state is shared with what it was loaded from"


@pytest.mark.parametrize("name", names("reward"))
@battery
@given(batch=batches())
def test_the_whole_pipeline_is_finite(name: str, batch: Rollouts) -> None:
    method = Method(
        **{
            slot: make(slot, choice)
            for slot, choice in {
                "budget": "none",
                "truncation": "dot",
                "reward": name,
                "advantage": "grpo",
                "objective": "trl",
                "sampling": "uniform",
            }.items()
        }
    )
    kept = method.cut(batch)
    batch = batch.with_(length_PG=kept, sampled_length_PG=batch.length_PG)
    pushed = method.push(method.pay(batch), batch)
    assert pushed.isfinite().all()
    if method.reward.reads_verdicts:
        assert (pushed[~batch.known_PG] == 0).all()
