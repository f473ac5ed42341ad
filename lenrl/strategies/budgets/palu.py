"""PALU: each prompt has its own cap, from its own last visit."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field, PrivateAttr

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import Budget, PromptBudget, RunInfo
from lenrl.strategies.states import count, number

# A prompt's entry before its first visit.
UNSEEN = {"pass_rate": None, "quantile": None, "budget": None, "visits": 0}
_CHECKS = {
    "pass_rate": partial(number, most=1),
    "quantile": number,
    "budget": partial(count, least=1),
    "visits": count,
}


class Palu(Budget):
    """A hard cap a prompt: a quantile of its correct lengths once it is solved often enough, else L_max.

    From the prompt's last visit: pass rate >= `threshold` -> `B = floor(quantile_{1-tau}(correct lengths) +
    1e-6)` with linear interpolation (`rule=quantile`), or the current B minus (longest - quantile)
    (`rule=shrink`, the form the paper prints); else `B = L_max`. Clamped to [`min_length`, L_max]. No text
    in the prompt.

    Source: PALU, arXiv 2510.10168; `quantile` is what its released runs used.

    Degenerate cases: first visit L_max; a visit without valid rows changes nothing but the count. Lengths and
    verdicts are those after the cap. State: per prompt id pass rate, quantile, budget (null: L_max), visits.

    >>> from lenrl.strategies.examples import groups
    >>> rule = Palu()
    >>> batch = groups([[1000, 1200, 1500, 1800, 2000, 2400, 3000, 8000]], [[1] * 8], max_length=16384)
    >>> rule.observe(batch, RewardResult(batch.correct_PG))
    >>> rule(["q0", "q1"], [{}, {}], 0, RunInfo(8, 16384))[0].cap
    1900
    """

    name = "palu"
    reads_verdicts = True

    threshold: float = Field(default=0.8, ge=0, le=1)  # pass rate
    tau: float = Field(default=0.5, ge=0, le=1)  # share of the correct lengths above the budget
    min_length: int = Field(default=1, ge=1)  # tokens
    rule: Literal["quantile", "shrink"] = "quantile"

    _prompts: dict[str, dict[str, Any]] = PrivateAttr(default_factory=dict)
    _switches: int = PrivateAttr(default=0)  # budgets that fell below L_max or went back to it, of the run

    def __call__(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        caps = [self._cap(prompt, run_info.max_length) for prompt in prompt_ids]
        return [PromptBudget(budget=float(cap), cap=cap) for cap in caps]

    @property
    def needs_equal_groups(self) -> bool:
        """No: its state is of each prompt by itself."""
        return False

    def _cap(self, prompt: str, max_length: int) -> int:
        budget = self._prompts.get(prompt, {}).get("budget")
        return max_length if budget is None else min(budget, max_length)

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        right, known = rollouts.right_PG, rollouts.known_PG
        rate = groups.mean(right.double(), known).squeeze(1).tolist()
        quantile = groups.quantile(rollouts.tokens_PG, right, 1 - self.tau).squeeze(1).tolist()
        longest = groups.highest(rollouts.tokens_PG, right).squeeze(1).tolist()
        valid = known.any(dim=1).tolist()
        for p, prompt in enumerate(rollouts.prompt_ids):
            entry = dict(self._prompts.get(prompt, UNSEEN))
            entry["visits"] += 1
            self._prompts[prompt] = entry  # replaced, never edited: a snapshot shares the entries
            if not valid[p]:
                continue
            solved = rate[p] >= self.threshold - 1e-9 and bool(right[p].any())
            budget = (
                self._next(entry["budget"], quantile[p], longest[p], rollouts.max_length) if solved else None
            )
            self._switches += entry["budget"] != budget and None in (entry["budget"], budget)
            entry.update(pass_rate=rate[p], quantile=quantile[p] if right[p].any() else None, budget=budget)

    def _next(self, budget: int | None, quantile: float, longest: float, max_length: int) -> int | None:
        """The next visit's cap in tokens; None is L_max."""
        if self.rule == "shrink":
            quantile = (max_length if budget is None else budget) - (longest - quantile)
        tokens = max(self.min_length, int(quantile + 1e-6))
        return None if tokens >= max_length else tokens

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        at_max = [entry["budget"] is None for entry in self._prompts.values()]
        return super().metrics(rollouts, reward) | {
            "palu_at_max_share": sum(at_max) / len(at_max) if at_max else None,
            "palu_switches": float(self._switches),
        }

    def state_dict(self) -> dict[str, Any]:
        prompts = {prompt: dict(entry) for prompt, entry in self._prompts.items()}
        return {"prompts": prompts, "switches": self._switches}

    def snapshot(self) -> dict[str, Any]:
        return {"prompts": dict(self._prompts), "switches": self._switches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        prompts = {}
        for prompt, entry in state.get("prompts", {}).items():
            if set(entry) != set(UNSEEN):
                raise ValueError(f"prompt {prompt!r} has fields {sorted(entry)}")
            for name, check in _CHECKS.items():
                if entry[name] is not None or name == "visits":
                    check(entry[name], f"{name} of prompt {prompt!r:.60}")
            prompts[prompt] = dict(entry)
        self._prompts, self._switches = prompts, count(state.get("switches", 0), "switches")

    def warnings(self, run_info: RunInfo) -> list[str]:
        messages = warnings.inert("budget 'palu'", "a budget", run_info)
        if self.tau >= 0.5 and self.threshold >= 0.8:
            messages.append(
                f"budget.tau={self.tau:g} with threshold={self.threshold:g} can oscillate: a cap at the "
                "median fails half of the same lengths, a pass rate below the threshold lifts it; lower tau"
            )
        return messages
