"""Reward functions as TRL takes them: one of one's own, and one of `trl.rewards`, as named parts of the reward.

A function of this file, written here or made by another, is a plug-in under its name here. It has a parameter
`completions` or `completion_ids`, may take `prompts`, `trainer_state`, `log_metric`, `log_extra` and the data's columns
too, by name, and returns a number a completion, or None where it does not apply. Completions are messages where the
prompts are, as TRL has it. The recipe gives the function a weight; `metrics.jsonl` has the mean of its part, weighted.

    lenrl check trl_rewards.yaml --plugin trl_rewards.py
    lenrl train trl_rewards.yaml --plugin trl_rewards.py
"""

from trl.rewards import get_soft_overlong_punishment

overlong = get_soft_overlong_punishment(max_completion_len=180, soft_punish_cache=120)
"""0 up to 60 tokens, falling to -1 at 180."""


def rechecks(completions, log_metric, **_):
    """The number of times that a completion doubts itself."""
    texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    counts = [text.count("Wait") for text in texts]
    log_metric("without_recheck", counts.count(0) / len(counts))
    return counts
