"""Rows, groups, rollouts and optimizer steps: their arithmetic, and what to set where it does not work out."""

import math
from dataclasses import dataclass, replace
from itertools import islice

MAX_ROWS = 2**20  # of a rollout
SEARCHED = 20_000  # values on either side of one, for the nearest that works


@dataclass(frozen=True)
class BatchLayout:
    """Numbers by which rows, groups, rollouts and optimizer steps fit together."""

    processes: int
    rows_per_process: int  # a micro-batch
    accumulation: int  # micro-batches an optimizer step
    steps_per_generation: int  # micro-batches a rollout
    num_iterations: int
    num_generations: int  # G

    @property
    def rows_per_rollout(self) -> int:
        return self.rows_per_process * self.processes * self.steps_per_generation

    @property
    def prompts_per_rollout(self) -> int:
        return self.rows_per_rollout // self.num_generations

    @property
    def micro_steps_per_rollout(self) -> int:
        return self.steps_per_generation * self.num_iterations

    @property
    def updates_per_rollout(self) -> int:
        """Optimizer steps that reuse one rollout; 1 also where one step spans several rollouts."""
        return max(1, self.micro_steps_per_rollout // self.accumulation)

    def prompts_sampled(self, steps: int) -> int:
        """Prompts of a run of so many optimizer steps, each counted as often as it is sampled."""
        return self.prompts_per_rollout * math.ceil(steps * self.accumulation / self.micro_steps_per_rollout)

    @property
    def in_step(self) -> bool:
        """An optimizer step and a rollout begin together: one lasts a multiple of the other."""
        short, long = sorted((self.accumulation, self.micro_steps_per_rollout))
        return long % short == 0

    @property
    def valid(self) -> bool:
        """Whole groups in every rollout, and steps that don't straddle rollouts."""
        return (
            self.num_generations >= 2 and self.rows_per_rollout % self.num_generations == 0 and self.in_step
        )


def batch_faults(layout: BatchLayout) -> list[str]:
    """Faults of numbers that cannot work: the arithmetic, and the nearest ones that do. Empty: they can."""
    rows = (
        f"a rollout has {layout.rows_per_rollout} rows ({layout.rows_per_process} a process, processes: "
        f"{layout.processes}, micro-batches: {layout.steps_per_generation})"
    )
    if layout.rows_per_rollout > MAX_ROWS:
        return [f"{rows}; at most {MAX_ROWS} can be held. Lower one of them."]
    if layout.num_generations < 2:
        divisors = (g for g in range(2, layout.rows_per_rollout + 1) if layout.rows_per_rollout % g == 0)
        near = list(islice(divisors, 2))
        remedy = f"to {_either(near)}" if near else "to 2, and trainer.per_device_train_batch_size to 2"
        return [
            f"trainer.num_generations={layout.num_generations}: a group needs at least 2 completions, since an "
            f"advantage compares them; {rows}. Set trainer.num_generations {remedy}."
        ]
    wrong = []
    tried = {  # what alone would help, up to where the next valid value must be
        "num_generations": ("num_generations", layout.rows_per_rollout),
        "per_device_train_batch_size": ("rows_per_process", layout.rows_per_process + layout.num_generations),
    }
    if layout.rows_per_rollout % layout.num_generations:
        wrong.append(f"{rows}, which {layout.num_generations} completions a prompt do not divide")
    if not layout.in_step:
        wrong.append(
            f"a rollout lasts {layout.steps_per_generation} x {layout.num_iterations} iterations = "
            f"{layout.micro_steps_per_rollout} micro-batches and an optimizer step {layout.accumulation}: neither is a "
            "multiple of the other, so steps would straddle rollouts"
        )
        most = max(layout.accumulation, layout.steps_per_generation) * layout.num_generations
        tried["steps_per_generation"] = ("steps_per_generation", most)
    if not wrong:
        return []
    nearest = {key: _nearest_valid(layout, *place) for key, place in tried.items()}
    remedies = [f"trainer.{key} to {_either(near)}" for key, near in nearest.items() if near]
    return [f"{'; '.join(wrong)}. Set {', or '.join(remedies)}."]


def _nearest_valid(layout: BatchLayout, field_name: str, most: int) -> list[int]:
    """The two values of a field nearest to its own with which everything divides, in order."""
    now = getattr(layout, field_name)
    near = range(max(1, now - SEARCHED), min(most, now + SEARCHED) + 1)
    good = [v for v in near if replace(layout, **{field_name: v}).valid]
    return sorted(sorted(good, key=lambda v: abs(v - now))[:2])


def _either(values: list[int]) -> str:
    return " or ".join(map(str, values))
