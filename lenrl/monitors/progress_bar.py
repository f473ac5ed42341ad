"""Progress of a training run, on the main process."""

import logging
import time

from tqdm import tqdm
from transformers import TrainerCallback

from lenrl.streams import terminal

log = logging.getLogger("lenrl")

SHOWN = {"accuracy": "acc", "tokens_mean": "tokens", "reward": "reward", "truncated_share": "cut"}
QUIET_S = 5.0  # seconds between two lines where there is no terminal: a line a step where steps are as long


class ProgressBar(TrainerCallback):
    """A bar with accuracy and tokens; without a terminal a line a step, with the time that is left."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.began = self.logged = 0.0  # monotonic seconds
        self.first = 0  # optimizer steps before this leg

    def on_train_begin(self, args, state, control, **_) -> None:
        self.began = time.monotonic()
        self.logged, self.first = self.began - QUIET_S, state.global_step
        if state.is_world_process_zero and (screen := terminal()) is not None:
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc="train",
                unit="step",
                dynamic_ncols=True,
                file=screen,
            )

    def on_log(self, args, state, control, logs: dict[str, float] | None = None, **_) -> None:
        if not state.is_world_process_zero or not logs or "grad_norm" not in logs:
            return
        shown = {short: _shown(logs[name]) for name, short in SHOWN.items() if logs.get(name) is not None}
        now = time.monotonic()
        if self.bar is not None:
            self.bar.set_postfix(shown, refresh=False)
            self.bar.update(state.global_step - self.bar.n)
        elif now - self.logged >= QUIET_S or state.global_step == state.max_steps:
            self.logged = now
            figures = ", ".join(f"{name} {value}" for name, value in shown.items())
            left = self._left(now, state.global_step, state.max_steps)
            log.info("step %d of %d: %s; %s", state.global_step, state.max_steps, figures, left)

    def _left(self, now: float, step: int, steps: int) -> str:
        """Seconds a step of this leg, its evaluations and saves included, and what they make of the steps to come."""
        step_s = (now - self.began) / max(1, step - self.first)
        return f"{step_s:.3g} s a step, {tqdm.format_interval(step_s * (steps - step))} left"

    def on_train_end(self, args, state, control, **_) -> None:
        if self.bar is not None:
            self.bar.close()


def _shown(value: float) -> str:
    """Three digits, of thousands all: 0.843, 87.1, 4213."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"
