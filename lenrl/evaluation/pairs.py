"""Models of an evaluation against one another: pairs with the first one, the front of accuracy and tokens."""

from collections.abc import Iterator, Sequence

from lenrl import measures
from lenrl.evaluation import tellings
from lenrl.evaluation.fingerprint import unlike
from lenrl.evaluation.results import NONE, ModelResults, of_training_free
from lenrl.measures.format import Figures, named


def mark_front(entries: Sequence[Figures]) -> None:
    """Say of each model whether it is on the front of accuracy and mean tokens, among its decoding's models."""
    for name in {entry["decoding"] for entry in entries}:
        same = [entry for entry in entries if entry["decoding"] == name]
        front = measures.pareto_front([e["accuracy"] for e in same], [e["tokens_mean"] for e in same])
        for entry, on_front in zip(same, front, strict=True):
            entry["on_front"] = on_front


def pairs(measured: Sequence[tuple[ModelResults, Figures]], seed: int) -> Iterator[Figures]:
    """Each model and control against the first model without one, under the same decoding.

    `differs` says what else is not the same; `over_controls` stands where the first model was controlled.
    """
    for results, entry in measured[1:]:
        base, base_entry = next(pair for pair in measured if pair[0].decoding.name == results.decoding.name)
        if base is results:
            continue
        first, own = base.answers.by_base, results.answers.by_base
        comparison = measures.compare(first.correct_PS, first.tokens_PS, own.correct_PS, own.tokens_PS, seed)
        yield {
            "base": base.model,
            "model": results.model,
            "decoding": results.decoding.name,
            "control": results.control,
            **named("accuracy_diff", comparison.accuracy_diff),
            **named("tokens_ratio", comparison.tokens_ratio),
            "aes": comparison.aes,
            "aes_weights": {"rise": measures.AES_RISE, "fall": measures.AES_FALL},
            **_reach_lost(base, results, entry),
            **named("over_controls", _lead(measured, base, results, entry, seed)),
            "cascade": measures.cascade(results.answers, base.answers, seed),
            "rounds": tellings.round_differences(base.problems, base.answers, results.answers, seed),
            "differs": unlike(base_entry["fingerprint"], entry["fingerprint"]),
        }


def _reach_lost(base: ModelResults, results: ModelResults, entry: Figures) -> Figures:
    if "reach" not in entry:
        return {}
    train_max = entry["reach"]["train_max"]
    return {"reach": measures.reach_lost(base.answers, results.answers, base.length_P, train_max)}


def _lead(
    measured: Sequence[tuple[ModelResults, Figures]],
    base: ModelResults,
    results: ModelResults,
    entry: Figures,
    seed: int,
) -> measures.Estimate | None:
    """A model's lead over the best mixture of what the base reaches under its controls and caps; None: it has none."""
    like = (base.model, base.decoding.name)
    controlled = [
        r.answers.by_base
        for r, _ in measured
        if of_training_free(r.control) and (r.model, r.decoding.name) == like
    ]
    if not controlled or results.control != NONE:
        return None
    cut = measures.cuts(base.answers.by_base, entry["area_tokens"])
    return measures.above_front([*cut, *controlled], results.answers.by_base, seed)
