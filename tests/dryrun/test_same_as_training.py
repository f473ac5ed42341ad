"""Training and `lenrl score` pay and push the same completions the same, whatever was cut off them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lenrl.config import Recipe, compose
from lenrl.dryrun.score import FIELDS, score
from lenrl.rollouts import Rollouts, Verdict
from lenrl.strategies.base import PromptBudget, RunInfo
from lenrl.strategies.groups import token_mean
from lenrl.strategies.method import Method
from lenrl.strategies.scoring import Row, build_rollouts
from lenrl.strategies.scoring import score as run_pipeline
from lenrl.training.rollout import capped
from lenrl.verify.extract import extract_answer, tag_report
from lenrl.verify.settings import VerifierSettings

ROOT = Path(__file__).parents[2]
RECIPES = sorted({path.stem for path in (ROOT / "recipes").glob("*.yaml")} - {"base"})
G, CAP, VISITS = 16, 700, 3
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

    @property
    def tokens(self) -> str:
        return self.text + "$" * self.ended


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


def judged(of: Completion, kept: int, form: Any) -> Verdict:
    """What the verifier says of its first tokens."""
    text, gold = of.text[:kept], GOLDS[of.prompt]
    answer = extract_answer(text, format=form)
    correct = None if gold is None or of.broken else answer == gold
    think, tags = tag_report(text, format=form)
    return Verdict(correct, answer, answer is not None, think, tags)


def in_training(
    method: Method, rows: Sequence[Completion], budgets: Sequence[PromptBudget], form: Any, step: int
) -> tuple[Rollouts, torch.Tensor, torch.Tensor]:
    """As the trainer scores: sampled up to each row's cap, verified, cut, verified again."""
    sampled = capped([row.tokens for row in rows], budgets)
    batch = [
        Row(
            prompt_id=row.prompt,
            length=len(tokens),
            truncated=tokens[-1] != "$",
            verdict=judged(row, len(tokens), form),
            prompt_budget=budget,
            columns={"target": 300, "lo": 100, "hi": 200},
            mean_logp=row.mean_logp,
        )
        for row, tokens, budget in zip(rows, sampled, budgets, strict=True)
    ]

    def judge(cuts: Mapping[int, int]) -> list[Verdict]:
        return [judged(rows[i], kept, form) for i, kept in cuts.items()]

    scored = run_pipeline(method, build_rollouts(batch, G, CAP, step), judge, "fail")
    advantage_PG = method.advantages(scored.reward, scored.rollouts)
    method.observe(scored.rollouts, scored.reward)
    return scored.rollouts, scored.reward.total_PG, token_mean(advantage_PG, scored.rollouts.length_PG)


def logged(row: Completion, budget: PromptBudget, form: Any) -> dict[str, Any]:
    """The line that a log holds of it: nothing is cut off yet."""
    verdict = judged(row, len(row.tokens), form)
    closing = "</answer>" if form == "answer_tag" else "}"
    columns = {"target": 300, "lo": 100, "hi": 200} | dict(budget.columns)
    return {
        "prompt": row.prompt,
        "length": len(row.tokens),
        "truncated": not row.ended,
        "correct": verdict.correct,
        "formatted": verdict.formatted,
        "think_tags": verdict.think_tags,
        "answer_tags": verdict.answer_tags,
        "mean_logp": row.mean_logp,
        "answer_length": row.text.find(closing) + len(closing) if closing in row.text else len(row.tokens),
        **{name: columns[name] for name in FIELDS if name in columns},
    }


def known(values_PG: torch.Tensor) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values_PG.flatten().tolist()]


def test_the_batch_holds_what_it_should() -> None:
    verdicts = [judged(row, len(row.tokens), "boxed") for row in completions(0, "boxed")]
    assert {verdict.correct for verdict in verdicts} == {True, False, None}
    assert {verdict.think_tags for verdict in verdicts} == {True, False}
    assert {verdict.answer_tags for verdict in verdicts} == {True, False}


@pytest.mark.parametrize("name", RECIPES)
def test_score_says_what_training_does(name: str, tmp_path: Path) -> None:
    overrides = [f"trainer.max_completion_length={CAP}", f"trainer.num_generations={G}"]
    if name == "thinkprune":
        overrides.append("budget.caps=[300,200]")
    recipe: Recipe = compose(name, overrides)
    form = VerifierSettings.read(recipe.verifier).format
    method, state = compose(name, overrides).method, tmp_path / "state.json"
    run_info = RunInfo(G, CAP, recipe.trainer["max_steps"])
    inside = 0  # completions cut within their thinking
    for visit in range(VISITS):
        rows, step = completions(visit, form), 20 * visit
        columns = [{"target": 300, "lo": 100, "hi": 200}] * len(rows)
        budgets = method.budgets([row.prompt for row in rows], columns, step, run_info)
        file = tmp_path / f"{visit}.jsonl"
        lines = (logged(*pair, form) for pair in zip(rows, budgets, strict=True))
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))

        rollouts, reward_PG, advantage_PG = in_training(method, rows, budgets, form, step)
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
        assert [entry["advantage"] for entry in entries] == advantage_PG.flatten().tolist()
        assert json.loads(state.read_text()) == json.loads(json.dumps(method.state_dict()))
        kept = rollouts.length_PG.flatten().tolist()
        inside += sum(k < row.text.find("</think>") for k, row in zip(kept, rows, strict=True))
    assert (inside > 0) == (name in CUTTING)


def test_a_cut_inside_the_thinking_costs_the_think_tags(tmp_path: Path) -> None:
    """`reward=tags` pays only well-formed thinking; training read the shorter text, and so `lenrl score` must."""
    plugin = tmp_path / "tags.py"
    plugin.write_text(
        "from lenrl.strategies.base import Reward\n\n\n"
        'class Tags(Reward):\n    """Pays think tags."""\n\n    name = "tags"\n    reads_format = True\n\n'
        "    def __call__(self, rollouts):\n        return rollouts.think_tags_PG.double()\n"
    )
    recipe = compose("dot", ["reward=tags", f"trainer.num_generations={G}"], [plugin])
    rows = [replace(row, prompt="solved") for row in completions(0, "boxed")[:G]]
    budgets = [PromptBudget()] * G
    file = tmp_path / "rows.jsonl"
    lines = (logged(*pair, "boxed") for pair in zip(rows, budgets, strict=True))
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rollouts, reward_PG, _ = in_training(recipe.method, rows, budgets, "boxed", 0)
    assert rollouts.length_PG[0, -1] < len(rows[-1].tokens)
    assert reward_PG.tolist() == [[1.0] * (G - 1) + [0.0]]
    assert [entry["reward"] for entry in score(recipe, file, max_length=CAP)] == reward_PG[0].tolist()
