"""The teacher of an advantage: an earlier copy of the policy. Knows no TRL."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lenrl.strategies.base import TeacherRule

Weights = dict[str, Tensor]


class Teacher:
    """An earlier policy's trained weights, which take the place of the policy's for a pass without gradient.

    What is not trained is shared: with LoRA only the adapters are copied, and for a teacher that stays the start policy
    nothing, since that is the model without them. No sharded weights: they can't be put in place.
    """

    def __init__(self, model: Any, rule: TeacherRule) -> None:
        self.model, self.rule = model, rule
        self.weights: Weights | None = None  # by the parameter's name; None: not copied yet

    @property
    def is_base(self) -> bool:
        """It is the model without its adapters."""
        return self.rule.every == 0 and hasattr(self.model, "disable_adapter")

    @torch.no_grad()
    def step_ended(self, step: int) -> None:
        """Copy the policy after `step` completed optimizer steps, where it is time."""
        if self.rule.every and step % self.rule.every == 0:
            self.weights = {name: p.detach().clone() for name, p in self._trained().items()}

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model is the teacher."""
        if self.is_base:
            with self.model.disable_adapter():
                yield
            return
        if self.weights is None:
            self.weights = {name: p.detach().clone() for name, p in self._trained().items()}
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of a checkpoint."""
        trained = self._trained()
        self.weights = {name: weight.to(trained[name].device) for name, weight in weights.items()}

    def _swap(self) -> None:
        assert self.weights is not None
        for name, parameter in self._trained().items():
            parameter.data, self.weights[name] = self.weights[name], parameter.data

    def _trained(self) -> dict[str, torch.nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}
