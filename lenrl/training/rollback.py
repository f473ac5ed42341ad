"""The state of a run at its last optimizer step, kept while the next one is under way.

A step that a signal interrupts is discarded whole: weights and optimizer have not moved yet, and what has (random
streams, strategies, the data cursor, the buffered rollout) goes back to where it was when the last step ended.
A checkpoint written then is the one that would have been written there.
"""

from collections.abc import Mapping

from lenrl.training.run_state import Part


class StepSnapshot:
    """Parts of the run that an optimizer step changes before it moves the weights, as they were before it."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self.parts = dict(parts)
        self.step: int | None = None  # None: no step has ended since the process began
        self._states: dict[str, tuple[object, object]] = {}  # version and state of each part

    def take(self, step: int) -> None:
        """An optimizer step has ended: note the parts that have changed since the last time."""
        self.step = step
        for name, part in self.parts.items():
            version = getattr(part, "version", None)
            if version is None or version != self._states.get(name, (None,))[0]:
                self._states[name] = version, part.state_dict()

    def restore(self) -> None:
        """Undo what the step that is under way has changed."""
        for name, part in self.parts.items():
            part.load_state_dict(self._states[name][1])
