"""Progress of a training run, on the main process."""

import logging
import sys
import time

from tqdm import tqdm
from transformers import TrainerCallback

log = logging.getLogger("lenrl")

SHOWN = {"accuracy": "acc", "tokens_mean": "tokens", "reward": "reward", "truncated_share": "cut"}
QUIET_S = 20  # seconds between two lines where there is no terminal


class ProgressBar(TrainerCallback):
    """A bar with accuracy and tokens; without a terminal, a line now and then."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.logged = 0.0

    def on_train_begin(self, args, state, control, **_) -> None:
        self.logged = time.monotonic()
        if state.is_world_process_zero and sys.stderr.isatty():
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc="train",
                unit="step",
                dynamic_ncols=True,
            )

    def on_log(self, args, state, control, logs: dict[str, float] | None = None, **_) -> None:
        if not state.is_world_process_zero or not logs or "grad_norm" not in logs:
            return
        shown = {short: f"{logs[name]:.3g}" for name, short in SHOWN.items() if logs.get(name) is not None}
        if self.bar is not None:
            self.bar.set_postfix(shown, refresh=False)
            self.bar.update(state.global_step - self.bar.n)
        elif time.monotonic() - self.logged >= QUIET_S or state.global_step == state.max_steps:
            self.logged = time.monotonic()
            figures = ", ".join(f"{name} {value}" for name, value in shown.items())
            log.info("step %d of %d: %s", state.global_step, state.max_steps, figures)

    def on_train_end(self, args, state, control, **_) -> None:
        if self.bar is not None:
            self.bar.close()
