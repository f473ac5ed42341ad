"""`lenrl score`: golden files, bad lines, cuts, states, texts."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lenrl.cli import main
from lenrl.config import compose
from lenrl.dryrun.score import score
from lenrl.errors import BadInput

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = [
    "palu_visit1",
    *sorted({p.stem for p in GOLDEN.glob("*.json")} - {"drpo_gradients_grpo_lambda", "palu_visit1"}),
]
GROUP = [
    {"prompt": "q", "length": length, "correct": correct}
    for length, correct in [(1000, True), (2000, True), (3000, False), (4000, True)]
]


def run(recipe: str, rows: Sequence[Any], path: Path, *args: str, **options: Any) -> list[dict[str, Any]]:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return score(compose(recipe, args), path, **options)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state") / "palu.json"


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, tmp_path: Path, state: Path) -> None:
    case = json.loads((GOLDEN / f"{name}.json").read_text())
    overrides, options = [], {}
    words = iter(case["args"])
    for word in words:
        if word == "--step":
            options["step"] = int(next(words))
        elif word in ("--state", "--save-state"):
            assert next(words) == "STATE"
            options["state_in" if word == "--state" else "state_out"] = state
        else:
            overrides.append(word)
            if word.startswith("trainer.max_completion_length="):
                options["max_length"] = int(word.split("=")[1])
    found = run(case["recipe"], case["rows"], tmp_path / "rows.jsonl", *overrides, **options)
    assert case["expected"]
    for field, values in case["expected"].items():
        for line, (row, value) in enumerate(zip(found, values, strict=True), start=1):
            if value is None:
                assert row[field] is None, (line, field)
            else:
                assert float(row[field]) == pytest.approx(value, abs=2e-4), (line, field)


@pytest.mark.parametrize(
    ("recipe", "extra", "rewards"),
    [
        ("grpo", {}, [1, 1, 0, 1]),
        ("lcpo_exact", {"target": 2500}, [0.55, 0.85, -0.15, 0.55]),
        ("lcpo_max", {"target": 2500}, [0.95, 0.65, 0, 0.05]),
        ("kimi", {}, [1.5, 1.1667, -0.1667, 0.5]),
        ("overlong", {}, [1, 1, 0, 0.0938]),
        ("laser", {}, [1.5, 1.5, -0.5, 1]),
        ("efficient", {}, [0.9744, 0.9566, 0, 0.9208]),
        ("shorter_better", {}, [2, 1, -2, -1]),
        ("grpo_lead", {}, [1.0446, 1.011, -1, 0.9469]),
        ("alp", {}, [0.99993, 0.99985, -0.0002, 0.9997]),
        ("gr3", {}, [0.8834, 0.7911, 0, 0.6545]),
        ("length_penalty", {}, [0.7559, 0.5117, -0.7324, 0.0234]),
        ("weighted", {}, [1.5, 1.5, 0, 1.0469]),
        ("range", {"lo": 1500, "hi": 2500}, [0.8333, 1.0, 0.3434, 0.5301]),
        ("tldr", {"level": "short"}, [0.8779, 0.7559, -0.3662, 0.5117]),
        ("adaptive_thinking", {"mode": "short"}, [1.5, 1.5, 0, 1.5]),
        ("dler", {}, [1, 1, 0, 1]),
        ("laser_d", {}, [1.5, 1.5, -0.5, 1.5]),
        ("surrogate", {}, [1.2381, 1.4995, 1.0678, -0.3169]),
    ],
)
def test_every_recipe_on_the_worked_group(
    recipe: str, extra: dict, rewards: list[float], tmp_path: Path
) -> None:
    found = run(recipe, [row | extra for row in GROUP], tmp_path / "rows.jsonl")
    assert [row["reward"] for row in found] == pytest.approx(rewards, abs=1e-4)
    assert list(found[0]) == ["prompt", "length", "correct", "budget", "reward", "advantage"]


GOOD = json.dumps(GROUP[0])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is empty"),
        ([GOOD, "{"], "line 2: not a JSON object"),
        ([GOOD, "", GOOD], "line 2: not a JSON object"),
        ([GOOD, "[1]"], r"line 2: found \[1\]"),
        (['{"length": 3}'], "line 1: field 'prompt' is missing"),
        (['{"prompt": "q"}'], "line 1: field 'length' is missing"),
        ([{"prompt": 3, "length": 3}], "line 1: field 'prompt' is 3"),
        ([{"prompt": "q", "length": True}], "line 1: field 'length' is True.*integer"),
        ([{"prompt": "q", "length": 3.0}], "field 'length' is 3.0"),
        ([{"prompt": "q", "length": -1}], "field 'length' is -1.*at least 0"),
        ([{"prompt": "q", "length": 10**20}], "field 'length' is 1000"),
        (['{"prompt": "q", "length": NaN}'], "line 1.*NaN is not"),
        ([GROUP[0] | {"correct": 1}], "field 'correct' is 1.*true, false or null"),
        ([GROUP[0] | {"correct": "yes"}], "field 'correct' is 'yes'"),
        ([GROUP[0] | {"truncated": 0}], "field 'truncated' is 0"),
        ([GROUP[0] | {"mean_logp": "x"}], "field 'mean_logp' is 'x'"),
        ([GROUP[0] | {"target": 0}], "field 'target' is 0.*above 0"),
        ([GROUP[0]], "line 1: prompt 'q' has 1 completion"),
        (
            [GROUP[0], GROUP[1], GROUP[2] | {"prompt": "p"}],
            "line 3: prompt 'p' has 1 completion; a group needs 2",
        ),
        ([GROUP[0], {"prompt": "q", "length": 5}], "line 2: field 'correct' is missing"),
    ],
)
def test_bad_lines(lines: list, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message):
        run("grpo", lines, tmp_path / "rows.jsonl")


def test_bad_bytes_and_missing_files(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(GOOD.encode() + b'\n{"prompt": "\xff"}\n')
    with pytest.raises(BadInput, match="line 2: not UTF-8"):
        score(compose("grpo"), file)
    with pytest.raises(BadInput, match="No such file"):
        score(compose("grpo"), tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("drpo", "line 1: field 'mean_logp' is missing"),
        ("lcpo_exact", "line 1: field 'target' is missing"),
        ("range", "line 1: field 'lo' is missing"),
        ("tldr", "line 1: field 'level' is missing"),
        ("dot", "can never fire with G=4"),
    ],
)
def test_what_a_method_needs(recipe: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message):
        run(recipe, GROUP, tmp_path / "rows.jsonl")


def test_nothing_is_written_before_all_has_succeeded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, state_file = tmp_path / "rows.jsonl", tmp_path / "state.json"
    line = ["score", "palu", str(file), "--save-state", str(state_file)]
    file.write_text(GOOD + "\n" + GOOD + "\n{\n")
    assert main(line) == 2
    assert capsys.readouterr().out == ""
    assert not state_file.exists()
    file.write_text(GOOD + "\n" + GOOD + "\n")
    assert main(line) == 0
    assert [json.loads(row)["budget"] for row in capsys.readouterr().out.splitlines()] == [4096.0, 4096.0]
    assert json.loads(state_file.read_text())["budget"]["prompts"]["q"]["visits"] == 1


def test_unknown_verdicts_are_left_out(tmp_path: Path) -> None:
    found = run("grpo", [*GROUP, {"prompt": "q", "length": 9, "correct": None}], tmp_path / "rows.jsonl")
    assert found[4]["correct"] is None
    assert found[4]["reward"] is None
    assert found[4]["advantage"] == 0
    assert found[2]["advantage"] == pytest.approx(-1.4997, abs=1e-4)


def test_a_graded_verdict_pays_its_score(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "length": 100, "correct": True, "score": 0.9},
        {"prompt": "q", "length": 200, "correct": False, "score": 0.25},
        {"prompt": "q", "length": 300, "correct": True},
    ]
    file = tmp_path / "rows.jsonl"
    assert [row["reward"] for row in run("grpo", rows, file, "reward=graded")] == [0.9, 0.25, 1.0]
    assert [row["reward"] for row in run("grpo", rows, file)] == [1, 0, 1]
    del rows[0]["correct"]
    with pytest.raises(BadInput, match="line 1: field 'score' is 0.9 and 'correct' is missing"):
        run("grpo", rows, file, "reward=graded")


READER = """from lenrl.rollouts import RewardResult
from lenrl.strategies.base import Reward
from lenrl.strategies.columns import step_rewards


class Heard(Reward):
    name = "heard"
    reads = ("text", "token_ids", "answer", "gold", "prompt", "steps")
    rewards_tokens = True

    def __call__(self, rollouts):
        heard = rollouts.prompt_P, rollouts.gold_P, rollouts.answer_PG, rollouts.text_PG, rollouts.token_ids_PG
        assert heard == (("q",), ("7",), (("7", None),), (("so 7", "no"),), (((5, 6, 7), (8, 9)),)), heard
        return RewardResult.of_tokens(step_rewards(rollouts))
"""


def test_what_a_strategy_reads_comes_from_the_lines(tmp_path: Path) -> None:
    plugin, file = tmp_path / "heard.py", tmp_path / "rows.jsonl"
    plugin.write_text(READER)
    common = {"prompt": "q", "answer": "7"}
    right = {"length": 3, "correct": True, "text": "so 7", "extracted": "7", "token_ids": [5, 6, 7]}
    wrong = {"length": 2, "correct": False, "text": "no", "extracted": None, "token_ids": [8, 9]}
    rows = [common | right | {"steps": [[0.5, 1], [1.0, 3]]}, common | wrong | {"steps": []}]

    def heard(*overrides: str) -> list[dict[str, Any]]:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return score(compose("grpo", ["reward=heard", *overrides], [plugin]), file)

    assert [row["reward"] for row in heard("advantage=process")] == [1.5, 0]
    with pytest.raises(
        BadInput, match="line 1: the completion of 3 tokens is cut to 2, and a strategy reads its text"
    ):
        heard("budget={name: stages, caps: [2]}", "truncation=hard_cap")
    for field, value, message in [
        ("text", None, "line 2: field 'text' is missing; a strategy's reads name 'text'"),
        ("token_ids", [1], "line 2: field 'token_ids' has 1 values, and `length` is 2"),
        ("steps", [[0.5, 3]], r"line 2: field 'steps' ends at tokens \[3\], and `length` is 2"),
        ("steps", "no", "line 2: field 'steps' is 'no'; it must be a list"),
    ]:
        rows[1] = common | wrong | {"steps": [], field: value}
        with pytest.raises(BadInput, match=message):
            heard()


def test_groups_of_each_size_are_scored_as_if_they_were_alone(tmp_path: Path) -> None:
    other = [{"prompt": "p", "length": n, "correct": c} for n, c in ((10, True), (30, False), (20, True))]
    mixed, file = [GROUP[0], *other, *GROUP[1:]], tmp_path / "rows.jsonl"
    for recipe in ("grpo", "kimi", "palu", "weighted"):
        found = run(recipe, mixed, file)
        assert [found[0], *found[4:]] == run(recipe, GROUP, file), recipe
        assert found[1:4] == run(recipe, other, file), recipe
    run("palu", mixed, file, state_out=tmp_path / "state.json")
    state = json.loads((tmp_path / "state.json").read_text())["budget"]["prompts"]
    assert {name: entry["visits"] for name, entry in state.items()} == {"p": 1, "q": 1}


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        ("grpo_lambda", [], "3 to 4 completions, and reward 'grpo_lambda' looks at the batch as a whole"),
        ("laser_d", [], "reward 'laser_d'"),
        ("grpo", ["advantage=batch_whitened"], "advantage 'batch_whitened'"),
        ("efficient", ["advantage.whiten=true"], "advantage 'rloo'"),
        ("weighted", ["reward.parts=[{name: grpo_lambda}]"], "reward 'weighted'"),
        ("dot", ["sampling=uniform"], "can never fire with G=3"),
    ],
)
def test_a_method_that_needs_equal_groups_says_so(
    recipe: str, overrides: list[str], message: str, tmp_path: Path
) -> None:
    rows = [*GROUP, *({"prompt": "p", "length": 9, "correct": True} for _ in range(3))]
    with pytest.raises(BadInput, match=message):
        run(recipe, rows, tmp_path / "rows.jsonl", *overrides)


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def pipe(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    pipe("".join(json.dumps(row) + "\n" for row in GROUP))
    assert main(["score", "kimi", "-", "reward.weight=0.4"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found == score(compose("kimi", ["reward.weight=0.4"]), GROUP)
    pipe("")
    assert main(["score", "kimi", "-"]) == 2
    assert "standard input is empty" in capsys.readouterr().err


def test_figures_are_those_of_a_training_run(tmp_path: Path) -> None:
    """Of groups of each size: 2 and 1000 tokens right, 3000 wrong, then two of one length."""
    rows = [
        {"prompt": "a", "length": length, "correct": right, "thinking_tokens": 600}
        for length, right in ((2000, True), (1000, True), (3000, False))
    ]
    rows += [{"prompt": "b", "length": 10, "correct": right} for right in (True, False)]
    two, three = run("kimi", rows, tmp_path / "rows.jsonl", figures=True)
    assert (three["groups"], three["size"], three["accuracy"]) == (1, 3, pytest.approx(2 / 3))
    assert three["length_accuracy_corr"] == pytest.approx(-(0.75**0.5))
    assert (three["tokens_thinking_mean"], three["tokens_answer_mean"]) == (600, 1400)
    assert three["penalty_applied_share"] > 0 and three["correct_wiped_share"] == 0
    assert two["length_accuracy_corr"] is None and two["tokens_thinking_mean"] is None


def test_groups_need_not_be_adjacent(tmp_path: Path) -> None:
    other = [row | {"prompt": "p", "length": 10} for row in GROUP]
    mixed = [row for pair in zip(GROUP, other, strict=True) for row in pair]
    found = run("kimi", mixed, tmp_path / "rows.jsonl")
    assert found[0::2] == run("kimi", GROUP, tmp_path / "rows.jsonl")


def test_a_cut_uses_answer_length(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "length": 900, "correct": True, "answer_length": 500},
        {"prompt": "q", "length": 900, "correct": True, "answer_length": 501},
        {"prompt": "q", "length": 900, "correct": None, "answer_length": 800},
        {"prompt": "q", "length": 400, "correct": True, "text": "no answer here", "answer": "3"},
    ]
    found = run("palu", rows, tmp_path / "rows.jsonl", max_length=500)
    assert [row["length"] for row in found] == [500, 500, 500, 400]
    assert [row["correct"] for row in found] == [True, False, None, True]


def test_a_capped_row_counts_as_truncated(tmp_path: Path) -> None:
    rows = [GROUP[0] | {"answer_length": 10}, GROUP[0] | {"length": 90}]
    found = run("thinkprune", rows, tmp_path / "rows.jsonl", "reward=dler", "budget.caps=[100]")
    assert [(row["length"], row["reward"]) for row in found] == [(100, 0.0), (90, 1.0)]


def test_step_is_the_number_of_completed_steps(tmp_path: Path) -> None:
    for step, budget in ((0, 256.0), (149, 256.0), (150, 179.0), (2000, 87.0)):
        found = run("curriculum", GROUP, tmp_path / "rows.jsonl", step=step)
        assert {row["budget"] for row in found} == {budget}


def test_verdicts_and_format_come_from_texts(tmp_path: Path) -> None:
    texts = [r"<think>2+2</think> \boxed{4}", r"\boxed{5}", r"<think>\boxed{4}", "four"]
    rows = [{"prompt": "q", "length": 10, "text": text, "answer": "4"} for text in texts]
    found = run("laser", rows, tmp_path / "rows.jsonl")
    assert [row["correct"] for row in found] == [True, False, False, False]
    assert [row["reward"] for row in found] == [1.5, -0.5, -1.0, -1.0]
    label_free = [{k: v for k, v in row.items() if k != "answer"} for row in rows]
    found = run("surrogate", label_free, tmp_path / "rows.jsonl")
    assert [row["reward"] > 0 for row in found] == [True, True, False, False]
    assert {row["correct"] for row in found} == {None}


def test_a_verifier_of_one_s_own_judges_texts_by_prompt_and_columns_without_answers(tmp_path: Path) -> None:
    file = tmp_path / "logged_of_this_test.py"
    file.write_text(
        "from lenrl.verify.base import VerifierPlugin\n\n\nclass Logged(VerifierPlugin):\n"
        "    name = 'logged_of_this_test'\n    needs_gold = False\n    reads_columns = ('prompt', 'unit')\n\n"
        "    def judge(self, text, answer, gold, columns):\n"
        "        return text == f\"{columns['prompt']} {columns['unit']}\"\n"
    )
    rows = [{"prompt": "q", "length": 10, "text": text, "unit": "m"} for text in ("q m", "q s")]
    recipe = compose("grpo", ["verifier.kind=logged_of_this_test"], [file])
    assert [row["correct"] for row in score(recipe, rows)] == [True, False]


def test_a_bad_state_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    entry = '{"budget": {"prompts": {"q": {"pass_rate": 0.5, "visits": %s, "budget": %s, "quantile": %s}}}}'
    for text, message in [
        ("{", "not JSON"),
        ("[]", "object"),
        ('{"budgets": {}}', "budgets"),
        ('{"budget": {"prompts": {"q": {}}}}', "refused"),
        (entry % ("null", 3, "null"), "visits of prompt 'q' is None, must be a whole number of at least 0"),
        (entry % (1, "true", "null"), "budget of prompt 'q' is True"),
        (entry % (1, 3, '"0.5"'), "quantile of prompt 'q' is '0.5', must be a number from 0"),
        (entry % (1, 3, "1e999"), "quantile of prompt 'q' is inf"),
    ]:
        file.write_text(text)
        with pytest.raises(BadInput, match=message):
            run("palu", GROUP, tmp_path / "rows.jsonl", state_in=file)
    with pytest.raises(BadInput, match="keeps no state"):
        file.write_text('{"budget": {"prompts": {}}}')
        run("grpo", GROUP, tmp_path / "rows.jsonl", state_in=file)


def test_scoring_twice_with_one_recipe_gives_the_same(tmp_path: Path) -> None:
    recipe, file = compose("palu"), tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row | {"correct": True}) + "\n" for row in GROUP))
    assert score(recipe, file) == score(recipe, file)


def test_ten_thousand_rows_are_quick(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [row | {"prompt": f"q{i}"} for i in range(2500) for row in GROUP]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code = (
        f"import sys; from lenrl.cli import main; assert main(['score', 'grpo_lambda', {str(file)!r}]) == 0; "
        "assert not {'trl', 'transformers'} & set(sys.modules)"
    )
    start = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10_000
    spent = os.times()
    seconds = spent.children_user + spent.children_system - start.children_user - start.children_system
    assert seconds < 10  # of CPU time, start-up included: the machine may have other work
