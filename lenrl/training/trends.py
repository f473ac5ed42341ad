"""Figures of a run that move slowly: accuracy lost since its best, hacks gained since its beginning."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lenrl.verify.shortcuts import HACKS

MEMORY = 640  # completions over which a figure is smoothed, and after which its trend is spoken of
LOW_ACCURACY = 0.2  # a fall from below it counts as one from it: of little accuracy noise is a large share
Figures = Mapping[str, float | None]


@dataclass
class Trends:
    """Smoothed figures of a run, its hacks' levels at the beginning and its best accuracy. State of the run."""

    level: dict[str, float] = field(default_factory=dict)  # smoothed, by name
    seen: dict[str, int] = field(default_factory=dict)  # completions with the figure
    start: dict[str, float] = field(default_factory=dict)  # hacks' levels after the first MEMORY completions
    best: list[float] | None = None  # accuracy at its highest, and tokens then

    def follow(self, figures: Figures, completions: int) -> dict[str, float | None]:
        """Trends after a rollout of so many completions; None: it is too early to say.

        `accuracy_lost`: share of the best smoothed accuracy that is gone while completions are shorter than they were
        then; 0 where they are not shorter. `hacks_gained`: the most that the share of completions with one of the hacks
        has risen.
        """
        for name in ("accuracy", "tokens_mean", *HACKS):
            value = figures.get(name)
            if value is not None:
                self._smooth(name, value, completions)
        return {"accuracy_lost": self._accuracy_lost(), "hacks_gained": self._hacks_gained()}

    def _smooth(self, name: str, value: float, completions: int) -> None:
        self.seen[name] = self.seen.get(name, 0) + completions
        weight = min(1.0, completions / min(self.seen[name], MEMORY))
        level = self.level.get(name, value)
        self.level[name] = level + weight * (value - level)
        if name in HACKS and self.seen[name] >= MEMORY:
            self.start.setdefault(name, self.level[name])

    def _accuracy_lost(self) -> float | None:
        if self.seen.get("accuracy", 0) < MEMORY:
            return None
        accuracy, tokens = self.level["accuracy"], self.level["tokens_mean"]
        if self.best is None or accuracy >= self.best[0]:
            self.best = [accuracy, tokens]
        highest, then = self.best
        return (highest - accuracy) / max(highest, LOW_ACCURACY) if tokens < then else 0.0

    def _hacks_gained(self) -> float | None:
        return max((self.level[name] - level for name, level in self.start.items()), default=None)

    def state_dict(self) -> dict[str, Any]:
        kept = {name: dict(getattr(self, name)) for name in ("level", "seen", "start")}
        return {**kept, "best": None if self.best is None else list(self.best)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.level, self.seen, self.start = (dict(state[name]) for name in ("level", "seen", "start"))
        self.best = None if state["best"] is None else list(state["best"])
