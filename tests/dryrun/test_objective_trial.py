"""Objectives tried on a made-up micro-batch: those of the library pass, each fault of a plug-in has its message."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pytest
import torch

from lenrl.dryrun.objective_trial import try_objective
from lenrl.errors import LenrlError
from lenrl.strategies import registry
from lenrl.strategies.base import Objective

ADVANTAGE_PG = torch.tensor([[0.5, -0.5, 1.0, 0.0], [-1.0, 0.2, 0.3, 0.4]], dtype=torch.float64)


@pytest.mark.parametrize("tokens", [None, 3, 12])
@pytest.mark.parametrize("name", sorted(registry.available("objective")))
def test_ours_pass_with_advantages_of_rows_and_of_tokens(name: str, tokens: int | None) -> None:
    advantage = ADVANTAGE_PG if tokens is None else ADVANTAGE_PG[..., None].expand(-1, -1, tokens)
    modes = {"long_token": 5, "short_token": 6} if name == "mode_margin" else {}
    objective: Any = registry.build("objective", {"name": name, **modes})
    values = {"short_is_good": ADVANTAGE_PG.sign()} if modes else {}
    figures = try_objective(objective, advantage, values)
    assert figures["name"] == name
    assert all(isinstance(value, str | float) for value in figures.values())


class Plain(Objective):
    """Policy gradient: minus the advantage times the log-prob, a mean over the step's tokens."""

    name: ClassVar[str] = "plain"
    figures: Any = {}

    def __call__(self, batch, totals):
        return -(
            batch.logp_NT * batch.advantage_N[:, None] * batch.mask_NT
        ).sum() / totals.tokens, self.figures


class Rows(Plain):
    def __call__(self, batch, totals):
        return -(batch.logp_NT * batch.mask_NT).sum(1), {}


class Alone(Plain):
    def __call__(self, batch, totals):
        return super().__call__(batch, totals)[0]


class Cut(Plain):
    def __call__(self, batch, totals):
        return batch.logp_NT.detach().sum(), {}


class Elsewhere(Plain):
    def __call__(self, batch, totals):
        return torch.ones((), requires_grad=True) * 2, {}


class Padding(Plain):
    def __call__(self, batch, totals):
        return batch.logp_NT.sum(), {}


class Infinite(Plain):
    def __call__(self, batch, totals):
        return batch.logp_NT.sum() / 0, {}


class Edits(Plain):
    def __call__(self, batch, totals):
        batch.advantage_N.sub_(1)
        return super().__call__(batch, totals)


class Raises(Plain):
    def __call__(self, batch, totals):
        return batch.logp_NT[99], {}


class Surveys(Plain):
    @property
    def surveys(self) -> Literal["nothing", "drift", "tokens"]:
        return "tokens"

    def survey(self, batches, gather):
        return {"mean": batches[0].logp_NT.mean()}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Rows, r"a loss of shape \(8,\), expected a scalar"),
        (Alone, "returned Tensor, expected a pair"),
        (Cut, "a loss without gradient"),
        (Elsewhere, "does not reach logp_NT"),
        (Padding, "reaches tokens outside mask_NT"),
        (Infinite, "the loss -inf"),
        (Edits, "edits advantage_N"),
        (Raises, "raised IndexError: .*"),
        (Surveys, "the survey of .* must return finite numbers"),
    ],
)
def test_a_faulty_one_is_refused_with_its_file_and_line(kind: type[Plain], message: str) -> None:
    with pytest.raises(LenrlError, match=message) as fault:
        try_objective(kind(), ADVANTAGE_PG)
    assert "objective 'plain'" in str(fault.value)
    assert f"({__file__}, line " in str(fault.value)


@pytest.mark.parametrize(
    ("figures", "message"), [({"a": torch.ones(())}, "Tensor for its figure 'a'"), (None, "NoneType")]
)
def test_figures_are_plain_numbers(figures: Any, message: str) -> None:
    with pytest.raises(LenrlError, match=message):
        try_objective(Plain(figures=figures), ADVANTAGE_PG)
    assert try_objective(Plain(figures={"a": 1.5}), ADVANTAGE_PG)["a"] == 1.5
