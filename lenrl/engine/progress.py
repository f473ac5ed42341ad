"""The progress bar of a training run, on the main process."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

SHOWN = {"accuracy": "acc", "tokens_mean": "tokens", "reward": "reward", "truncated_share": "cut"}


class Progress(TrainerCallback):
    """A bar with accuracy and tokens; without a terminal, a line now and then."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            quiet = not sys.stderr.isatty()
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc="train",
                unit="step",
                mininterval=20 if quiet else 0.2,
                dynamic_ncols=not quiet,
            )

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        if self.bar is None or not logs or "grad_norm" not in logs:
            return
        shown = {short: f"{logs[name]:.3g}" for name, short in SHOWN.items() if logs.get(name) is not None}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(state.global_step - self.bar.n)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.bar is not None:
            self.bar.close()
