"""LASER-D: LASER with a target for each band of difficulty."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.base import Reward
from lenrl.strategies.rewards.laser import stepped
from lenrl.strategies.states import count

BANDS = ("easy", "medium", "hard")


class LaserD(Reward):
    """LASER whose target follows what the policy needs, apart for easy, medium and hard groups.

    A group is easy at an accuracy of at least 2/3, medium at 1/3, else hard. A band's target is the
    smallest n of the grid `low`, `low + step`, ... up to L_max with `floor(cover(n) k) >= 1`: `cover(n)` is
    the share of the band's last `window` completions (right or wrong) with `L <= n`, k is `floor(2G/3)`,
    `floor(G/3)`, 1. Targets are refreshed every `refresh` rollouts.

    Source: LASER-D, arXiv 2505.15612. The paper measures `cover` on a monitor set; this takes the training
    batches.

    Degenerate cases: before the first refresh, for an empty band and where no n fits, the target is L_max.
    A group without known verdicts is in no band and not valid. State: the windows, the targets, the number
    of rollouts.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> rule = LaserD(refresh=1)
    >>> show(rule(GROUP))
    [[1.5, 1.5, -0.5, 1.5]]
    >>> rule.observe(GROUP, RewardResult(GROUP.correct_PG)); rule.state_dict()["targets"]
    {'easy': 2048, 'medium': None, 'hard': None}
    >>> show(rule(GROUP))
    [[1.5, 1.5, -0.5, 1.0]]
    """

    name = "laser_d"
    reads_format = True

    low: int = Field(default=256, gt=0)  # tokens, start of the grid
    step: int = Field(default=256, gt=0)  # tokens
    window: int = Field(default=512, gt=0)  # completions a band
    refresh: int = Field(default=20, gt=0)  # rollouts

    _windows: dict[str, list[int]] = PrivateAttr(default_factory=lambda: {band: [] for band in BANDS})
    _targets: dict[str, int | None] = PrivateAttr(default_factory=lambda: dict.fromkeys(BANDS))
    _rollouts: int = PrivateAttr(default=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        targets = [self._targets.get(band) or rollouts.max_length for band in bands(rollouts)]
        return stepped(rollouts, torch.tensor(targets, dtype=torch.float64)[:, None])

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        known = rollouts.known_PG
        for p, band in enumerate(bands(rollouts)):
            if band:
                lengths = rollouts.length_PG[p][known[p]].tolist()
                self._windows[band] = (self._windows[band] + lengths)[-self.window :]
        self._rollouts += 1
        if self._rollouts % self.refresh == 0:
            needs = (2 * rollouts.G // 3, rollouts.G // 3, 1)
            for band, k in zip(BANDS, needs, strict=True):
                self._targets[band] = self._target(self._windows[band], k, rollouts.max_length)

    def _target(self, lengths: list[int], k: int, max_length: int) -> int | None:
        ordered = sorted(lengths)
        for n in range(self.low, max_length + 1, self.step):
            if lengths and bisect_right(ordered, n) * k >= len(ordered):
                return n
        return None

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        return {f"laser_target_{band}": float(n or rollouts.max_length) for band, n in self._targets.items()}

    def state_dict(self) -> dict[str, Any]:
        windows = {band: list(lengths) for band, lengths in self._windows.items()}
        return {"windows": windows, "targets": dict(self._targets), "rollouts": self._rollouts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        windows, targets = state.get("windows", {}), state.get("targets", {})
        if set(windows) - set(BANDS) or set(targets) - set(BANDS):
            raise ValueError(f"bands {sorted({*windows, *targets})}, expected {list(BANDS)}")
        lengths = {band: [count(n, f"a length of {band}") for n in windows.get(band, ())] for band in BANDS}
        given = {
            band: None if (n := targets.get(band)) is None else count(n, band, least=1) for band in BANDS
        }
        self._rollouts = count(state.get("rollouts", 0), "rollouts")
        self._windows, self._targets = lengths, given


def bands(rollouts: Rollouts) -> list[str]:
    """Each group's band by its accuracy over known verdicts; "" where nothing is known."""
    right, known = rollouts.right_PG.sum(dim=1).tolist(), rollouts.known_PG.sum(dim=1).tolist()
    names = []
    for c, n in zip(right, known, strict=True):
        # in integers: 2/3 of 6 must be easy
        names.append("" if n == 0 else "easy" if 3 * c >= 2 * n else "medium" if 3 * c >= n else "hard")
    return names
