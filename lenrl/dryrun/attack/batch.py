"""Groups of honest completions with a hack among them, through the recipe's verifier, cut, reward, advantage."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lenrl.config import Recipe
from lenrl.dryrun.attack.hacks import Ask, Rows
from lenrl.dryrun.attack.writer import Completion, Writer
from lenrl.errors import BadInput
from lenrl.rollouts import RewardResult, Rollouts, Verdict
from lenrl.strategies import groups
from lenrl.strategies.base import PromptBudget
from lenrl.strategies.scoring import Row, build_rollouts, score
from lenrl.tasks import Problem, Task
from lenrl.tasks.audit import load
from lenrl.training.run_info import run_info_of, task_of
from lenrl.verify.pool import Claim, Verifier

PROBLEMS = 6  # each in every mix
LOOKED_AT = 50  # problems among which those are found
OTHERS = 8  # of their answers, tried as wrong ones
MEAN_LOGP = -0.5  # of every completion: a hack is as likely as an honest answer


@dataclass(frozen=True)
class Mix:
    """What a group is made of: the hack's share of it (0: one row), and of the honest rest the right share."""

    name: str
    right: float
    hacks: float = 0.0
    late: bool = False  # the honest ones overrun the length asked for, or the cap

    def seats(self, size: int, turn: int) -> list[str]:
        """A group's rows; the hack's stand together, in another place each turn."""
        hacks = max(1, int(self.hacks * size))
        right = math.ceil(self.right * (size - hacks))
        honest = ["right"] * right + ["late" if self.late else "wrong"] * (size - hacks - right)
        place = turn % (len(honest) + 1)
        return honest[:place] + ["hack"] * hacks + honest[place:]


MIXES = (
    Mix("none right", right=0.0),
    Mix("some right", right=0.5),
    Mix("all right", right=1.0),
    Mix("all too long", right=0.0, late=True),
    Mix("half hacks", right=0.75, hacks=0.5),
)


@dataclass(frozen=True)
class Bout:
    """One batch with one hack in it, groups in the order of `Arena.mixes`."""

    rollouts: Rollouts
    reward_PG: Tensor
    advantage_PG: Tensor  # a completion; advantages a token are averaged
    verdicts: list[list[bool | None]]  # (P, G), after every cut


class Arena:
    """A recipe's problems, its honest completions and its pipeline.

    Raises:
        BadInput: the recipe's method can't work in its setting, its data can't be read, or no honest right
            answer is judged right.
    """

    def __init__(self, recipe: Recipe, verifier: Verifier, step: int = 0) -> None:
        self.recipe, self.verifier, self.step = recipe, verifier, step
        self.method = recipe.method
        self.run_info = run_info_of(recipe.trainer)
        faults = self.method.errors(self.run_info)
        if faults:
            raise BadInput("\n".join(faults))
        task = task_of(recipe)
        if self.method.reads_verdicts and not task.labelled:
            raise BadInput(
                f"task {task.name!r} has no gold answers (task.answer=null), and this method must know what is right. "
                "Name the column of the answers by task.answer, or choose a method that needs none"
            )
        self._known: dict[tuple[str, str | None], Verdict] = {}
        self.problems, self.writers = self._problems(task)
        size = self.run_info.num_generations or 2
        self.mixes = [mix for _ in self.problems for mix in MIXES]
        self.seats = [mix.seats(size, p) for p in range(len(self.problems)) for mix in MIXES]
        places = [p for p in range(len(self.problems)) for _ in MIXES for _ in range(size)]
        columns = [self.problems[p].columns for p in places]
        ids = [self.problems[p].id for p in places]
        self._places, self._allowed = places, self.method.budgets(ids, columns, step, self.run_info)
        self.asks = [self._ask(columns[i], given) for i, given in enumerate(self._allowed)]
        self._kinds = [kind for seats in self.seats for kind in seats]
        self._honest = self._write_honest()

    def bouts(self, variants: Callable[[Writer, Ask], list[Rows]]) -> list[Bout]:
        """The hack's variants, a batch each."""
        seats = [i for i, kind in enumerate(self._kinds) if kind == "hack"]
        written = {i: variants(self.writers[self._places[i]], self.asks[i]) for i in seats}
        size = len(self.seats[0])
        found = []
        for v in range(len(written[seats[0]])):
            rows, turns = list(self._honest), [0] * len(self.seats)
            for i in seats:
                completions = written[i][v]
                rows[i] = completions[turns[i // size] % len(completions)].cut(self.asks[i].cap)
                turns[i // size] += 1
            found.append(self._run(rows))
        return found

    def blind(self, bout: Bout) -> bool:
        """The method pays and pushes the same when every verdict is turned round."""
        turned = bout.rollouts.with_(correct_PG=1 - bout.rollouts.correct_PG)
        reward = self.method.rewards(turned, "drop")
        same = torch.equal(reward.total_PG.nan_to_num(), bout.reward_PG.nan_to_num())
        return same and torch.equal(self._push(reward, turned), bout.advantage_PG)

    def _run(self, completions: Sequence[Completion]) -> Bout:
        verdicts = self._judge(list(zip(completions, self._places, strict=True)))
        rows = [
            Row(
                prompt_id=self.problems[place].id,
                length=completion.tokens,
                truncated=not completion.ended,
                verdict=verdict,
                prompt_budget=given,
                columns=self.problems[place].columns,
                mean_logp=MEAN_LOGP,
            )
            for completion, place, verdict, given in zip(
                completions, self._places, verdicts, self._allowed, strict=True
            )
        ]
        size = len(self.seats[0])
        rollouts = build_rollouts(rows, size, self.run_info.max_length, self.step)

        def judge(cuts: Mapping[int, int]) -> list[Verdict]:
            again = self._judge([(completions[i].cut(kept), self._places[i]) for i, kept in cuts.items()])
            for i, verdict in zip(cuts, again, strict=True):
                verdicts[i] = verdict
            return again

        scored = score(self.method, rollouts, judge, self.recipe.guard.nonfinite)
        rollouts, reward = scored.rollouts, scored.reward
        said = [verdict.correct for verdict in verdicts]
        by_group = [said[g : g + size] for g in range(0, len(said), size)]
        return Bout(rollouts, reward.total_PG, self._push(reward, rollouts), by_group)

    def _push(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        return groups.token_mean(self.method.advantages(reward, rollouts), rollouts.length_PG)

    def _judge(self, rows: Sequence[tuple[Completion, int]]) -> list[Verdict]:
        """Verdicts by text and gold answer, each asked once."""
        prefilled = bool(self.recipe.model.think_prefilled)
        keys = [(completion.text, self.problems[place].answer) for completion, place in rows]
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        judged = self.verifier.verify([Claim(text, gold, prefilled) for text, gold in new])
        self._known.update(zip(new, judged, strict=True))
        return [self._known[key] for key in keys]

    def _ask(self, columns: Mapping[str, Any], given: PromptBudget) -> Ask:
        asked = {name: columns[name] for name in self.method.reads_columns if name in columns}
        asked |= given.columns
        cap = min(self.run_info.max_length, given.cap or self.run_info.max_length)
        goals = [given.budget, asked.get("target"), asked.get("hi")]
        goal = next((round(n) for n in goals if isinstance(n, int | float) and n >= 1), None)
        word = asked.get("level", asked.get("mode"))
        return Ask(cap, goal, word if isinstance(word, str) else None)

    def _write_honest(self) -> list[Completion]:
        """The honest rows of every group; a hack's seat holds an honest wrong completion."""
        found = []
        for place, ask, kind in zip(self._places, self.asks, self._kinds, strict=True):
            writer = self.writers[place]
            tokens = {"right": ask.right, "late": ask.late}.get(kind, ask.wrong)
            value = writer.right if kind == "right" else writer.wrong
            found.append(writer.solve(value, tokens).cut(ask.cap))
        return found

    def _problems(self, task: Task) -> tuple[list[Problem], list[Writer]]:
        """Problems of which an honest right and an honest wrong answer are judged so, and their writers."""
        found = _some(task)
        if not task.labelled:
            self.problems = found[:PROBLEMS]
            return self.problems, [self._writer("1", "2", "3")] * len(self.problems)
        self.problems = found  # verdicts need their gold answers
        values = [value_of(problem) for problem in found]
        kept: list[tuple[Problem, Writer]] = []
        for place, right in enumerate(values):
            others = [
                v for v in dict.fromkeys([*values[:OTHERS], "0", "1", "2", "17"]) if v not in (None, right)
            ]
            if right is None:
                continue
            texts = [self._writer(value, value, value).solve(value, 1) for value in (right, *others)]
            verdicts = self._judge([(text, place) for text in texts])
            wrong = [
                v
                for v, said in zip(others, verdicts[1:], strict=True)
                if said.correct is False and said.formatted
            ]
            if verdicts[0].correct and len(wrong) > 1:
                kept.append((found[place], self._writer(right, wrong[0], wrong[1])))
            if len(kept) == PROBLEMS:
                break
        if not kept:
            settings = self.verifier.settings
            raise BadInput(
                f"task {task.name!r}: in none of {len(found)} problems does the verifier (kind={settings.kind}, "
                f"format={settings.format}) call the gold answer right and others wrong; `lenrl check` says more, "
                "or choose another verifier.kind"
            )
        return [problem for problem, _ in kept], [writer for _, writer in kept]

    def _writer(self, right: str, wrong: str, other: str) -> Writer:
        tag = self.verifier.settings.format == "answer_tag"
        return Writer(right, wrong, other, tag, bool(self.recipe.model.think_prefilled))


def value_of(problem: Problem) -> str | None:
    """What a completion must say to be right; of a reasoning-gym entry its own answer."""
    gold = problem.answer
    if gold is not None and gold.lstrip().startswith('{"dataset"'):
        try:
            gold = json.loads(gold)["entry"]["answer"]
        except (ValueError, KeyError, TypeError):
            return None
    return str(gold).strip() if gold is not None else None


def _some(task: Task) -> list[Problem]:
    """The first problems of the development split, or of the training split where there is none."""
    if task.dev != 0:
        try:
            return load(task, "dev")[0][:LOOKED_AT]
        except BadInput:  # data without that split
            pass
    return load(task, "train")[0][:LOOKED_AT]
