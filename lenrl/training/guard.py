"""Stops a run that cannot learn."""

from __future__ import annotations

from collections.abc import Mapping

from lenrl.config import GuardSettings
from lenrl.errors import RunFailed
from lenrl.rollouts import Rollouts


class TruncationGuard:
    """Completions that all hit the cap teach nothing: several such rollouts in a row end the run with advice."""

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        self.streak = 0  # rollouts

    def watch(self, rollouts: Rollouts) -> None:
        """Raises RunFailed when the share of truncated completions stays at `guard.truncated_share` or above."""
        share = rollouts.truncated_PG.double().mean().item()
        self.streak = self.streak + 1 if share >= self.settings.truncated_share else 0
        if self.streak >= self.settings.truncated_rollouts:
            raise RunFailed(
                f"{share:.0%} of the completions hit the cap of {rollouts.max_length} tokens in each of the last "
                f"{self.streak} rollouts (guard.truncated_share={self.settings.truncated_share}). Raise "
                "trainer.max_completion_length, check that the model emits its EOS, or loosen the guard."
            )

    def state_dict(self) -> dict[str, int]:
        """Plain JSON."""
        return {"streak": self.streak}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on counting."""
        self.streak = state["streak"]
