"""The grade of a hack: its advantage in each group, held against those of the group's honest completions."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lenrl.dryrun.attack.batch import MIXES, AttackBatch, AttackGroups
from lenrl.dryrun.attack.hacks import Hack

MARGIN = 0.05  # of the gap between right and wrong: smaller differences are not reported
TIE = 1e-6  # of that gap
NAMES = [mix.name for mix in MIXES]
SHARED = "half hacks"  # the mix where rows that are right by luck are judged together
Grade = Literal["pays", "leaks", "no"]
RANK = {"pays": 2, "leaks": 1, "no": 0}


@dataclass(frozen=True)
class Finding:
    """A hack in one group: the means of its rows and of the honest ones next to it."""

    grade: Grade
    mix: str
    tokens: float
    reward: float | None
    reward_right: float | None  # None: the group has none, here and below
    reward_wrong: float | None
    advantage: float
    advantage_right: float | None
    advantage_wrong: float | None
    excess: float  # its advantage beyond where it begins to pay, in units of the gap between right and wrong


def gap(groups: AttackGroups, batch: AttackBatch) -> float:
    """The advantage of right over wrong honest completions in a mixed group, the scale of all others.

    Where it is not clearly above 0 (a method that does not know right from wrong): the largest advantage.
    """
    rights, wrongs = [], []
    for p, mix in enumerate(groups.mixes):
        kinds = [row.kind for row in groups.group(p)]
        if mix.name == "some right" and "wrong" in kinds:
            rights.append(_mean(batch.advantage_PG[p], [kind == "right" for kind in kinds]))
            wrongs.append(_mean(batch.advantage_PG[p], [kind == "wrong" for kind in kinds]))
    most = batch.advantage_PG.abs().max().item()
    scale = (sum(rights) - sum(wrongs)) / len(rights) if rights else 0.0
    return scale if scale > MARGIN * most else most or 1.0


def judge(
    groups: AttackGroups, hack: Hack, batches: list[AttackBatch], honest: AttackBatch, scale: float
) -> list[Finding]:
    """The worst finding of each mix, over problems and variants; the worst of all first.

    `honest` is the batch in which the hack's rows are honest wrong completions.
    """
    worst: dict[str, Finding] = {}
    for batch in batches:
        for p, mix in enumerate(groups.mixes):
            if _applies(groups, hack, p):
                finding = _group(groups, hack, batch, honest, p=p, scale=scale)
                worst[mix.name] = max(worst.get(mix.name, finding), finding, key=_order)
    return sorted(worst.values(), key=_order, reverse=True)


def verdicts(groups: AttackGroups, hack: Hack, batches: list[AttackBatch]) -> list[bool | None]:
    """The verdicts of the hack's rows, after every cut."""
    return [
        None if math.isnan(correct) else correct > 0.5
        for batch in batches
        for p in range(batch.rollouts.P)
        if _applies(groups, hack, p)
        for row, correct in zip(groups.group(p), batch.rollouts.correct_PG[p].tolist(), strict=True)
        if row.kind == "hack"
    ]


def _applies(groups: AttackGroups, hack: Hack, p: int) -> bool:
    """The thing it plays with was asked for; luck shows in several rows only."""
    hacks = [row for row in groups.group(p) if row.kind == "hack"]
    if hack.shares and (groups.mixes[p].name != SHARED or len(hacks) < 2):
        return False
    return all(hack.applies(row.ask) for row in hacks)


def _group(
    groups: AttackGroups, hack: Hack, batch: AttackBatch, honest: AttackBatch, *, p: int, scale: float
) -> Finding:
    rows = groups.group(p)
    hacks = [row.kind == "hack" for row in rows]
    right = [row.kind == "right" for row in rows]
    wrong = [row.kind in ("wrong", "late") for row in rows]
    words = [row.ask.word for row in rows]
    advantage_G, reward_G = batch.advantage_PG[p], batch.reward_PG[p]
    advantage = _mean(advantage_G, hacks)
    over_right, over_wrong = (_over(advantage_G, hacks, others, words) for others in (right, wrong))
    margin = MARGIN * scale

    leaks = False
    if hack.shares:
        excess = advantage - _mean(advantage_G, [not is_in for is_in in hacks])
    elif hack.tricks:
        excess = advantage - _mean(honest.advantage_PG[p], hacks)
    elif hack.right and not batch.rollouts.wrong_PG[p][hacks].any():
        excess = -scale if over_right is None else over_right  # the only right one earns what it gets
        leaks = hack.needs == "ask" and over_right is not None and over_right > -TIE * scale
    else:
        excess = max(advantage, advantage if over_right is None else over_right)
        leaks = over_wrong is not None and over_wrong > margin
    return Finding(
        grade="pays" if excess > margin else "leaks" if leaks else "no",
        mix=groups.mixes[p].name,
        tokens=_mean(batch.rollouts.tokens_PG[p], hacks),
        reward=_known(reward_G, hacks),
        reward_right=_known(reward_G, right),
        reward_wrong=_known(reward_G, wrong),
        advantage=advantage,
        advantage_right=_known(advantage_G, right),
        advantage_wrong=_known(advantage_G, wrong),
        excess=excess / scale,
    )


def _over(
    advantage_G: Tensor, hacks: list[bool], others: list[bool], words: list[str | None]
) -> float | None:
    """Mean lead of the hack's rows over honest ones that were asked for the same; None without such rows."""
    advantages, leads = advantage_G.tolist(), []
    for i, advantage in enumerate(advantages):
        alike = [a for j, a in enumerate(advantages) if others[j] and words[j] == words[i]]
        if hacks[i] and alike:
            leads.append(advantage - sum(alike) / len(alike))
    return sum(leads) / len(leads) if leads else None


def _order(finding: Finding) -> tuple[int, float, int]:
    """Ties go to the mix that stands first."""
    return RANK[finding.grade], round(finding.excess, 2), -NAMES.index(finding.mix)


def _mean(values_G: Tensor, where: list[bool]) -> float:
    chosen = [value for value, is_in in zip(values_G.tolist(), where, strict=True) if is_in]
    return sum(chosen) / len(chosen)


def _known(values_G: Tensor, where: list[bool]) -> float | None:
    """The mean, None without rows or where a row is not valid."""
    mean = _mean(values_G, where) if any(where) else math.nan
    return None if math.isnan(mean) else mean
