"""Guards: a figure of the rollouts that has stood at its threshold for long, and what to do about it.

Each is one row of `GUARDS`; threshold, rollouts and action are the recipe's (`guard.NAME`). The counter of a guard,
rollouts in a row at its threshold, is `guard_NAME` of `metrics.jsonl`. A loss or a gradient that is not finite ends a
run before the optimizer step, and needs no counter (`lenrl.training.loss`).
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lenrl.config import GuardRule, GuardSettings
from lenrl.errors import RunFailed
from lenrl.training.trends import Figures, Trends

log = logging.getLogger("lenrl")


@dataclass(frozen=True)
class Guard:
    """A figure that is watched, and advice for when it stays at its threshold."""

    name: str
    figure: str  # of a rollout
    side: Literal["at least", "at most"]  # on which side of the threshold it counts
    advice: str

    def trips(self, figures: Figures, threshold: float) -> bool | None:
        """The figure is at the threshold or beyond; None: the rollout has none, and changes no counter."""
        value = figures.get(self.figure)
        if value is None:
            return None
        return value >= threshold if self.side == "at least" else value <= threshold


GUARDS = (
    Guard(
        "truncated", "truncated_share", "at least",
        "Completions hit the cap and teach nothing. Raise trainer.max_completion_length, check that the model emits "
        "its EOS, or loosen the guard.",
    ),
    Guard(
        "no_signal", "groups_with_signal", "at most",
        "All completions of a group are worth the same, so the weights stand still. Accuracy near 0: easier problems, "
        "worked examples in the prompt, or a model that is fine-tuned first. Near 1: harder problems. Between: a "
        "greater trainer.num_generations or trainer.temperature, or a reward that tells completions apart.",
    ),
    Guard(
        "parts_cancel", "parts_cancel", "at least",
        "The reward's parts differ within groups, and their sum does not: one pays what another takes. Change their "
        "weights, or judge each part by itself (advantage=decoupled).",
    ),
    Guard(
        "verifier_fails", "verifier_failed_share", "at least",
        "So many completions got no verdict: see verifier_timeouts, verifier_errors and verifier_abstained. Raise "
        "verifier.timeout_s or verifier.workers, repair the plug-in, or the gold answers.",
    ),
    Guard(
        "idle_penalty", "penalty_idle", "at least",
        "The method looks at lengths, and the lengths that there are make no difference to it: a target, a budget or "
        "trainer.max_completion_length is far from them. Compare it with tokens_p50 and tokens_p95.",
    ),
    Guard(
        "pushed_down", "correct_advantage", "at most",
        "Correct completions are made less likely, on average: the length counts more than being right. Lower its "
        "weight, or pay only correct completions for their length (reward=kimi, grpo_lambda; the recipe drpo).",
    ),
    Guard(
        "collapse", "accuracy_lost", "at least",
        "Completions got shorter and wrong: it is the length alone that is rewarded by now. Lower its weight or the "
        "learning rate, or gate the penalty on correctness; guard.collapse.action=warn goes on all the same.",
    ),
    Guard(
        "hacks", "hacks_gained", "at least",
        "More and more completions think nothing, box several answers, repeat themselves or answer where it does not "
        "count: see empty_think, many_boxes, repetition and answer_outside, and completions/. Pay nothing for it.",
    ),
    Guard(
        "logps_apart", "sampler_logp_gap", "at least",
        "Sampler and trainer disagree on the tokens' log-probs: the update follows another policy than the one that "
        "sampled. Compare precisions and weights of the two; vllm_importance_sampling_correction weighs it.",
    ),
    Guard(
        "copied_example", "copied_share", "at least",
        "Completions answer with what the prompt shows as an example, whatever is asked. Take the example out of "
        "task.system_prompt or task.template, or put a form without a value there, and reward being right.",
    ),
)  # fmt: skip


@dataclass
class Guards:
    """The counters of all guards, the same on every process. State of the run.

    Args:
        best: a sentence on the best checkpoint that is kept; empty: there is none.
    """

    settings: GuardSettings
    best: Callable[[], str] = lambda: ""
    trends: Trends = field(default_factory=Trends)
    streaks: dict[str, int] = field(default_factory=dict)  # rollouts in a row, by guard
    said: list[str] = field(default_factory=list)  # guards that have warned: once a run

    def rules(self) -> Iterator[tuple[Guard, GuardRule]]:
        """The guards that the recipe does not ignore."""
        for guard in GUARDS:
            rule = self.settings.rule(guard.name)
            if rule is not None and rule.action != "ignore":
                yield guard, rule

    def count(self, figures: Figures, completions: int) -> dict[str, float | None]:
        """Trends and counters after a rollout of so many completions, for the logs."""
        trends = self.trends.follow(figures, completions)
        figures = {**figures, **trends}
        for guard, rule in self.rules():
            trips = guard.trips(figures, rule.threshold)
            if trips is not None:
                self.streaks[guard.name] = self.streaks.get(guard.name, 0) + 1 if trips else 0
        return {**trends, **{f"guard_{g.name}": self.streaks.get(g.name, 0) for g, _ in self.rules()}}

    def act(self, figures: Figures, *, is_main: bool) -> None:
        """Warn or stop where a counter has reached its number; `figures` hold what `count` gave.

        Raises:
            RunFailed: on every process.
        """
        stopping = []
        for guard, rule in self.rules():
            value = figures.get(guard.figure)
            if self.streaks.get(guard.name, 0) < rule.rollouts or value is None:
                continue
            message = (
                f"guard.{guard.name}: {guard.figure} was {guard.side} {rule.threshold:g} in {self.streaks[guard.name]} "
                f"rollouts in a row, {value:.3g} in the last one. {guard.advice}"
            )
            if rule.action == "stop":
                stopping.append(message)
            elif guard.name not in self.said:
                self.said.append(guard.name)
                if is_main:
                    log.warning("%s", message)
        if stopping:
            raise RunFailed(" ".join(filter(None, (*stopping, self.best()))))

    def state_dict(self) -> dict[str, Any]:
        return {"streaks": dict(self.streaks), "said": list(self.said), "trends": self.trends.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if "streaks" not in state:  # of a checkpoint that is older than the guards
            return
        self.streaks, self.said = dict(state["streaks"]), list(state["said"])
        self.trends.load_state_dict(state["trends"])
