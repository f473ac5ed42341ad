"""Start-up warnings that several rewards share."""

from lenrl.strategies.base import RunInfo


def cancels(reward: str, option: str, where: str, run_info: RunInfo) -> list[str]:
    """Warning, under `(r - mean) / sd`, of a coefficient that scales all of a group's spread: it drops out."""
    if not run_info.scaled_by_group_std:
        return []
    return [
        f"reward.{option} of {reward!r} has no leverage in {where} groups: dividing by the group's standard "
        f"deviation cancels it, the length then counts in full whatever {option} is; "
        "advantage=dr_grpo or advantage=rloo keeps its size"
    ]


def ungated(reward: str) -> str:
    """Warning of a penalty that wrong answers escape by being short."""
    return (
        f"reward {reward!r} takes the penalty from wrong answers too: failing fast beats failing slowly, "
        "and groups without a correct answer are pushed towards empty completions"
    )


def inert(rule: str, what: str, run_info: RunInfo) -> list[str]:
    """Warning of a rule that learns of a prompt at one visit what it needs at the next, where there is no next."""
    if run_info.visits is None or run_info.visits > 1:
        return []
    return [
        f"{rule} is inert: the run samples a prompt {run_info.visits:.2g} times, and {what} comes from an earlier "
        "visit; raise trainer.max_steps, or train on fewer prompts (task.train)"
    ]
