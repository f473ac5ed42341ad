"""Prompts in a fixed order without a data loader, and the groups of a larger sample that an update keeps.

A sampling strategy may choose the prompts, or ask for more than an update takes. The prompts then come from a
cursor over the data, whose place is part of the checkpoint, and after scoring the kept groups are laid out again
over the processes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from lenrl.strategies import contract
from lenrl.strategies.base import Sampling
from lenrl.strategies.faults import calling, named
from lenrl.training.distributed import ProcessGroup
from lenrl.training.trl_batch import ROW_VALUE, TrlBatch

LEFT_PADDED = ("prompt_ids", "prompt_mask", "bare_prompt_ids", "bare_prompt_mask")
PADDING = {"importance_sampling_ratio": 1}
"""By key, as TRL pads it: `vespo` sums its log without a mask; else 0."""


class PromptCursor:
    """Hands out prompt ids, pass after pass over the data; the order of each is a function of (seed, pass).

    Args:
        problems: columns of the training problems, by prompt id.
        choose: makes of a pass's problems, in its order, the prompts to visit, from (problems, passes before);
            None: all, as they stand.
    """

    def __init__(
        self,
        problems: Mapping[str, Mapping[str, Any]],
        seed: int,
        choose: Callable[[Mapping[str, Mapping[str, Any]], int], list[str]] | None = None,
    ) -> None:
        self.problems, self.seed, self.choose = problems, seed, choose
        self.position = 0  # prompts handed out since the run began
        self.turn = 0  # passes begun
        self.in_pass = 0  # prompts of the pass under way
        self._ahead: tuple[str, ...] = ()  # of the pass under way

    def take(self, count: int) -> list[str]:
        """The next prompts; a pass that ends goes on with the next one's."""
        taken: list[str] = []
        while len(taken) < count:
            if not self._ahead:
                self._begin_pass()
            wanted = count - len(taken)
            taken += self._ahead[:wanted]
            self._ahead = self._ahead[wanted:]
        self.position += count
        return taken

    def _begin_pass(self) -> None:
        order = self._order(self.turn)
        if self.choose is not None:
            order = self.choose({name: self.problems[name] for name in order}, self.turn)
        self.turn, self.in_pass, self._ahead = self.turn + 1, len(order), tuple(order)

    def _order(self, turn: int) -> list[str]:
        names = list(self.problems)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + turn)
        return [names[place] for place in torch.randperm(len(names), generator=generator).tolist()]

    def state_dict(self) -> int | dict[str, Any]:
        """The position; where prompts are chosen, what a pass still has to visit too, chosen by a former state."""
        if self.choose is None:
            return self.position
        state = {"position": self.position, "turn": self.turn, "in_pass": self.in_pass}
        return {**state, "ahead": self._ahead}

    def load_state_dict(self, state: int | Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave, in a cursor that chooses or in one that does not."""
        if self.choose is not None and isinstance(state, Mapping):
            self.position, self.turn, self.in_pass = state["position"], state["turn"], state["in_pass"]
            self._ahead = tuple(name for name in state["ahead"] if name in self.problems)
            return
        self.position = state["position"] if isinstance(state, Mapping) else state
        before, done = divmod(self.position, len(self.problems))
        self.turn, self.in_pass = before + 1, len(self.problems)
        self._ahead = tuple(self._order(before)[done:])


def prompts_to_sample(prompts: int, factor: float, num_generations: int, processes: int) -> int:
    """`floor(prompts * factor)`, at least `prompts`, rounded up until the processes can share the rows.

    >>> prompts_to_sample(16, 1.5, 8, 1), prompts_to_sample(3, 1.5, 4, 3)
    (24, 6)
    """
    sampled = max(prompts, math.floor(prompts * factor + 1e-9))
    while sampled * num_generations % processes:
        sampled += 1
    return sampled


def filled(kept: Sequence[int], total: int, prompts: int) -> list[int]:
    """The kept groups and, where they are too few, others to fill the batch, in batch order.

    >>> filled([1, 3], 4, 3)
    [0, 1, 3]
    """
    rest = [p for p in range(total) if p not in set(kept)]
    return sorted([*kept, *rest[: prompts - len(kept)]])


def keep_groups(
    batch: TrlBatch, signal_P: Tensor, sampling: Sampling, prompts: int, *, group: ProcessGroup, pad_id: int
) -> tuple[TrlBatch, list[int]]:
    """The batch of the groups that a sampling strategy keeps, and which groups those are.

    Where they are too few the batch is filled up with rows of weight 0 (`row_weight`): no tokens in the loss,
    no place in a normaliser.

    Args:
        batch: this process's batch of all groups.
        signal_P: the groups of the whole generation batch that teach something.
        sampling: says which groups to keep.
        prompts: groups that the update takes.
        group, pad_id: see `relayout`.
    """
    P = signal_P.shape[0]
    G = batch["advantages"].shape[0] * group.processes // P
    with calling(sampling):
        kept = contract.kept_groups(named(sampling), sampling.keep(signal_P, prompts), P, prompts)
    groups = filled(kept, P, prompts)
    laid = relayout(batch, [p * G + g for p in groups for g in range(G)], P * G, group, pad_id)
    weight_N = torch.tensor([float(p in set(kept)) for p in groups for _ in range(G)])
    local = group.local_slice(len(weight_N) // group.processes)
    laid["row_weight"] = weight_N[local].to(group.device)
    empty_N = laid["row_weight"] == 0
    laid["completion_mask"] = laid["completion_mask"].masked_fill(empty_N[:, None], 0)
    emptied = {
        key: value.masked_fill(empty_N if value.dim() == 1 else empty_N[:, None], 0.0)
        for key, value in laid.items()
        if isinstance(value, Tensor) and (key == "advantages" or key.startswith(ROW_VALUE))
    }
    return cast(TrlBatch, {**laid, **emptied}), kept


def relayout(
    batch: TrlBatch, rows: Sequence[int], sampled: int, group: ProcessGroup, pad_id: int
) -> TrlBatch:
    """TRL's batch with other rows: `rows` of the whole generation batch, shared out evenly again.

    Args:
        batch: this process's; entries whose first axis has a row each are laid out again.
        rows: row numbers in the generation batch over all processes, a multiple of the number of processes.
        sampled: rows of the generation batch.
        pad_id: fills ids where processes have different widths.
    """
    index = torch.tensor(list(rows)[group.local_slice(len(rows) // group.processes)], device=group.device)

    def laid(key: str, value: object) -> object:
        if not isinstance(value, Tensor) or value.dim() == 0 or value.size(0) != sampled // group.processes:
            return value
        if group.processes > 1 and value.dim() > 1:
            pad = pad_id if key.endswith("_ids") else PADDING.get(key, 0)
            value = group.gather_padded(value, pad, left=key in LEFT_PADDED)
        elif group.processes > 1:
            value = group.gather_tensor(value)
        return value[index]

    return cast(TrlBatch, {key: laid(key, value) for key, value in batch.items()})
