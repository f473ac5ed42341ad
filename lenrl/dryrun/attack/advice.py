"""Remedies for hacks that pay."""

from collections.abc import Sequence

from lenrl.dryrun.attack.batch import MIXES
from lenrl.dryrun.attack.hacks import Hack
from lenrl.measures.format import Figures
from lenrl.strategies.base import Reward
from lenrl.strategies.method import Method

HOPELESS = {mix.name for mix in MIXES if mix.right == 0}
Entry = tuple[Hack, Figures]


def advise(method: Method, entries: Sequence[Entry], blind: bool) -> list[str]:
    """A sentence for each kind of fault found, with the names of the hacks that it is about."""
    faults = [entry for entry in entries if entry[1]["finding"] != "no"]
    fooled = [entry for entry in faults if entry[1]["fooled"]]
    rest = [entry for entry in faults if not entry[1]["fooled"]]
    asked = [entry for entry in rest if entry[0].needs == "ask"]
    padded = [entry for entry in rest if entry[0].right and entry not in asked]
    lucky = [entry for entry in rest if entry[0].shares]
    wrong = [entry for entry in rest if not entry[0].right and not entry[0].shares]
    advice = []
    if fooled:
        advice.append(
            f"{_names(fooled)}: the verifier calls these right. Choose another verifier.kind or verifier.format; "
            "no reward can repair a verdict."
        )
    if wrong and blind:
        advice.append(
            f"{_names(wrong)}: by design, nothing in this method knows what is right. Watch the accuracy; where "
            f"there are gold answers, mix them in: {_weighted('correctness', method.reward.name)}"
        )
    elif wrong:
        advice.append(
            f"{_names(wrong)}: wrong completions are paid for {_what(wrong)}. {gate(method.reward)}"
        )
    if padded:
        advice.append(
            f"{_names(padded)}: reward {method.reward.name!r} pays right answers for more tokens. That is by design "
            "where a length is asked for; else choose one that asks for at most so many, such as reward=lcpo_max, "
            "or one without a target."
        )
    if lucky and not blind:
        lam = getattr(method.advantage, "lam", None)
        remedy = (
            f"raise advantage.lam (now {lam:g})" if isinstance(lam, float) else "lower the length's weight"
        )
        advice.append(
            f"{_names(lucky)}: one lucky answer in four, and short, outweighs thinking that is right three times "
            f"in four; {remedy}."
        )
    if asked:
        advice.append(
            f"{_names(asked)}: what the prompt asks for is not held against the length; lengths that were not "
            "asked for are paid as well as those that were. Choose a reward that compares them, or budget=none."
        )
    return advice


def gate(reward: Reward) -> str:
    """The options that pay the reward's other parts to right answers only."""
    if "gated" not in type(reward).model_fields:
        return f"Pay only right ones: {_weighted(reward.name)}"
    if not getattr(reward, "gated"):  # noqa: B009
        return "Pay only right ones: reward.gated=true"
    return f"It is gated already: what is left is format. Gate all of it: {_weighted(reward.name)}"


def _weighted(*names: str) -> str:
    parts = ",".join(f"{{name: {name}}}" for name in names)
    return f"reward=weighted 'reward.parts=[{parts}]' reward.gated=true"


def _what(entries: Sequence[Entry]) -> str:
    mixes = {mix for _, entry in entries for mix, one in entry["mixes"].items() if one["grade"] != "no"}
    where = "groups that have right ones, too" if mixes - HOPELESS else "groups where nothing is right"
    return f"their length or form in {where}"


def _names(entries: Sequence[Entry]) -> str:
    return ", ".join(hack.name for hack, _ in entries)
