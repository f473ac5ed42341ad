"""Losses of an optimizer step's micro-batches, on plain dicts."""

from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from pydantic import PrivateAttr

from lenrl.config import compose
from lenrl.errors import RunFailed
from lenrl.rollouts import NotCarried
from lenrl.strategies.base import MicroBatch, Objective, StepTotals
from lenrl.strategies.objectives.drpo import DrpoObjective
from lenrl.strategies.objectives.kl_cov import KlCov
from lenrl.strategies.objectives.trl import Trl
from lenrl.training.lean import every_row_reason
from lenrl.training.loss import Forwards, PolicyUpdate, check_gradient, check_loss
from lenrl.training.run_state import StrategyStates
from tests.training.parts import one_process


def micro_batch(rows: int, *, weight: float | None = None, old: float | None = None, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand(rows, 5, generator=generator) < 0.7).long()
    batch = {"completion_mask": mask, "advantages": torch.randn(rows, generator=generator)}
    batch["prompt_mask"] = torch.ones(rows, 2, dtype=torch.int64)
    if weight is not None:
        batch["row_weight"] = torch.full((rows,), weight)
    if old is not None:
        batch["old_per_token_logps"] = torch.full((rows, 5), old)
    return batch


def update_with(objective: Any, divisor: Any = "step") -> PolicyUpdate:
    return PolicyUpdate(objective, one_process(), divisor=divisor, every_row=True)


def never(*_):
    raise AssertionError("not to be called")


def of_trl(loss: torch.Tensor, first_logits: Any = never, **scored: torch.Tensor) -> Forwards:
    """TRL's loss; `scored`: the log-probs and entropies that it was computed from."""
    return Forwards(never, lambda: (loss, (scored.get("logp"), scored.get("entropy"))), first_logits)  # type: ignore[return-value, arg-type]


def log_probs(value: float):
    """The same log-prob everywhere; entropy 2."""
    leaf = torch.tensor(value, requires_grad=True)

    def logps(batch):
        shape = batch["completion_mask"].shape
        return leaf.expand(shape), torch.full(shape, 2.0)

    return leaf, logps


def test_trl_s_loss_passes_through():
    update = update_with(Trl(), "rows")
    update.begin_step()
    update.begin([micro_batch(4)], logps=never)
    loss, figures = update.loss(micro_batch(4), of_trl(torch.tensor(3.0)))
    assert loss == 3.0 and not figures


@pytest.mark.parametrize(("divisor", "scale"), [("rows", 8 / 2), ("step", 1.0)])
def test_rows_of_weight_0_are_no_rows_of_a_mean_over_rows(divisor, scale):
    update = update_with(Trl(), divisor)
    update.begin_step()
    half = micro_batch(4, weight=1.0)
    half["row_weight"][2:] = 0
    update.begin([half, micro_batch(4, weight=0.0)], logps=never)
    assert update.loss(half, of_trl(torch.tensor(3.0)))[0] == 3.0 * scale
    assert not update.is_empty


def test_a_step_without_weight_is_empty_until_the_next_one():
    update = update_with(Trl(), "rows")
    for weight, empty in ((0.0, True), (1.0, False)):
        update.begin_step()
        assert not update.begun
        update.begin([micro_batch(2, weight=weight)], logps=never)
        assert update.begun and update.is_empty == empty


def test_an_objective_s_micro_batches_sum_up_to_the_whole_step():
    """With drift: the policy is at -1.5, the rollout was sampled at -1."""
    objective = DrpoObjective(beta=10.0, delta=0.0)
    batches = [micro_batch(3, old=-1.0, seed=1), micro_batch(5, old=-1.0, seed=2)]
    leaf, logps = log_probs(-1.5)
    update = update_with(objective)
    update.begin_step()
    with torch.no_grad():
        update.begin(batches, logps=logps)
    for batch in batches:
        loss, figures = update.loss(batch, Forwards(logps, never, never))
        loss.backward()
        assert figures == {"entropy": pytest.approx(2.0), "drpo_kl": 0.5, "drpo_hinge": 0.5}
    whole = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    one = torch.tensor(-1.5, requires_grad=True)
    mask = whole["completion_mask"].bool()
    data = MicroBatch(one.expand(8, 5), whole["old_per_token_logps"], mask, whole["advantages"])
    drift = 0.5 * mask.sum().item()
    objective(data, StepTotals(8, mask.sum().item(), drift, 1))[0].backward()
    assert leaf.grad is not None and leaf.grad.item() == pytest.approx(one.grad.item(), rel=1e-5)  # type: ignore[union-attr]


def test_the_pass_without_gradient_is_made_where_somebody_needs_it():
    def count(objective, **batch) -> int:
        calls = []

        def logps(given):
            calls.append(given)
            return torch.full(given["completion_mask"].shape, -1.0), None

        update = update_with(objective)
        update.begin([micro_batch(2, **batch), micro_batch(2, **batch)], logps=logps)
        return len(calls)

    assert count(DrpoObjective()) == 0, "one update a rollout: nothing has drifted"
    assert count(DrpoObjective(), old=-1.0) == 2
    assert count(DrpoObjective(beta=0.0), old=-1.0) == 0
    assert count(KlCov()) == 0
    assert count(KlCov(scope="optimizer_step")) == 2


@pytest.mark.parametrize("objective", [KlCov(ratio=1.0), DrpoObjective(delta=0.0, kl_scope="micro_batch")])
def test_log_probs_of_a_policy_that_has_not_moved_are_its_own_whatever_another_pass_rounds(objective):
    """`kl_cov` would push every token by the sign of the rounding."""
    gradients = []
    for old in (-1.5, -1.5 + 1e-6, -1.5 - 1e-6):
        leaf, logps = log_probs(-1.5)
        update = update_with(objective)
        update.begin_step()
        update.begin([micro_batch(4, old=old)], logps=never, moved=False)
        update.loss(micro_batch(4, old=old), Forwards(logps, never, never))[0].backward()
        gradients.append(leaf.grad)
    assert gradients[0] == gradients[1] == gradients[2] != 0


def test_a_policy_that_has_not_moved_needs_no_pass_to_know_its_drift():
    update = update_with(DrpoObjective())
    update.begin([micro_batch(2, old=-1.0)], logps=never, moved=False)
    assert update.totals is not None and update.totals.kl_tokens == 0


def test_a_survey_sees_every_micro_batch_of_the_step():
    update = update_with(KlCov(scope="optimizer_step", ratio=1.0))
    batches = [micro_batch(2, seed=1), micro_batch(3, seed=2)]
    levels = iter((-1.0, -3.0))
    update.begin(batches, logps=lambda b: (torch.full(b["completion_mask"].shape, next(levels)), None))
    first, second = (batch["completion_mask"].sum().item() for batch in batches)
    assert update.totals is not None
    assert update.totals.extra["logp_mean"] == pytest.approx((-first - 3 * second) / (first + second))
    assert update.totals.rows == 5 and update.totals.tokens == first + second


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_ends_the_run(value):
    with pytest.raises(RunFailed, match=r"loss is (nan|inf) at optimizer step 3"):
        check_loss(torch.tensor(value), 3)
    for taken, fate in ((True, "DeepSpeed took the step"), (False, "The step was not taken")):
        with pytest.raises(RunFailed, match=rf"norm is (nan|inf) at optimizer step 3. {fate}"):
            check_gradient(value, 3, taken=taken)
    assert check_loss(torch.tensor(1.0), 3) == 1.0


# --- objectives that add to TRL's loss -------------------------------------------------------------------------


class Entropic(Objective):
    """Adds a weight, which follows what it saw last, times the entropies of the rows that it is told of."""

    name: ClassVar[str] = "entropic"
    replaces_loss: ClassVar[bool] = False
    adds_loss: ClassVar[bool] = True
    reads_batch: ClassVar[Any] = ("entropy", "token_ids")
    _weight: float = PrivateAttr(1.0)

    def __call__(self, batch, totals):
        counted = batch.mask_NT * batch.rows["told"][:, None]
        loss = totals.processes * self._weight * (batch.entropy_NT * counted).sum() / totals.tokens
        return loss, {"seen": batch.token_ids_NT.max().item(), "tokens": float(counted.sum())}

    def updated(self, totals):
        self._weight = totals.figures["seen"]

    def state_dict(self):
        return {"weight": self._weight}

    def load_state_dict(self, state):
        self._weight = state["weight"]


def added_step(update: PolicyUpdate, leaf: torch.Tensor) -> list[tuple[torch.Tensor, Any]]:
    """A step of two micro-batches, of TRL's loss 3 each; the second one's rows are not told of."""
    batches = [micro_batch(2, seed=1), micro_batch(3, seed=2)]
    for told, batch in enumerate(batches):
        batch["completion_ids"] = torch.full((len(batch["advantages"]), 5), 4 * told)
        batch["row_value_told"] = torch.full((len(batch["advantages"]),), 1.0 - told)
    update.begin_step()
    update.begin(batches, logps=never)
    found = []
    for batch in batches:
        shape = batch["completion_mask"].shape
        forwards = of_trl(torch.tensor(3.0), logp=torch.full(shape, -1.0), entropy=leaf.expand(shape))
        found.append(update.loss(batch, forwards))
    return found


def test_a_term_is_added_to_trl_s_loss_and_made_of_what_that_was_computed_from():
    leaf = torch.tensor(2.0, requires_grad=True)
    update = update_with(Entropic(), "rows")
    (first, figures), (second, _) = added_step(update, leaf)
    counted = micro_batch(2, seed=1)["completion_mask"].sum().item()
    tokens = counted + micro_batch(3, seed=2)["completion_mask"].sum().item()
    assert first.item() == pytest.approx(3 + 2.0 * counted / tokens) and second == 3.0
    (first + second).backward()
    assert leaf.grad is not None and leaf.grad.item() == pytest.approx(counted / tokens)
    assert figures == {"seen": 0, "tokens": counted}


def test_a_state_moves_where_a_step_has_ended_by_the_means_of_its_figures():
    objective = Entropic()
    update = update_with(objective)
    states = StrategyStates(replace(compose("grpo").method, objective=objective))
    assert update.ended() is None
    states.updated(update.ended())
    assert (states.version, objective.state_dict()) == (0, {"weight": 1.0})
    added_step(update, torch.tensor(2.0, requires_grad=True))
    states.updated(update.ended())
    assert (states.version, states.state_dict()) == (1, {"objective": {"weight": 2.0}})
    still = StrategyStates(compose("grpo").method)
    still.updated(update.ended())
    assert still.version == 0, "TRL's loss has no state: nothing is to be noted anew"


def test_what_an_objective_has_not_declared_is_not_carried():
    batch = MicroBatch(*(torch.zeros(1, 1),) * 4)
    with pytest.raises(NotCarried, match=r"no 'first_logits': declare reads_batch = \('first_logits',\)"):
        batch.first_logit_NV  # noqa: B018
    with pytest.raises(TypeError, match="reads_batch = .*must be a tuple of some of"):
        type("Wrong", (Entropic,), {"reads_batch": ("logits",), "__module__": __name__})


def test_no_row_is_left_out_of_a_step_with_a_term():
    assert every_row_reason(Entropic(), {}.get) == "objective 'entropic' adds a term for every row"
