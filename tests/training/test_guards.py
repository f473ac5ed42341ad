"""Guards: each trips on rollouts that go wrong, says what to do, and is silent on those of the recipes."""

import json
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lenrl.config import compose
from lenrl.config.difference import FREE, difference
from lenrl.errors import RunFailed
from lenrl.monitors.local import LocalMonitor
from lenrl.training import checkpoint, trends
from lenrl.training.guards import GUARDS, Guards
from lenrl.training.trends import Trends
from lenrl.verify.shortcuts import HACKS, counted, hacks
from tests.training.parts import Ends, batch_of, ids, scoring
from tests.training.runs import answer, force, lines_of, small_run

RECORDED = Path(__file__).parents[1] / "golden" / "guards.jsonl"  # figures of real runs, a line a run
ROWS = 128  # completions of their rollouts


SETTINGS = compose("grpo").guard


def guards(best="", **rules):
    """Those of the recipes, with other values of some rules: `collapse={"action": "warn"}`."""
    changed = {name: getattr(SETTINGS, name).model_copy(update=values) for name, values in rules.items()}
    return Guards(SETTINGS.model_copy(update=changed), best=lambda: best)


def follow(watching, lines):
    """Guards that have spoken, by the rollout in which they did; raises what they raise."""
    spoken = {}
    for number, line in enumerate(lines, start=1):
        figures = {**line, **watching.count(line, ROWS)}
        watching.act(figures, is_main=True)
        spoken |= {name: number for name in watching.said if name not in spoken}
    return spoken


def bad(guard, rule):
    """A figure just at the threshold, and one just before it."""
    step = 0.01 if guard.side == "at least" else -0.01
    return {guard.figure: rule.threshold}, {guard.figure: rule.threshold - step}


DIRECT = [guard for guard in GUARDS if guard.figure not in ("accuracy_lost", "hacks_gained")]


@pytest.mark.parametrize("guard", DIRECT, ids=lambda guard: guard.name)
def test_a_guard_acts_after_so_many_rollouts_in_a_row(guard, caplog):
    watching = guards()
    rule = watching.settings.rule(guard.name)
    at, before = bad(guard, rule)
    broken = [*[at] * (rule.rollouts - 1), before]
    assert follow(watching, broken * 2) == {}, "never so many in a row"
    counts = [watching.count(at, ROWS)[f"guard_{guard.name}"] for _ in range(2)]
    assert counts == [1, 2]
    unknown = watching.count({guard.figure: None}, ROWS)
    assert unknown[f"guard_{guard.name}"] == 2, "a rollout without the figure changes nothing"
    if rule.action == "stop":
        with pytest.raises(RunFailed, match=f"guard.{guard.name}: {guard.figure} was {guard.side}"):
            follow(watching, [at] * rule.rollouts)
        return
    assert follow(watching, [at] * 3 * rule.rollouts) == {guard.name: rule.rollouts - 2}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"guard.{guard.name}: {guard.figure} was {guard.side}") and guard.advice in said


@pytest.mark.parametrize("guard", GUARDS[1:], ids=lambda guard: guard.name)
def test_action_threshold_and_rollouts_are_the_rule_s(guard, monkeypatch):
    monkeypatch.setattr(Trends, "follow", lambda self, figures, completions: {})
    line, (within, beyond) = [{guard.figure: 0.5}], (0.4, 0.6) if guard.side == "at least" else (0.6, 0.4)

    def spoken(**rule):
        return follow(
            guards(best="So far.", **{guard.name: {"rollouts": 1, "threshold": within, **rule}}), line
        )

    with pytest.raises(RunFailed, match=f"{guard.figure} was {guard.side} .* So far[.]$"):
        spoken(action="stop")
    assert spoken(action="stop", rollouts=2) == spoken(action="stop", threshold=beyond) == {}
    assert spoken(action="warn") == {guard.name: 1}
    assert spoken(action="ignore") == {}


def recorded():
    """Rollouts by run: those of docs/results.md, without the figures that are younger; and a demo with all of them."""
    runs = {}
    for line in RECORDED.read_text().splitlines():
        columns = json.loads(line)
        name = columns.pop("run")
        runs[name] = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return runs


def test_recorded_runs_that_collapse_are_stopped_and_no_guard_speaks_in_the_others():
    for name, rollouts in recorded().items():
        watching = guards()
        if name in ("penalty_9.6", "penalty_19.2"):
            with pytest.raises(
                RunFailed, match="guard.collapse: accuracy_lost was at least 0.5 in 5 rollouts in a row"
            ):
                follow(watching, rollouts)
        else:
            assert follow(watching, rollouts) == {}, name


def test_a_state_goes_on_where_it_was():
    rollouts = recorded()["penalty_19.2"]
    whole = guards(collapse={"action": "warn"})
    assert "collapse" in follow(whole, rollouts)
    for cut in (1, 9, 30):
        first, second = (guards(collapse={"action": "warn"}) for _ in range(2))
        follow(first, rollouts[:cut])
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        follow(second, rollouts[cut:])
        assert second.state_dict() == whole.state_dict()
    second.load_state_dict({"streak": 3})  # of a checkpoint that is older
    assert second.state_dict() == whole.state_dict()


def test_a_fall_in_accuracy_counts_only_while_completions_get_shorter():
    def lost(tokens):
        moving = Trends()
        for rollout in range(40):
            figures = {"accuracy": 0.8 if rollout < 10 else 0.1, "tokens_mean": tokens(rollout)}
            found = moving.follow(figures, ROWS)
            assert (found["accuracy_lost"] is None) == (rollout < 4), "the first 640 completions"
        return found["accuracy_lost"]

    assert lost(lambda rollout: 80.0 - rollout) == pytest.approx(0.875, abs=0.01)
    assert lost(lambda rollout: 80.0 + rollout) == 0


def test_hacks_are_held_against_the_level_at_the_beginning():
    def gained(**shares):
        moving = Trends()
        for rollout in range(40):
            found = moving.follow({name: at(rollout) for name, at in shares.items()}, ROWS)
        return found["hacks_gained"]

    assert gained(many_boxes=lambda rollout: 0.9) == pytest.approx(0.0), "a habit of the base"
    assert gained(many_boxes=lambda rollout: 0.0, repetition=lambda rollout: 0.5 * (rollout > 9)) > 0.45


@pytest.mark.parametrize(
    ("text", "given", "found"),
    [
        ("<think>\n</think>\\boxed{1}", "1", {"empty_think"}),
        ("</think>\\boxed{1}", "1", {"empty_think"}),
        ("\\boxed{1}", "1", set()),
        ("<think>1</think>\\boxed{1} \\boxed{2}", "2", {"many_boxes"}),
        ("<think>\\boxed{1} \\boxed{2}</think>\\boxed{2}", "2", set()),
        ("<answer>1</answer> or <answer>2</answer>", "2", {"many_boxes"}),
        ("<answer>\\boxed{1}</answer>", "1", set()),
        ("wait, " * 100, None, {"repetition"}),
        ("".join(f"{i}+{i}={2 * i}, so " for i in range(60)), None, set()),
        ("<think>\\boxed{1}</think> done", None, {"answer_outside"}),
        ("<think>nothing</think> done", None, set()),
        ("\\boxed{\ud800" * 9000, None, {"many_boxes", "repetition", "answer_outside"}),
    ],
)
def test_hacks_of_a_completion(text, given, found):
    assert set(hacks(text, given)) == found


def test_copies_are_counted_where_a_prompt_shows_an_answer():
    prompts = ["put it into \\boxed{}", *["as in \\boxed{3}"] * 3]
    found = counted(["\\boxed{3}"] * 4, ["3", "3", "4", None], prompts, think_prefilled=False)
    assert (found["shown"], found["copied"]) == (3, 1)


class Failing(Ends):
    """A verifier that errs on every second claim."""

    def verify(self, claims):
        verdicts = super().verify(claims)
        self.counts["errors"] += len(claims) // 2
        return [replace(v, correct=v.correct if i % 2 else None) for i, v in enumerate(verdicts)]


def test_figures_of_a_rollout(tmp_path):
    monitor = LocalMonitor(tmp_path, is_main=True)
    part = scoring(compose("grpo").method, monitor)
    part.problem_set = replace(part.problem_set, verifier=Failing())
    part.begin([{"prompt_id": name, "prompt": "?"} for name in ("q0", "q0", "q1", "q1")], step=0, number=0)
    completions = [ids("a0."), ids("ab."), ids("1."), ids("1.")]
    part.score(completions)
    batch = batch_of(completions)
    logp_NT = torch.full(batch["completion_ids"].shape, -1.0)
    gap_NT = torch.tensor([[0.6, 0, 0], [0, 0, 0.4], [0, 0, 7.0], [0, float("nan"), 7.0]])
    part.finish({**batch, "old_per_token_logps": logp_NT, "sampling_per_token_logps": logp_NT - gap_NT}, None)
    monitor.step(1, {}, now=0.0)
    assert monitor.last_metrics["verifier_failed_share"] == 0.5
    assert monitor.last_metrics["sampler_logp_gap"] == pytest.approx(1 / 9), "padding and NaN left out"
    assert (
        monitor.last_metrics["guard_verifier_fails"] == 1 and monitor.last_metrics["guard_logps_apart"] == 1
    )
    assert {name: monitor.last_metrics[name] for name in HACKS} == dict.fromkeys(HACKS, 0.0)


def wrong(problem):
    return "<think>\n</think>\\boxed{3}" + ("\\boxed{3}" if problem.answer != "3" else "")


def test_a_real_run_that_goes_wrong_in_every_way_is_warned_of_and_stopped(tmp_path, monkeypatch, caplog):
    """Correct completions that cost too much, then all of them short, wrong, equal and copied from the prompt."""
    monkeypatch.setattr(trends, "MEMORY", 32)
    names = ("no_signal", "idle_penalty", "pushed_down", "hacks", "copied_example")
    trainer, verifier = small_run(
        "length_penalty",
        tmp_path,
        "reward.weight=10",
        "advantage=dr_grpo",
        "task.template='{prompt} as in \\boxed{3}'",
        "trainer.max_steps=12",
        "trainer.save_steps=2",
        "trainer.eval_steps=2",
        "guard.collapse.rollouts=2",
        *(f"guard.{name}.rollouts=2" for name in names),
    )

    def choose(problem, k):
        if trainer.state.global_step >= 4:
            return wrong(problem)
        return answer(True, problem, 4) if k % 2 else answer(False, problem, 0)

    force(trainer, choose)
    trainer.dev = lambda model, step, gather: {"accuracy": 0.9 - abs(step - 2) / 10, "tokens": 9.0}
    with verifier, pytest.raises(RunFailed, match="guard.collapse: .*is kept: ") as stopped:
        trainer.train()
    said = Counter(
        name for record in caplog.records for name in names if f"guard.{name}:" in record.getMessage()
    )
    assert said == dict.fromkeys(names, 1)
    assert all(
        record.levelno == logging.WARNING for record in caplog.records if "guard." in record.getMessage()
    )
    best = Path(str(stopped.value).rsplit("kept: ", 1)[1].rstrip("."))
    assert best == tmp_path / "checkpoint-2" and checkpoint.faults(best) == []
    lines = lines_of(tmp_path)
    assert [line["guard_pushed_down"] for line in lines[:4]] == [1, 2, 3, 4]
    assert lines[4]["guard_no_signal"] == 1 and lines[4]["many_boxes"] > 0.5 and lines[3]["many_boxes"] == 0
    assert lines[-1]["copied_share"] == 1 and lines[-1]["penalty_idle"] == 1


def test_guards_shape_no_result():
    """A run goes on under other guards, and an older one under those that it did not have."""
    recipe, other = (
        compose("grpo"),
        compose("grpo", ["guard.collapse.action=warn", "guard.hacks.threshold=0.5"]),
    )
    assert recipe.digest() == other.digest() and difference(recipe.resolved(), other.identity()) == ""
    older = recipe.resolved()
    older["guard"] = {key: value for key, value in older["guard"].items() if not isinstance(value, dict)}
    assert difference(older, recipe.identity()) == ""
    assert difference(recipe.resolved(), compose("grpo", ["guard.nonfinite=drop"]).identity())
    free = [key for key in FREE if key.startswith("guard.")]
    own = compose("grpo", [*(f"{key}=1" for key in free), "verifier.workers=1", "trainer.save_total_limit=9"])
    assert own.digest() != recipe.digest() and difference(recipe.resolved(), own.identity()) == ""
    assert difference(own.resolved(), recipe.identity()) == ""
