"""`lenrl attack`: known results for every recipe, numbers by hand, hackable rewards and verifiers found."""

from __future__ import annotations

import json
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lenrl.cli import main
from lenrl.config import compose
from lenrl.dryrun.attack import attack
from lenrl.dryrun.attack.hacks import HACKS, Ask
from lenrl.dryrun.attack.writer import Completion, Writer
from lenrl.errors import BadInput

ROOT = Path(__file__).parents[2]
SHORT = {"empty", "empty_think", "answer_only", "wrong_short", "format_only"}  # wrong, and little of it
READABLE = {"empty_think", "answer_only", "wrong_short", "format_only", "repetition"}  # wrong, and ended
FAR = {"stall_to_cap", "stall_to_target", "hidden_answer"}  # right, and more of it
EXPECTED: dict[str, tuple[set[str], set[str]]] = {  # pays, leaks; all others: nothing
    "length_penalty": (SHORT, set()),
    "kimi": (SHORT, set()),
    "tldr": (SHORT, {"ignored_ask"}),
    "overlong": (SHORT, set()),  # its cache is above the small model's L_max
    "weighted": (SHORT, set()),
    "laser": (READABLE, set()),  # a readable answer is paid more than none
    "laser_d": (READABLE, set()),
    "surrogate": (SHORT | {"repetition"}, set()),
    "curriculum": (SHORT | FAR | {"wrong_on_target", "repetition"}, set()),
    "lcpo_exact": (FAR | {"format_only", "wrong_on_target", "repetition", "cut_off"}, set()),
    "range": ({"format_only", "wrong_on_target", "stall_to_target", "hidden_answer"}, set()),
    "adaptive_thinking": (set(), {"ignored_ask"}),  # it reads modes, never lengths
    "mode_margin": (set(), {"ignored_ask"}),
    "gfpo": (set(), {"format_only", "repetition", "cut_off"}),  # long ones are left out, wrong or not
    "drpo": ({"lucky_guess"}, set()),
    "pass_rate": (set(), SHORT - {"wrong_short"}),
    "laconic": (SHORT | {"repetition"}, set()),  # truncated ones lose more
    "short_rl": (READABLE, set()),
    "o1_pruner": (SHORT | {"lucky_guess"}, set()),
    "lead_dynamic": ({"format_only", "repetition", "cut_off", "stall_to_cap", "hidden_answer"}, set()),
    "adapt_think": (set(), {"ignored_ask"}),
    "demo": ({"lucky_guess"}, set()),
}
RECIPES = sorted({path.stem for path in (ROOT / "recipes").glob("*.yaml")} - {"base"})


def run(recipe: str, *overrides: str, **options: Any) -> dict[str, Any]:
    return attack(compose(recipe, overrides), **options)


def entry(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(hack for hack in found["hacks"] if hack["name"] == name)


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_pays_in_every_recipe(recipe: str) -> None:
    found = run(recipe)
    pays, leaks = EXPECTED.get(recipe, (set(), set()))
    assert set(found["pays"]) == pays
    assert set(found["leaks"]) == leaks
    assert bool(found["advice"]) == bool(pays | leaks)
    assert not any(hack["fooled"] for hack in found["hacks"])
    json.dumps(found, allow_nan=False)


def test_a_wrong_short_answer_pays_under_a_plain_length_penalty() -> None:
    found = entry(run("length_penalty"), "wrong_short")["mixes"]["none right"]
    assert found["grade"] == "pays"
    # seven honest wrong answers of half of 180 tokens, one of a quarter of that
    rewards = [-22 / 180] + [-90 / 180] * 7
    mean, sd = statistics.mean(rewards), statistics.stdev(rewards)
    assert (found["tokens"], found["reward"]) == (22, pytest.approx(-22 / 180))
    assert found["advantage"] == pytest.approx((rewards[0] - mean) / (sd + 1e-4))
    assert found["advantage_wrong"] == pytest.approx((rewards[1] - mean) / (sd + 1e-4))


def test_kimi_by_hand() -> None:
    found = entry(run("kimi"), "empty")["mixes"]
    # alone among wrong ones of 90 tokens: lam = .5 is held at 0, theirs is -.5
    assert (found["none right"]["reward"], found["none right"]["reward_wrong"]) == (0, -0.5)
    assert found["none right"]["advantage"] == pytest.approx(2.4735, abs=1e-4)
    # beside right ones of 72 tokens: lam = .5 - 71 / 89
    assert found["some right"]["reward_right"] == pytest.approx(1.5 - 71 / 89)
    assert found["some right"]["grade"] == "leaks"  # 0 beside the -.5 of honest wrong ones
    heavy = run("kimi", "reward.weight=4")  # 1 - 4 (71/71 - .5) = -1 is less than 0
    assert entry(heavy, "empty")["mixes"]["all right"]["reward_right"] == -1
    assert entry(heavy, "empty")["mixes"]["all right"]["grade"] == "pays"


def test_drpo_pays_for_luck_until_lam_is_raised() -> None:
    found = run("drpo")
    # right guess of 8 tokens and three wrong ones against three right answers of 72 and a wrong one
    assert entry(found, "lucky_guess")["advantage"] == pytest.approx(0.342, abs=1e-3)
    assert entry(found, "lucky_guess")["verdict"] == "25% right"
    assert "advantage.lam (now 0.1)" in found["advice"][0]
    assert run("drpo", "advantage.lam=0.3")["pays"] == []


def test_the_curriculum_pays_wrong_answers_on_budget() -> None:
    found = entry(run("curriculum"), "wrong_on_target")["mixes"]
    assert found["none right"]["reward"] == pytest.approx(0.3 + 0.1)
    assert found["none right"]["reward_wrong"] == pytest.approx(0.3 * 0.5 + 0.1)
    assert found["some right"]["reward_right"] == pytest.approx(0.6 + 0.3 * 102 / 256 + 0.1)


def test_a_band_pays_an_empty_completion_and_a_triangle_does_not() -> None:
    roomy = "trainer.max_completion_length=512"  # twice the budget: overrunning it is not cut off
    band = entry(run("curriculum", "reward.shape=band", roomy), "empty")
    assert (band["finding"], band["mix"]) == ("pays", "all too long")
    assert (band["reward"], band["reward_wrong"]) == (pytest.approx(0.3), pytest.approx(0.3 * 0.5 + 0.1))
    assert entry(run("curriculum", roomy), "empty")["finding"] == "no"
    assert "empty" in run("curriculum", "reward.shape=band")["pays"]


def test_the_step_moves_the_budget() -> None:
    roomy = "trainer.max_completion_length=512"
    lengths = [entry(run("curriculum", roomy, step=t), "wrong_on_target")["tokens"] for t in (0, 150, 2000)]
    assert lengths == [256, 179, 87]
    with pytest.raises(BadInput, match="--step -1"):
        run("grpo", step=-1)


def test_a_small_effect_is_left_out_and_grows_with_the_cap() -> None:
    assert run("alp")["pays"] == []  # 1e-7 a token
    assert set(run("alp", "trainer.max_completion_length=4096")["pays"]) == SHORT


PLUGIN = '''
from lenrl.rollouts import Rollouts
from lenrl.strategies.base import Reward
from torch import Tensor


class Silence(Reward):
    """A right answer is paid, and saying nothing at all twice as much."""

    name = "silence"

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return rollouts.correct_PG + 2.0 * (rollouts.length_PG <= 1).double()
'''


def test_a_reward_that_pays_silence_is_caught(tmp_path: Path) -> None:
    (tmp_path / "silence.py").write_text(PLUGIN)
    found = attack(compose("grpo", ["reward=silence"], [tmp_path / "silence.py"]))
    assert found["pays"] == ["empty"]
    mixes = entry(found, "empty")["mixes"]
    assert {name for name, one in mixes.items() if one["grade"] == "pays"} == set(mixes)
    assert "groups that have right ones" in found["advice"][0]


def test_a_verifier_that_takes_any_box_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_box(text: str, **_: Any) -> str | None:
        found = re.search(r"\\boxed\{(.*?)\}", text)
        return found[1] if found else None

    monkeypatch.setattr("lenrl.verify.pool.extract_answer", first_box)
    found = run("grpo")
    assert {hack["name"] for hack in found["hacks"] if hack["fooled"]} == {"box_in_think", "unclosed_think"}
    assert set(found["pays"]) == {"box_in_think", "unclosed_think"}
    assert entry(found, "box_in_think")["verdict"] == "right"
    assert "verifier calls these right" in found["advice"][0]


@pytest.mark.parametrize("recipe", ["length_penalty", "kimi", "tldr", "laser", "curriculum"])
def test_the_advice_helps(recipe: str) -> None:
    """What it says to add to the command line takes the pay from every wrong completion."""
    wrong = {hack.name for hack in HACKS if not hack.right}
    found, words = run(recipe), []
    for _ in range(2):  # a reward that has its own gate is told of that one first
        remedy = re.search(r"reward(=weighted|\.gated).*$", found["advice"][0])
        assert remedy is not None
        words += shlex.split(remedy[0])
        found = run(recipe, *words)
        if not wrong & set(found["pays"]):
            break
    assert not wrong & set(found["pays"])


def test_a_method_without_labels_is_called_so(tmp_path: Path) -> None:
    found = run("surrogate")
    assert "by design, nothing in this method knows what is right" in found["advice"][0]
    assert entry(found, "format_only")["mixes"]["all right"]["grade"] == "pays"
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"q{i}"}) + "\n" for i in range(3)))
    bare = ["task.name=table", f"task.path={data}", "task.split=all", "task.answer=null"]
    assert {hack["verdict"] for hack in run("surrogate", *bare)["hacks"]} == {"unknown"}
    with pytest.raises(BadInput, match="no gold answers"):
        run("grpo", *bare)


def test_real_answers_tags_and_prefilled_templates(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    golds = [r"\frac{1}{2}", "x^2+1", "3, 4", r"\sqrt{2}", "8"]
    data.write_text("".join(json.dumps({"prompt": g, "answer": g}) + "\n" for g in golds))
    table = ["task.name=table", f"task.path={data}", "task.split=all"]
    for extra in ([], ["verifier.format=answer_tag", "model.think_prefilled=true"]):
        found = run("grpo", *table, *extra)
        assert found["pays"] == found["leaks"] == []
        assert len(found["problems"]) == len(golds)
        right = {hack["name"] for hack in found["hacks"] if hack["verdict"] == "right"}
        assert right == {"stall_to_cap", "hidden_answer"}


def test_data_whose_answers_are_never_right_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "q", "answer": "(("}\n')
    with pytest.raises(BadInput, match=r"in none of 1 problems.*kind=math"):
        run("grpo", "task.name=table", f"task.path={data}", "task.split=all")


def test_the_same_twice() -> None:
    assert run("adaptive_thinking") == run("adaptive_thinking")


@pytest.mark.parametrize("size", [2, 3, 16])
def test_any_group_size(size: int) -> None:
    found = run("grpo", f"trainer.num_generations={size}")
    assert found["pays"] == found["leaks"] == []
    assert ("lucky_guess" in {hack["name"] for hack in found["hacks"]}) == (size > 3)


def test_lengths_are_those_asked_for() -> None:
    writer = Writer(right="4", wrong="5", other="6")
    assert [writer.solve("4", n).tokens for n in (9, 90, 4096)] == [9, 90, 4096]
    assert writer.solve("4", 1).tokens == 8  # the tags and the box need that many
    cut = writer.solve("4", 90).cut(50)
    assert (cut.tokens, cut.ended, len(cut.text)) == (50, False, 200)
    assert Completion("").tokens == 1
    asks = [Ask(cap=1000), Ask(1000, goal=400), Ask(1000, word="short"), Ask(1000, goal=900)]
    assert [(a.right, a.wrong, a.late, a.unasked) for a in asks] == [
        (400, 500, 2000, None),
        (160, 200, 600, 800),
        (100, 125, 2000, 900),
        (360, 450, 2000, None),
    ]


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "found.json"
    assert main(["attack", "length_penalty", "--json", str(file)]) == 0
    text = capsys.readouterr().out
    assert "wrong_short" in text and "5 of 15 hacks pay" in text and "4 characters" in text
    assert json.loads(file.read_text())["pays"] == entry_names(SHORT)
    assert main(["attack", "length_penalty", "--fail-on-pay"]) == 1
    assert main(["attack", "grpo", "--fail-on-pay"]) == 0
    assert "None of 15 hacks pays" in capsys.readouterr().out
    assert main(["attack", "grpo", "--json", str(tmp_path / "no" / "where.json")]) == 2
    assert main(["attack", "grpo", "trainer.num_generations=1"]) == 2
    assert main(["attack", "dot", "trainer.num_generations=4"]) == 2
    assert "can never fire" in capsys.readouterr().err


def entry_names(names: set[str]) -> list[str]:
    return [hack.name for hack in HACKS if hack.name in names]


def test_it_needs_neither_trl_nor_transformers() -> None:
    code = (
        "import sys; from lenrl.cli import main; assert main(['attack', 'grpo']) == 0; "
        "assert not {'trl', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_start_page_says_what_is_found() -> None:
    page = (ROOT / "docs" / "start.md").read_text()
    said = page[page.index("## Before you train") :]
    lines = re.findall(
        r"^lenrl (attack [^#\n]*?) *# (?:none of (\d+)|(\d+) of (\d+)) pay", said, re.MULTILINE
    )
    assert len(lines) == 3
    for line, tried_of_none, paying, tried in lines:
        _, recipe, *overrides = shlex.split(line)
        found = run(recipe, *overrides)
        assert len(found["pays"]) == int(paying or 0)
        assert len(found["hacks"]) == int(tried or tried_of_none)
    failing = re.search(r"^lenrl (attack .*?--fail-on-pay) +# exit code 1", said, re.MULTILINE)
    assert failing is not None
    assert main(shlex.split(failing[1])) == 1
