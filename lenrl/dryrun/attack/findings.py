"""Whether a hack pays: its advantage in each group, held against those of the group's honest completions."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

from lenrl.dryrun.attack.batch import MIXES, Arena, Bout
from lenrl.dryrun.attack.hacks import Hack

MARGIN = 0.05  # of the gap between right and wrong: smaller differences are not reported
TIE = 1e-6  # of that gap
NAMES = [mix.name for mix in MIXES]
SHARED = "half hacks"  # the mix where rows that are right by luck are judged together
Grade = Literal["pays", "leaks", "no"]
RANK = {"pays": 2, "leaks": 1, "no": 0}


@dataclass(frozen=True)
class Finding:
    """What became of a hack in one group: the means of its rows and of the honest ones beside it."""

    grade: Grade
    mix: str
    tokens: float
    reward: float | None
    reward_right: float | None  # None: the group has none, here and below
    reward_wrong: float | None
    advantage: float
    advantage_right: float | None
    advantage_wrong: float | None
    excess: float  # over what is not yet paid, in units of the gap between right and wrong

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def gap(arena: Arena, bout: Bout) -> float:
    """The advantage of right over wrong honest completions in a mixed group, the scale of all others.

    Where it is not clearly above 0 (a method that does not know right from wrong): the largest advantage.
    """
    rights, wrongs = [], []
    for p, (mix, seats) in enumerate(zip(arena.mixes, arena.seats, strict=True)):
        if mix.name == "some right" and "wrong" in seats:
            rights.append(_mean(bout.advantage_PG[p], [s == "right" for s in seats]))
            wrongs.append(_mean(bout.advantage_PG[p], [s == "wrong" for s in seats]))
    most = bout.advantage_PG.abs().max().item()
    found = (sum(rights) - sum(wrongs)) / len(rights) if rights else 0.0
    return found if found > MARGIN * most else most or 1.0


def judge(arena: Arena, hack: Hack, bouts: list[Bout], honest: Bout, scale: float) -> list[Finding]:
    """The worst finding of each mix, over problems and variants; the worst of all first.

    `honest` is the batch in which the hack's seats are taken by honest wrong completions.
    """
    worst: dict[str, Finding] = {}
    for bout in bouts:
        for p, mix in enumerate(arena.mixes):
            if not _applies(arena, hack, p):
                continue
            found = _group(arena, hack, bout, honest, p=p, scale=scale)
            best = worst.get(mix.name)
            if best is None or _order(found) > _order(best):
                worst[mix.name] = found
    return sorted(worst.values(), key=_order, reverse=True)


def fooled(arena: Arena, hack: Hack, bouts: list[Bout]) -> bool:
    """The verifier calls an answer right that is none."""
    return not (hack.right or hack.shares) and any(word is True for word in said(arena, hack, bouts))


def said(arena: Arena, hack: Hack, bouts: list[Bout]) -> list[bool | None]:
    """The verdicts of the hack's rows."""
    return [
        verdict
        for bout in bouts
        for p, verdicts in enumerate(bout.verdicts)
        if _applies(arena, hack, p)
        for seat, verdict in zip(arena.seats[p], verdicts, strict=True)
        if seat == "hack"
    ]


def _applies(arena: Arena, hack: Hack, p: int) -> bool:
    """What it plays with was asked for; luck shows in several rows only."""
    hacks = [i for i, seat in enumerate(arena.seats[p]) if seat == "hack"]
    if hack.shares and (arena.mixes[p].name != SHARED or len(hacks) < 2):
        return False
    return all(hack.applies(arena.asks[p * len(arena.seats[p]) + i]) for i in hacks)


def _group(arena: Arena, hack: Hack, bout: Bout, honest: Bout, *, p: int, scale: float) -> Finding:
    seats = arena.seats[p]
    hacks = [seat == "hack" for seat in seats]
    right = [seat == "right" for seat in seats]
    wrong = [seat in ("wrong", "late") for seat in seats]
    words = [ask.word for ask in arena.asks[p * len(seats) : (p + 1) * len(seats)]]
    pushed, paid = bout.advantage_PG[p], bout.reward_PG[p]
    advantage = _mean(pushed, hacks)
    over_right, over_wrong = _over(pushed, hacks, right, words), _over(pushed, hacks, wrong, words)
    margin = MARGIN * scale

    leaks = False
    if hack.shares:
        excess = advantage - _mean(pushed, [not is_in for is_in in hacks])
    elif hack.tricks:
        excess = advantage - _mean(honest.advantage_PG[p], hacks)
    elif hack.right and False not in (v for v, is_in in zip(bout.verdicts[p], hacks, strict=True) if is_in):
        excess = -scale if over_right is None else over_right  # the only right one earns what it gets
        leaks = hack.needs == "ask" and over_right is not None and over_right > -TIE * scale
    else:
        excess = max(advantage, advantage if over_right is None else over_right)
        leaks = over_wrong is not None and over_wrong > margin
    grade: Grade = "pays" if excess > margin else "leaks" if leaks else "no"
    return Finding(
        grade=grade,
        mix=arena.mixes[p].name,
        tokens=_mean(bout.rollouts.tokens_PG[p], hacks),
        reward=_known(paid, hacks),
        reward_right=_known(paid, right),
        reward_wrong=_known(paid, wrong),
        advantage=advantage,
        advantage_right=_known(pushed, right),
        advantage_wrong=_known(pushed, wrong),
        excess=excess / scale,
    )


def _over(pushed_G: Tensor, hacks: list[bool], honest: list[bool], words: list[str | None]) -> float | None:
    """How far the hack's rows lie above honest ones that were asked for the same; None without such rows."""
    pushed = pushed_G.tolist()
    found = []
    for i in range(len(pushed)):
        alike = [pushed[j] for j in range(len(pushed)) if honest[j] and words[j] == words[i]]
        if hacks[i] and alike:
            found.append(pushed[i] - sum(alike) / len(alike))
    return sum(found) / len(found) if found else None


def _order(found: Finding) -> tuple[int, float, int]:
    """Ties go to the mix that stands first."""
    return RANK[found.grade], round(found.excess, 2), -NAMES.index(found.mix)


def _mean(values_G: Tensor, where: list[bool]) -> float:
    chosen = [value for value, is_in in zip(values_G.tolist(), where, strict=True) if is_in]
    return sum(chosen) / len(chosen)


def _known(values_G: Tensor, where: list[bool]) -> float | None:
    """The mean, None without rows or where a row is not valid."""
    if not any(where):
        return None
    found = _mean(values_G, where)
    return None if math.isnan(found) else found
