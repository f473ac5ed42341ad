"""Agreement of a method's strategies with each other and with the run: what cannot work, and what works otherwise."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from lenrl.strategies.base import RunInfo, Strategy
from lenrl.strategies.faults import calling
from lenrl.strategies.slots import Slots


def errors(method: Slots, run_info: RunInfo) -> list[str]:
    """Sentences on what cannot work in that run: each strategy's own errors, and what does not fit together."""
    known = _with_facts(method, run_info)
    return [
        *_said(method, lambda strategy: strategy.errors(known)),
        *_misplaced(method),
        *_unpaid(method, known),
        *_unread_rewards(method),
        *_unequal_options(method),
        *_missing_teacher(method, known),
        *_missing_columns(method, known),
    ]


def warnings(method: Slots, run_info: RunInfo) -> list[str]:
    """Sentences on what will do less, or other, than its user expects."""
    known = _with_facts(method, run_info)
    messages = _said(method, lambda strategy: strategy.warnings(known))
    advantage, reward = method.advantage, method.reward
    if advantage.reads_token_rewards and not reward.rewards_tokens:
        messages.append(
            f"advantage {advantage.name!r} places rewards at tokens, and reward {reward.name!r} rewards whole "
            "completions: it is GRPO's then"
        )
    if not advantage.reads_rewards and reward.name not in ("correctness", "none"):
        messages.append(
            f"advantage {advantage.name!r} reads of rewards only whether they are valid: what reward "
            f"{reward.name!r} pays is logged, and shapes no advantage"
        )
    weighed = {f.name: f.weight for f in method.added if f.weight not in (0, 1)}
    if known.parts_weigh_alike and weighed:
        messages.append(
            f"advantage {advantage.name!r} takes each part of the reward in its own scale: of the weights "
            f"{weighed} of reward functions only the signs count; advantage=grpo weighs them"
        )
    return messages


def _said(method: Slots, ask: Callable[[Strategy], list[str]]) -> list[str]:
    """Sentences of each strategy about itself."""
    messages = []
    for strategy in method.slots.values():
        with calling(strategy):
            messages += ask(strategy)
    return messages


def _with_facts(method: Slots, run_info: RunInfo) -> RunInfo:
    """The run, with what strategies may ask of each other."""
    return replace(
        run_info,
        scaled_by_group_std=method.advantage.scales_by_group_std,
        parts_weigh_alike=method.advantage.levels_parts,
        mean_effort=getattr(method.budget, "mean_effort", None),
    )


def _misplaced(method: Slots) -> Iterator[str]:
    """Strategies that need what another one does not give, or takes away."""
    if method.reward.reads_budget and not method.budget.gives_budget:
        yield (
            f"reward {method.reward.name!r} compares lengths with a budget, budget {method.budget.name!r} "
            "gives none; choose budget=curriculum or budget=column"
        )
    for slot in ("budget", "truncation", "reward"):
        strategy = method.slots[slot]
        for name in {"logps", "teacher_logps"}.intersection(strategy.reads):
            yield (
                f"{slot} {strategy.name!r} reads {name!r}, which are known once rewards have been given; only "
                "an advantage can read them"
            )
    if method.advantage.needs_flat_groups and method.sampling.selects:
        yield (
            f"sampling {method.sampling.name!r} leaves out groups of one reward, and advantage "
            f"{method.advantage.name!r} learns from all; choose sampling=uniform"
        )


def _unpaid(method: Slots, run_info: RunInfo) -> Iterator[str]:
    """Training on a reward that is always 0."""
    pays = method.reward.name != "none" or any(function.weight for function in method.added)
    if (
        run_info.training
        and not pays
        and method.advantage.reads_rewards
        and not method.objective.computes_loss
    ):
        yield (
            f"reward 'none' pays nothing and no reward function has a weight: advantage {method.advantage.name!r} is 0 "
            "for every completion; give a reward function a weight, or choose another reward"
        )


def _unread_rewards(method: Slots) -> Iterator[str]:
    """Reward functions with a weight, where no advantage reads what they add to."""
    for function in method.added:
        if function.weight and not method.advantage.reads_rewards:
            yield (
                f"{function} adds to rewards of which advantage {method.advantage.name!r} reads only whether they are "
                f"valid: set reward_functions.{function.name}.weight=0, which only logs it, or choose another advantage"
            )


def _unequal_options(method: Slots) -> Iterator[str]:
    """Options that objective and reward have both, with different values."""
    for name in method.objective.as_reward:
        own = getattr(method.objective, name)
        for rule in method.reward.addends:
            if (value := getattr(rule, name, own)) != own:
                yield (
                    f"objective.{name}={own} and {name}={value} of reward {rule.name!r} differ, so that one learns "
                    "what the other pays for elsewhere; set both to one value"
                )


def _missing_teacher(method: Slots, run_info: RunInfo) -> Iterator[str]:
    if "teacher_logps" in method.reads and run_info.training and method.advantage.teacher is None:
        yield (
            f"advantage {method.advantage.name!r} has no teacher whose log-probs could be read: give its class a "
            "property `teacher`"
        )


def _missing_columns(method: Slots, run_info: RunInfo) -> Iterator[str]:
    """Columns that functions or strategies read, and neither the data nor the budget has."""
    if run_info.columns is None:
        return
    given, data = set(method.budget.gives), run_info.columns
    for function in method.functions:
        for name in function.reads_columns:
            if name not in {*data, *given, "answer"}:
                yield f"{function.place} reads the column {name!r}; the data has {sorted(data)} and `answer`"
    missing = sorted(set(method.reads_columns) - given - data)
    if missing:
        yield (
            f"the method needs the row fields {missing}; budget {method.budget.name!r} gives {sorted(given)} and the "
            f"data has {sorted(data)}"
        )
