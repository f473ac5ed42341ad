"""Groups of honest completions with a hack among them, through the recipe's verifier and the scoring pipeline."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lenrl.config import Recipe
from lenrl.dryrun.attack.hacks import Ask, Rows
from lenrl.dryrun.attack.writer import CHARS_A_TOKEN, Completion, Writer
from lenrl.dryrun.function_trial import parts
from lenrl.errors import BadInput
from lenrl.rollouts import RewardResult, Rollouts, Verdict
from lenrl.strategies.base import PromptBudget
from lenrl.strategies.groups import token_mean
from lenrl.strategies.scoring import Row, build_rollouts, carry, score
from lenrl.tasks import Problem, Task
from lenrl.tasks.audit import load
from lenrl.training.run_info import run_info_of, task_of
from lenrl.verify.claims import AnyVerifier, Claim

PROBLEMS = 6  # each in every mix
LOOKED_AT = 50  # problems among which those are found
OTHERS = 8  # of their answers, tried as wrong ones
MEAN_LOGP = -0.5  # of every completion: a hack is as likely as an honest answer


@dataclass(frozen=True)
class Mix:
    """The hack's share of a group (0: one row), and the right share of the honest rest."""

    name: str
    right: float
    hacks: float = 0.0
    late: bool = False  # the honest ones overrun the length asked for, or the cap

    def rows(self, size: int, turn: int) -> list[str]:
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
class AttackRow:
    """A row of every batch, before its completion is written."""

    kind: str  # right, wrong, late or hack
    problem: Problem
    writer: Writer
    budget: PromptBudget
    ask: Ask

    def honest(self) -> Completion:
        """Its completion; of the hack's rows an honest wrong one."""
        tokens = {"right": self.ask.right, "late": self.ask.late}.get(self.kind, self.ask.wrong)
        value = self.writer.right if self.kind == "right" else self.writer.wrong
        return self.writer.solve(value, tokens).cut(self.ask.cap)


@dataclass(frozen=True)
class AttackBatch:
    """A scored batch with one hack in it, groups in the order of `AttackGroups.mixes`."""

    rollouts: Rollouts  # after the truncation
    reward_PG: Tensor
    advantage_PG: Tensor  # a completion; advantages a token are averaged


class AttackGroups:
    """A recipe's problems in every mix, their honest completions, and the recipe's pipeline.

    Raises:
        BadInput: the recipe's method can't work in such a run, its data can't be read, or no honest right
            answer is judged right.
    """

    def __init__(self, recipe: Recipe, verifier: AnyVerifier, step: int = 0) -> None:
        self.recipe, self.verifier, self.step = recipe, verifier, step
        self.method = recipe.method
        self.run_info = run_info_of(recipe.trainer)
        faults = self.method.errors(self.run_info)
        if faults:
            raise BadInput("\n".join(faults))
        task = task_of(recipe)
        if self.method.judge is not None:
            raise BadInput(
                f"{self.method.judge.place} gives the verdict, and hacks are tried on a verifier. Try the rest of the "
                f"recipe: '~reward_functions.{self.method.judge.name}'"
            )
        self.task = task
        if self.method.reads_verdicts and verifier.settings.needs_gold and not task.labelled:
            raise BadInput(
                f"task {task.name!r} has no gold answers (task.answer=null), and this method must know what is right. "
                "Name the column of the answers by task.answer, or choose a method that needs none"
            )
        self._verdicts: dict[tuple[str, str], Verdict] = {}
        problems = self._usable(task)
        self.problems = [problem for problem, _ in problems]
        self.mixes = [mix for _ in problems for mix in MIXES]
        self.size = self.run_info.num_generations or 2
        plan = [
            (kind, problem, writer)
            for turn, (problem, writer) in enumerate(problems)
            for mix in MIXES
            for kind in mix.rows(self.size, turn)
        ]
        visible = self.method.budget.visible
        columns = [visible(p.columns, prompt=p.prompt, gold=p.answer) for _, p, _ in plan]
        budgets = self.method.budgets([problem.id for _, problem, _ in plan], columns, step, self.run_info)
        self.rows = [
            AttackRow(*parts, budget, self._ask(parts[1].columns, budget))
            for parts, budget in zip(plan, budgets, strict=True)
        ]
        self._honest = [row.honest() for row in self.rows]

    def group(self, p: int) -> list[AttackRow]:
        return self.rows[p * self.size : (p + 1) * self.size]

    def batches(self, variants: Callable[[Writer, Ask], list[Rows]]) -> list[AttackBatch]:
        """The hack's variants, a batch each."""
        hacks = {i: variants(r.writer, r.ask) for i, r in enumerate(self.rows) if r.kind == "hack"}
        batches = []
        for variant in zip(*hacks.values(), strict=True):
            completions, turns = list(self._honest), Counter[int]()
            for i, written in zip(hacks, variant, strict=True):
                p = i // self.size
                completions[i] = written[turns[p] % len(written)].cut(self.rows[i].ask.cap)
                turns[p] += 1
            batches.append(self._scored(completions))
        return batches

    def blind(self, batch: AttackBatch) -> bool:
        """The method's rewards and advantages stay the same when every verdict is turned round."""
        rollouts = batch.rollouts
        turned = rollouts.with_(correct_PG=1 - rollouts.correct_PG, grade_PG=1 - rollouts.grade_PG)
        reward = self.method.rewards(turned, "drop")
        same = torch.equal(reward.total_PG.nan_to_num(), batch.reward_PG.nan_to_num())
        return same and torch.equal(self._advantages(reward, turned), batch.advantage_PG)

    def _scored(self, completions: Sequence[Completion]) -> AttackBatch:
        texts, problems = [c.text for c in completions], [row.problem for row in self.rows]
        verdicts = self._judge(list(zip(texts, problems, strict=True)))
        rows = [self._row(*three) for three in zip(self.rows, completions, verdicts, strict=True)]

        def judge(kept: Mapping[int, int]) -> list[Row]:
            cut = {i: completions[i].cut(tokens) for i, tokens in kept.items()}
            texts[:] = [cut.get(i, completion).text for i, completion in enumerate(completions)]
            again = self._judge([(texts[i], problems[i]) for i in cut])
            return [
                self._row(self.rows[i], *pair)
                for i, pair in zip(cut, zip(cut.values(), again, strict=True), strict=True)
            ]

        given, nonfinite = [row.budget.columns for row in self.rows], self.recipe.guard.nonfinite
        scored = score(
            self.method,
            build_rollouts(rows, self.size, self.run_info.max_length, self.step),
            judge,
            nonfinite,
            parts=lambda: parts(self.method, self.task, problems, texts, given, nonfinite=nonfinite),
        )
        advantage_PG = self._advantages(scored.reward, scored.rollouts)
        return AttackBatch(scored.rollouts, scored.reward.total_PG, advantage_PG)

    def _row(self, row: AttackRow, completion: Completion, verdict: Verdict) -> Row:
        problem = row.problem
        return Row(
            prompt_id=problem.id,
            length=completion.tokens,
            truncated=not completion.ended,
            verdict=verdict,
            prompt_budget=row.budget,
            columns=problem.columns,
            mean_logp=MEAN_LOGP,
            carried=carry(
                self.method.reads,
                prompt=lambda: problem.prompt,
                gold=lambda: problem.answer,
                text=lambda: completion.text,
                token_ids=lambda: completion.token_ids,
                answer=lambda: verdict.answer,
                steps=lambda: tuple(
                    replace(step, end=-(-step.end // CHARS_A_TOKEN)) for step in verdict.steps
                ),
                step_numbers=lambda: [0] * completion.tokens,
                logps=lambda: [MEAN_LOGP] * completion.tokens,
                teacher_logps=lambda: [MEAN_LOGP] * completion.tokens,
            ),
        )

    def _advantages(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        return token_mean(self.method.advantages(reward, rollouts), rollouts.length_PG)

    def _judge(self, pairs: Sequence[tuple[str, Problem]]) -> list[Verdict]:
        """Verdicts by text and problem, each asked once."""
        prefilled = bool(self.recipe.model.think_prefilled)
        keys = [(text, problem.id) for text, problem in pairs]
        new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self._verdicts}
        claims = [Claim(text, p.answer, prefilled, p.judged_by, p.part) for text, p in new.values()]
        self._verdicts.update(zip(new, self.verifier.verify(claims), strict=True))
        return [self._verdicts[key] for key in keys]

    def _ask(self, columns: Mapping[str, object], budget: PromptBudget) -> Ask:
        asked = {name: columns[name] for name in self.method.reads_columns if name in columns}
        asked |= budget.columns
        cap = min(self.run_info.max_length, budget.cap or self.run_info.max_length)
        goals = [budget.budget, asked.get("target"), asked.get("hi")]
        goal = next((round(n) for n in goals if isinstance(n, int | float) and n >= 1), None)
        word = asked.get("level", asked.get("mode"))
        return Ask(cap, goal, word if isinstance(word, str) else None)

    def _usable(self, task: Task) -> list[tuple[Problem, Writer]]:
        """Problems of which an honest right and an honest wrong answer are judged so, and their writers."""
        problems = _some(task)
        if not task.labelled:
            return [(problem, self._writer(problem, "1", "2", "3")) for problem in problems[:PROBLEMS]]
        values = [value_of(problem) for problem in problems]
        usable = []
        for problem, right in zip(problems, values, strict=True):
            if right is None:
                continue
            tried = [
                v for v in dict.fromkeys([*values[:OTHERS], "0", "1", "2", "17"]) if v not in (None, right)
            ]
            texts = [
                self._writer(problem, value, value, value).solve(value, 1).text for value in (right, *tried)
            ]
            verdict, *others = self._judge([(text, problem) for text in texts])
            wrong = [v for v, o in zip(tried, others, strict=True) if o.correct is False and o.formatted]
            if verdict.correct and len(wrong) > 1:
                usable.append((problem, self._writer(problem, right, wrong[0], wrong[1])))
            if len(usable) == PROBLEMS:
                break
        if not usable:
            settings = self.verifier.settings
            raise BadInput(
                f"task {task.name!r}: in none of {len(problems)} problems does the verifier (kind={settings.kind}, "
                f"format={settings.format}) call the gold answer right and others wrong; `lenrl check` says more, "
                "or choose another verifier.kind"
            )
        return usable

    def _writer(self, problem: Problem, right: str, wrong: str, other: str) -> Writer:
        tag = self.verifier.settings.part(problem.part).format == "answer_tag"
        return Writer(right, wrong, other, tag, bool(self.recipe.model.think_prefilled))


def value_of(problem: Problem) -> str | None:
    """The answer that a right completion gives; of a reasoning-gym entry its own."""
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
