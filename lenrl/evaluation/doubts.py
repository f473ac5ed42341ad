"""Reasons to doubt the figures of an evaluation."""

from lenrl.evaluation.results import ModelResults
from lenrl.measures.format import Figures

WIDE = 0.05  # half width of an accuracy's interval; above, two settings of a method can't be told apart
MUCH_TRUNCATED = 0.1  # share; above, lengths and accuracies say more of the cap than of the model
MANY_UNKNOWN = 0.05  # share of a judge's replies


def control_warnings(results: ModelResults, free: ModelResults) -> list[str]:
    """Reasons to doubt a control, from its results and those without one."""
    if results.prompt_tokens != free.prompt_tokens:
        more = (sum(results.prompt_tokens) - sum(free.prompt_tokens)) / len(results.prompt_tokens)
        return [f"{results.control}: prompts have {more:+.1f} tokens, which are not among the completions'"]
    if all(one.ids == other.ids for one, other in zip(results.completions, free.completions, strict=True)):
        return [f"{results.control} never acted: the model opens no thinking, or ends it by itself before"]
    return []


def warnings(entry: Figures) -> list[str]:
    """Reasons to doubt the figures of one entry of `eval.json`."""
    messages = []
    if entry["accuracy"] is not None:
        half = max(abs(end - entry["accuracy"]) for end in entry["accuracy_ci95"])
        if half > WIDE:
            prompts = entry["prompts"]
            messages.append(
                f"{prompts} prompts are few: the accuracy is known to {100 * half:.1f} points; for "
                f"{100 * WIDE:.0f} give about {max(prompts + 1, round(prompts * (half / WIDE) ** 2))}"
            )
    if entry["truncated_share"] > MUCH_TRUNCATED:
        messages.append(
            f"{entry['truncated_share']:.0%} of the completions were cut at the cap: the figures say "
            "more of the cap than of the model; raise max_new_tokens, of a run trainer.max_completion_length"
        )
    if entry["unknown"]:
        messages.append(f"{entry['unknown']} verdicts are unknown and left out of the accuracy")
    judged = entry.get("structure", {})
    if judged.get("unknown", 0) > MANY_UNKNOWN * judged.get("judged", 0):
        messages.append(
            f"{judged['unknown']} of the judge's {judged['judged']} replies have no graph with steps"
        )
    return messages
