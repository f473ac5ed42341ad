"""Properties that every strategy the registry finds must have, unless it declares why not and does break it."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from lenrl.errors import BadInput
from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import examples, groups, registry
from lenrl.strategies.base import MicroBatch, PromptBudget, Reward, RunInfo, StepTotals, Strategy, as_reward
from lenrl.strategies.method import Method
from tests.strategies.cases import batches, close, frozen, taken, unchanged

battery = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
search = settings(max_examples=500, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
RUN_INFO = RunInfo(num_generations=4, max_length=4096, max_steps=100)
ALL = [(slot, name) for slot in registry.SLOTS for name in sorted(registry.available(slot))]


def names(slot: str) -> list[str]:
    return sorted(registry.available(slot))


def make(slot: str, name: str):
    return registry.build(slot, {"name": name})


# --- what must hold on whole batches, as predicates: a declared one must fail somewhere ----------------------


def apply(rule: Strategy, batch: Rollouts) -> torch.Tensor:
    """What a rule gives the rows of a batch; advantages of the 0/1 reward, of tokens their mean."""
    if rule.slot == "advantage":
        return groups.token_mean(rule(RewardResult(batch.correct_PG.clone()), batch), batch.length_PG)  # type: ignore[operator]
    given_ = rule(batch)  # type: ignore[operator]
    return as_reward(given_).total_PG if isinstance(rule, Reward) else given_


def permute_completions(rule: Strategy, batch: Rollouts, noise: torch.Generator) -> bool:
    order = torch.stack([torch.randperm(batch.G, generator=noise) for _ in range(batch.P)])
    return close(apply(rule, taken(batch, order=order)), apply(rule, batch).gather(1, order))


def permute_prompts(rule: Strategy, batch: Rollouts, noise: torch.Generator) -> bool:
    prompts = torch.randperm(batch.P, generator=noise).tolist()
    return close(apply(rule, taken(batch, prompts)), apply(rule, batch)[prompts])


def groups_leak(rule: Strategy, batch: Rollouts, noise: torch.Generator) -> bool:
    return close(apply(rule, taken(batch, [0])), apply(rule, batch)[:1])


def monotone_length(rule: Strategy, batch: Rollouts, noise: torch.Generator) -> bool:
    """Of two correct completions that differ in length only, the shorter one is not worth less."""
    for value, length, right in zip(apply(rule, batch), batch.length_PG, batch.right_PG, strict=True):
        by_length = value[right][torch.argsort(length[right], stable=True)]
        if (by_length.diff() > 1e-9).any():
            return False
    return True


def flat_group(rule: Strategy, batch: Rollouts, noise: torch.Generator) -> bool:
    """A group with one value of the reward is not pushed."""
    flat = ~groups.spread(batch.correct_PG, batch.known_PG).squeeze(1)
    return not apply(rule, batch)[flat].any()


def right_above_wrong(rule: Strategy, batch: Rollouts, noise: torch.Generator) -> bool:
    """Under the 0/1 reward no token of a wrong completion is above one of a right one of its group."""
    pushed = rule(RewardResult(batch.correct_PG.clone()), batch)  # type: ignore[operator]
    for a, right, wrong in zip(pushed, batch.right_PG, batch.wrong_PG, strict=True):
        if right.any() and wrong.any() and a[right].min() < a[wrong].max() - 1e-12:
            return False
    return True


PROPERTIES = {
    "permute_completions": permute_completions,
    "permute_prompts": permute_prompts,
    "groups_leak": groups_leak,
    "monotone_length": monotone_length,
    "flat_group": flat_group,
    "right_above_wrong": right_above_wrong,
}
ON_BATCHES = [
    (slot, name, kept)
    for slot, name in ALL
    for kept in PROPERTIES
    if slot in ("truncation", "reward", "advantage")
    and not (slot == "truncation" and kept == "monotone_length")
    and not (slot != "advantage" and kept in ("flat_group", "right_above_wrong"))
]


def cases(kept: str) -> st.SearchStrategy[Rollouts]:
    """`monotone_length` speaks of rows that are alike but for their length; an empty one cannot be correct."""
    if kept != "monotone_length":
        return batches()
    return batches(uniform=True, known=True).map(lambda b: b.with_(length_PG=b.length_PG.clamp(min=1)))


@pytest.mark.parametrize(("slot", "name", "kept"), ON_BATCHES)
def test_property_or_its_declared_breakage(slot: str, name: str, kept: str) -> None:
    check_property(make(slot, name), kept)


def check_property(rule: Strategy, kept: str) -> None:
    def breaks(batch: Rollouts) -> bool:
        return not PROPERTIES[kept](rule, batch, torch.Generator().manual_seed(len(batch.prompt_ids)))

    if kept in rule.declares:
        find(
            cases(kept), breaks, settings=search
        )  # raises where nothing breaks: then it must not be declared
        return

    @settings(battery, max_examples=15)
    @given(batch=cases(kept))
    def holds(batch: Rollouts) -> None:
        assert not breaks(batch), f"{rule.slot} {rule.name!r} breaks {kept} and does not declare it"

    holds()


@pytest.mark.parametrize(("slot", "name"), ALL)
def test_what_is_declared_is_a_property_and_is_explained(slot: str, name: str) -> None:
    rule = make(slot, name)
    checked = {kept for s, n, kept in ON_BATCHES if (s, n) == (slot, name)}
    assert set(rule.declares) <= checked
    for declared in rule.declares:
        assert f"`{declared}`" in (type(rule).__doc__ or ""), f"declares {declared} without saying why"


OTHER_OPTIONS = [  # a property that hangs on them, with what is declared then
    ("advantage", {"name": "rloo", "whiten": True}, "groups_leak", True),
    ("advantage", {"name": "rloo", "whiten": True}, "flat_group", True),
    ("advantage", {"name": "lead_dynamic", "weight": 0.5, "whiten": False}, "groups_leak", False),
    ("reward", {"name": "grpo_lambda", "fraction": 1.0}, "groups_leak", False),
    ("reward", {"name": "grpo_lambda", "fraction": 1.0}, "permute_prompts", False),
    ("reward", {"name": "budgeted", "shape": "band"}, "monotone_length", False),
    ("reward", {"name": "lead_dynamic", "shape": "upper"}, "monotone_length", False),
    ("reward", {"name": "lead_dynamic", "shape": "asymmetric"}, "monotone_length", True),
    ("reward", {"name": "weighted", "parts": [{"name": "grpo_lambda"}]}, "groups_leak", True),
]


@pytest.mark.parametrize(("slot", "spec", "kept", "declared"), OTHER_OPTIONS)
def test_what_is_declared_follows_the_options(slot: str, spec: dict, kept: str, declared: bool) -> None:
    rule = registry.build(slot, spec)
    assert (kept in rule.declares) == declared
    check_property(rule, kept)


# --- every strategy ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("slot", "name"), ALL)
def test_options_spec_and_docs(slot: str, name: str) -> None:
    rule = make(slot, name)
    with pytest.raises(BadInput, match="no_such_option"):
        registry.build(slot, {"name": name, "no_such_option": 1})
    spec = json.loads(json.dumps(registry.spec(rule)))
    assert registry.spec(registry.build(slot, spec)) == registry.spec(rule)
    assert ">>>" in (type(rule).__doc__ or ""), "no worked example"


@pytest.mark.parametrize(("slot", "name"), ALL)
def test_numbers_out_of_bounds_are_refused(slot: str, name: str) -> None:
    kind = registry.available(slot)[name]
    for option, field in kind.model_fields.items():
        if option == "seed" or not isinstance(field.default, int | float) or isinstance(field.default, bool):
            continue
        for value in (-1, float("nan"), float("inf"), True):
            with pytest.raises(BadInput, match=option):
                registry.build(slot, {"name": name, option: value})


@pytest.mark.parametrize(("slot", "name"), ALL)
@battery
@given(batch=batches(), other=batches(), cut=st.integers(1, 4096))
def test_state_and_figures(slot: str, name: str, batch: Rollouts, other: Rollouts, cut: int) -> None:
    """State is JSON and changes in `observe` only; figures are numbers or None, with the same names for every batch."""
    rule, twin = make(slot, name), make(slot, name)
    reward = RewardResult(batch.correct_PG.clone())
    batch = batch.with_(length_PG=batch.length_PG.clamp(max=cut), sampled_length_PG=batch.length_PG)
    before = frozen(batch)
    rule.observe(batch, reward)
    state = json.dumps(rule.state_dict(), allow_nan=False)
    figures = rule.metrics(batch, reward)
    assert json.dumps(rule.state_dict()) == state
    assert unchanged(batch, before) and close(reward.total_PG, batch.correct_PG)
    assert all(v is None or math.isfinite(v) for v in figures.values())

    twin.load_state_dict(json.loads(state))
    assert json.dumps(twin.state_dict()) == state
    assert twin.metrics(batch, reward) == figures
    twin.observe(other, RewardResult(other.correct_PG))
    assert json.dumps(rule.state_dict()) == state, "the state is shared with what was loaded from it"
    assert twin.metrics(other, RewardResult(other.correct_PG)).keys() == figures.keys()


# --- slot by slot --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names("reward"))
@battery
@given(batch=batches())
def test_reward(name: str, batch: Rollouts) -> None:
    rule = make("reward", name)
    before = frozen(batch)
    paid = apply(rule, batch)
    assert unchanged(batch, before)
    assert close(apply(rule, batch), paid), "not a function of its input"
    assert paid.dtype == torch.float64
    valid = ~paid.isnan()
    assert paid[valid].isfinite().all()
    assert not (paid.isnan() & batch.known_PG).any(), "a known verdict was not paid"
    if rule.reads_verdicts:
        assert not (valid & ~batch.known_PG).any(), "an unknown verdict was paid"


@pytest.mark.parametrize("name", names("reward"))
@battery
@given(batch=batches(uniform=True, known=True))
def test_reward_pays_being_right(name: str, batch: Rollouts) -> None:
    rule = make("reward", name)
    paid = apply(rule, batch)
    for g in range(batch.G):
        if batch.wrong_PG[0, g]:
            correct = batch.correct_PG.clone()
            correct[0, g] = 1.0
            assert apply(rule, batch.with_(correct_PG=correct))[0, g] >= paid[0, g] - 1e-9, (
                "being right costs"
            )


@pytest.mark.parametrize("name", names("advantage"))
@battery
@given(batch=batches(), seed=st.integers(0, 2**31), plain=st.booleans())
def test_advantage(name: str, batch: Rollouts, seed: int, plain: bool) -> None:
    rule = make("advantage", name)
    noise = torch.Generator().manual_seed(seed)
    total = batch.correct_PG if plain else torch.randn(batch.P, batch.G, generator=noise).double()
    total = total.masked_fill(~batch.known_PG, float("nan"))
    reward = RewardResult(total.clone(), {} if plain else {"one": total.clone(), "two": -2 * total})
    before = frozen(batch)
    pushed = rule(reward, batch)
    assert unchanged(batch, before)
    assert close(reward.total_PG, total)
    assert close(rule(reward, batch), pushed), "not a function of its input"
    assert pushed.dtype == torch.float64
    assert pushed.isfinite().all()
    assert (pushed[total.isnan()] == 0).all(), "a row that is not valid is pushed"
    if not plain:
        order = torch.stack([torch.randperm(batch.G, generator=noise) for _ in range(batch.P)])
        parts = {part: value.gather(1, order) for part, value in reward.parts.items()}
        other = taken(batch, order=order)
        moved = groups.token_mean(rule(RewardResult(total.gather(1, order), parts), other), other.length_PG)
        if "permute_completions" not in rule.declares:
            expected = groups.token_mean(pushed, batch.length_PG).gather(1, order)
            assert close(moved, expected), "parts and rows go apart"


@pytest.mark.parametrize("name", names("advantage"))
@battery
@given(batch=batches(), seed=st.integers(0, 2**31))
def test_advantage_of_token_rewards(name: str, batch: Rollouts, seed: int) -> None:
    """A few tokens of each completion have a reward; what is not read of them counts by its sum."""
    rule = make("advantage", name)
    noise = torch.Generator().manual_seed(seed)
    batch = batch.with_(length_PG=batch.length_PG.clamp(max=6))
    tokens = torch.randn(batch.P, batch.G, 6, generator=noise).double()
    bare = torch.rand(tokens.shape, generator=noise) < 0.5
    bare |= ~groups.inside(batch.length_PG, 6) | ~batch.known_PG[..., None]
    tokens.masked_fill_(bare, float("nan"))
    total = tokens.nansum(dim=2).masked_fill(~batch.known_PG, float("nan"))
    reward = RewardResult(total, token_PGT=tokens)
    pushed = rule(reward, batch)
    assert close(tokens, reward.token_PGT)
    assert pushed.dtype == torch.float64
    assert pushed.isfinite().all()
    assert (pushed[total.isnan()] == 0).all(), "a row that is not valid is pushed"
    if not rule.reads_token_rewards:
        assert close(pushed, rule(RewardResult(total), batch))
        return
    assert pushed.shape == tokens.shape
    order = torch.stack([torch.randperm(batch.G, generator=noise) for _ in range(batch.P)])
    moved = RewardResult(
        total.gather(1, order), token_PGT=tokens.gather(1, order[..., None].expand(-1, -1, 6))
    )
    expected = pushed.gather(1, order[..., None].expand(-1, -1, 6))
    assert close(rule(moved, taken(batch, order=order)), expected), "tokens and rows go apart"


@pytest.mark.parametrize("name", names("truncation"))
@battery
@given(batch=batches())
def test_truncation(name: str, batch: Rollouts) -> None:
    rule = make("truncation", name)
    before = frozen(batch)
    kept = rule(batch)
    assert unchanged(batch, before)
    assert kept.dtype == torch.int64
    assert (kept >= 0).all()
    assert (kept <= batch.length_PG).all()


@pytest.mark.parametrize("name", names("budget"))
def test_budget(name: str) -> None:
    rule = make("budget", name)
    prompts = ["a"] * 4 + ["b"] * 4
    rows = [{"target": 300}] * 8
    before = copy.deepcopy(rows)
    given_ = rule(prompts, rows, 7, RUN_INFO)
    assert rows == before
    assert len(given_) == 8
    assert rule(prompts, rows, 7, RUN_INFO) == given_, "not a function of its input"
    assert make("budget", name)(prompts, rows, 7, RUN_INFO) == given_
    alone = rule(["b"] * 4, rows[:4], 7, RUN_INFO)
    assert alone == given_[4:], "a prompt's budget depends on its neighbours"
    for prompt_budget in given_:
        assert isinstance(prompt_budget, PromptBudget)
        assert set(prompt_budget.columns) == set(rule.gives)
        assert (prompt_budget.budget is not None) == rule.gives_budget
        assert "{" not in (prompt_budget.hint or "") + (prompt_budget.system or "")
        assert prompt_budget.cap is None or 1 <= prompt_budget.cap <= RUN_INFO.max_length
    assert len(rule.evaluation(prompts, rows, 7, RUN_INFO)) == 8


@pytest.mark.parametrize("name", names("sampling"))
@battery
@given(signal=st.lists(st.booleans(), max_size=12), prompts=st.integers(1, 8))
def test_sampling(name: str, signal: list[bool], prompts: int) -> None:
    rule = make("sampling", name)
    assert rule.factor() >= 1
    shown = torch.tensor(signal, dtype=torch.bool)
    kept = rule.keep(shown, prompts).tolist()
    assert shown.tolist() == signal
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
    loss, figures = rule(batch, StepTotals(rows=3, tokens=5, kl_tokens=0.5, processes=1))
    loss.backward()
    assert loss.isfinite()
    assert all(math.isfinite(value) for value in figures.values())
    assert logp.grad.isfinite().all()
    assert (logp.grad[~mask] == 0).all()
    assert (logp.grad[mask] != 0).all()


QUICK: dict[str, dict] = {  # options with which one batch is enough to see it
    "laser_d": {"refresh": 1},
    "leash": {"target": 200, "lr": 1},
    "laconic": {"target": 200},
    "acoer": {"window": 1, "warmup": 0},
    "pass_rate_band": {"revisit": 0},
}


def use(rule: Strategy, batch: Rollouts, reward: RewardResult) -> object:
    """What a strategy does, to be compared before and after it has seen something."""
    if rule.slot == "budget":
        return rule(["q0", "q1"], [{}, {}], 0, RUN_INFO)  # type: ignore[operator]
    if rule.slot == "sampling":
        return rule.factor(), rule.choose(["q1", "q0"], [{}, {}], 1)  # type: ignore[attr-defined]
    return rule(reward, batch).tolist() if rule.slot == "advantage" else apply(rule, batch).tolist()


@pytest.mark.parametrize(("slot", "name"), ALL)
def test_what_has_a_state_acts_on_it(slot: str, name: str) -> None:
    rule, twin = (registry.build(slot, {"name": name, **QUICK.get(name, {})}) for _ in "12")
    lengths = [[100, 300, 900, 700], [2000, 500, 800, 100]]
    effort = {"effort": ((0.8,) * 4,) * 2}
    batch = examples.groups(lengths, [[1, 1, 1, 1], [1, 0, 0, 0]], columns=effort)
    worse = examples.groups(lengths, [[1, 1, 0, 1], [0, 0, 0, 0]], columns=effort)
    parts = {"correct": batch.correct_PG, "efficiency": -batch.tokens_PG / 1000}
    reward = RewardResult(batch.correct_PG, parts)
    empty = rule.state_dict()
    rule.observe(batch, reward)
    assert (rule.state_dict() != empty) == bool(empty)
    if not empty:
        return
    assert use(rule, worse, reward) != use(twin, worse, reward)
    twin.load_state_dict(json.loads(json.dumps(rule.state_dict())))
    assert use(twin, worse, reward) == use(rule, worse, reward)


@pytest.mark.parametrize("name", names("reward"))
@battery
@given(batch=batches())
def test_the_whole_pipeline_is_finite(name: str, batch: Rollouts) -> None:
    slots = {"budget": "none", "truncation": "dot", "reward": name}
    slots |= {"advantage": "grpo", "objective": "trl", "sampling": "uniform"}
    method = Method(**{slot: make(slot, choice) for slot, choice in slots.items()})
    kept = method.truncate(batch)
    batch = batch.with_(length_PG=kept, sampled_length_PG=batch.length_PG)
    pushed = method.advantages(method.rewards(batch), batch)
    assert pushed.isfinite().all()
    if method.reward.reads_verdicts:
        assert (pushed[~batch.known_PG] == 0).all()
