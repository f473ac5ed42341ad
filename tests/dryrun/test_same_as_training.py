"""Training and `lenrl score` give the same completions the same rewards and advantages, whatever was cut off them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from lenrl.config import Recipe, compose
from lenrl.dryrun.score import FIELDS, score
from lenrl.errors import BadInput
from lenrl.generation.thinking_steps import step_numbers
from lenrl.monitors.local import LocalMonitor
from lenrl.rollouts import Rollouts, Verdict
from lenrl.strategies.base import PromptBudget, RunInfo
from lenrl.strategies.method import Method
from lenrl.tasks.problem import Problem
from lenrl.training.guards import Guards
from lenrl.training.problem_set import ProblemSet
from lenrl.training.rollout import RolloutScoring
from lenrl.training.run_state import StrategyStates
from lenrl.training.selection import PromptCursor
from lenrl.training.signals import StopSignal
from lenrl.verify.extract import extract_answer, tag_report
from lenrl.verify.pool import Claim
from lenrl.verify.settings import VerifierSettings
from tests.training.parts import END, Asked, batch_of, one_process

ROOT = Path(__file__).parents[2]
RECIPES = sorted({path.stem for path in (ROOT / "recipes").glob("*.yaml")} - {"base"})
G, CAP, VISITS, STEPS = 16, 700, 3, 60
TEACHER = 0.8  # of a token's log-prob
COLUMNS = {"target": 300, "lo": 100, "hi": 200}  # what the data say of every prompt
GOLDS = {"solved": "4", "mixed": "5", "unreadable": None}  # of the prompts; without one nobody can tell
CUTTING = {"dot", "palu", "thinkprune"}  # recipes that cut, here inside the thinking


@dataclass(frozen=True)
class Completion:
    """A text of which every character is a token, and whether an EOS ends it."""

    prompt: str
    text: str
    ended: bool
    broken: bool = False  # the verifier fails on it
    mean_logp: float = -0.5


def completions(visit: int, form: str) -> list[Completion]:
    """A batch: thinking of many lengths, one far too long; some wrong, unformatted, unclosed, or judged by nobody."""
    rows = []
    for prompt in GOLDS:
        for i in range(G):
            thinking = "hm " * (600 if i == G - 1 else 15 + 3 * i + visit)
            thinking = thinking[: 560 if i == G - 1 else None]
            value = "4" if prompt == "solved" else "5" if i % 3 else "7"
            box = f"<answer>{value}</answer>" if form == "answer_tag" else f"\\boxed{{{value}}}"
            text = f"<think>{thinking}</think>{box}"
            if prompt == "mixed":
                text = {3: text.replace("</think>", ""), 6: text[: -len(box)], 9: thinking + box}.get(i, text)
            if prompt == "unreadable" and i == 2:
                text = text.ljust(CAP, ".")  # goes on after its answer until the end of its room
            ended, broken = len(text) < CAP, prompt == "mixed" and i == 4
            rows.append(Completion(prompt, text[:CAP], ended, broken, -0.1 * (i + 1)))
    return rows


def verdict_of(text: str, gold: str | None, form: Any, broken: bool = False) -> Verdict:
    """What the verifier says of a text."""
    answer = extract_answer(text, format=form)
    correct = None if gold is None or broken else answer == gold
    think, tags = tag_report(text, format=form)
    return Verdict(correct, answer, answer is not None, think, tags)


def judged(of: Completion, form: Any) -> Verdict:
    return verdict_of(of.text, GOLDS[of.prompt], form, of.broken)


class Reader:
    """A verifier that fails on the texts it is told."""

    def __init__(self, form: Any, rows: Sequence[Completion]) -> None:
        self.form, self.broken = form, {row.text for row in rows if row.broken}
        self.counts = Counter(timeouts=0, errors=0, memory=0, abstained=0)

    def verify(self, claims: Sequence[Claim]) -> list[Verdict]:
        return [verdict_of(c.text, c.answer, self.form, c.text in self.broken) for c in claims]


def trainer_part(method: Method, rows: Sequence[Completion], form: Any, run_dir: Path) -> RolloutScoring:
    """What the trainer leads its batches through."""
    problems = {name: Problem(name, name, gold, columns=COLUMNS) for name, gold in GOLDS.items()}
    problem_set: Any = ProblemSet(problems, Asked(), Reader(form, rows), think_prefilled=False)  # type: ignore[arg-type]
    return RolloutScoring(
        StrategyStates(method),
        RunInfo(G, CAP, max_steps=STEPS),
        problem_set,
        eos_ids=[END],
        group=one_process(),
        monitor=LocalMonitor(run_dir, is_main=True),
        stop=StopSignal(),
        guards=Guards(compose("grpo").guard),
        cursor=PromptCursor({name: {} for name in problems}, seed=0),
    )


def in_training(
    part: RolloutScoring, rows: Sequence[Completion]
) -> tuple[Rollouts, torch.Tensor, torch.Tensor]:
    """The batch's record after the truncation, its rewards, and the advantages that the update gets."""
    tokens = part.capped([ids(row.text) + [END] * row.ended for row in rows])
    part.score(tokens)
    scored = part.current.scored
    assert scored is not None
    logps = [torch.full((max(map(len, tokens)),), row.mean_logp, dtype=torch.float64) for row in rows]
    batch: Any = part.finish(
        batch_of(tokens),  # type: ignore[arg-type]
        logps=lambda _: torch.stack(logps),
        teacher=lambda _: TEACHER * torch.stack(logps),
    )
    return scored.rollouts, scored.reward.total_PG, batch["advantages"]


def logged(row: Completion, budget: PromptBudget, form: Any, step_end: str) -> dict[str, Any]:
    """The line that a log holds of it: nothing is cut off yet."""
    verdict, length = judged(row, form), len(row.text) + row.ended
    closing = "</answer>" if form == "answer_tag" else "}"
    columns = COLUMNS | dict(budget.columns)
    return {
        "prompt": row.prompt,
        "length": length,
        "truncated": not row.ended,
        "correct": verdict.correct,
        "formatted": verdict.formatted,
        "think_tags": verdict.think_tags,
        "answer_tags": verdict.answer_tags,
        "mean_logp": row.mean_logp,
        "logps": [row.mean_logp] * length,
        "teacher_logps": [TEACHER * row.mean_logp] * length,
        "step_numbers": step_numbers([*row.text, *["</s>"] * row.ended], step_end),
        "answer_length": row.text.find(closing) + len(closing)
        if closing in row.text
        else len(row.text) + row.ended,
        **{name: columns[name] for name in FIELDS if name in columns},
    }


def ids(text: str) -> list[int]:
    """A token a character; END and PAD are none."""
    return [ord(character) for character in text]


def known(values_PG: torch.Tensor) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values_PG.flatten().tolist()]


def test_the_batch_holds_what_it_should() -> None:
    verdicts = [judged(row, "boxed") for row in completions(0, "boxed")]
    assert {verdict.correct for verdict in verdicts} == {True, False, None}
    assert {verdict.think_tags for verdict in verdicts} == {True, False}
    assert {verdict.answer_tags for verdict in verdicts} == {True, False}


@pytest.mark.parametrize("name", RECIPES)
def test_score_says_what_training_does(name: str, tmp_path: Path) -> None:
    overrides = [f"trainer.max_completion_length={CAP}", f"trainer.num_generations={G}"]
    overrides += [f"trainer.max_steps={STEPS}", "sampling=uniform"]  # what is drawn is no part of scoring
    if name == "thinkprune":
        overrides.append("budget.caps=[300,200]")
    recipe: Recipe = compose(name, overrides)
    form = VerifierSettings.read(recipe.verifier).format
    method, state = compose(name, overrides).method, tmp_path / "state.json"
    part = trainer_part(method, completions(0, form), form, tmp_path)
    inside = 0  # completions cut within their thinking
    for visit in range(VISITS):
        rows, step = completions(visit, form), 20 * visit
        part.problem_set.verifier.broken = {row.text for row in rows if row.broken}  # type: ignore[attr-defined]
        part.begin([{"prompt_id": row.prompt, "prompt": row.prompt} for row in rows], step=step, number=visit)
        budgets = part.current.prompt_budgets
        file = tmp_path / f"{visit}.jsonl"
        lines = (logged(*pair, form, method.advantage.step_end) for pair in zip(rows, budgets, strict=True))
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))

        rollouts, reward_PG, advantage_PG = in_training(part, rows)
        entries = score(
            recipe,
            file,
            step=step,
            state_in=state if visit else None,
            state_out=state,
            max_length=CAP,
        )

        assert [entry["length"] for entry in entries] == rollouts.length_PG.flatten().tolist()
        correct = [None if entry["correct"] is None else float(entry["correct"]) for entry in entries]
        assert correct == known(rollouts.correct_PG)
        assert [entry["budget"] for entry in entries] == known(rollouts.budget_PG)
        assert [entry["reward"] for entry in entries] == known(reward_PG)
        if advantage_PG.dim() == 2:  # of tokens: a line says their mean
            advantage_PG = advantage_PG.sum(1) / rollouts.length_PG.flatten().clamp(min=1)
        expected = pytest.approx(advantage_PG.flatten().tolist(), rel=1e-5, abs=1e-6)  # in float32
        assert [entry["advantage"] for entry in entries] == expected
        assert json.loads(state.read_text()) == json.loads(json.dumps(method.state_dict()))
        kept = rollouts.length_PG.flatten().tolist()
        inside += sum(k < row.text.find("</think>") for k, row in zip(kept, rows, strict=True))
    assert (inside > 0) == (name in CUTTING)
    if "logps" in method.reads:  # a run's files hold no numbers of tokens
        with pytest.raises(BadInput, match="is missing; a strategy's reads name"):
            score(recipe, tmp_path, max_length=CAP)
        return
    again = score(recipe, tmp_path, max_length=CAP, state_out=tmp_path / "again.json")
    logged_rows = [
        row for path in sorted(tmp_path.rglob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    for ours, theirs in (
        ("step", "step"),
        ("length", "kept_tokens"),
        ("correct", "verdict"),
        ("reward", "reward"),
    ):
        assert [entry[ours] for entry in again] == [row[theirs] for row in logged_rows], ours
    assert [entry["advantage"] for entry in again] == pytest.approx([row["advantage"] for row in logged_rows])
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads(state.read_text())


def test_a_cut_inside_the_thinking_costs_the_think_tags(tmp_path: Path) -> None:
    """`reward=tags` pays only well-formed thinking; training read the shorter text, and so `lenrl score` must."""
    plugin = tmp_path / "tags.py"
    plugin.write_text(
        "from lenrl.strategies.base import Reward\n\n\n"
        'class Tags(Reward):\n    """Pays think tags."""\n\n    name = "tags"\n    reads_format = True\n\n'
        "    def __call__(self, rollouts):\n        return rollouts.think_tags_PG.double()\n"
    )
    recipe = compose("dot", ["reward=tags", "sampling=uniform", f"trainer.num_generations={G}"], [plugin])
    rows = [replace(row, prompt="solved") for row in completions(0, "boxed")[:G]]
    budgets = [PromptBudget()] * G
    file = tmp_path / "rows.jsonl"
    lines = (logged(*pair, "boxed", "\n\n") for pair in zip(rows, budgets, strict=True))
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    part = trainer_part(recipe.method, rows, "boxed", tmp_path)
    part.begin([{"prompt_id": "solved", "prompt": "solved"}] * G, step=0, number=0)
    rollouts, reward_PG, _ = in_training(part, rows)
    assert rollouts.length_PG[0, -1] < rollouts.sampled_length_PG[0, -1]
    assert reward_PG.tolist() == [[1.0] * (G - 1) + [0.0]]
    assert [entry["reward"] for entry in score(recipe, file, max_length=CAP)] == reward_PG[0].tolist()
