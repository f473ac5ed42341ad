"""Every generator of reasoning-gym is a task by name, and its own gold answers are right."""

import json
import re
from contextlib import suppress
from decimal import Decimal
from functools import cache

import pytest

from lenrl.cli.eval import divide
from lenrl.errors import BadInput
from lenrl.evaluation.evaluate import evaluate
from lenrl.evaluation.settings import EvalSettings
from lenrl.tasks import GymTask, build
from lenrl.verify import gym_scorer as gym
from lenrl.verify.gym_scan import evaluators
from lenrl.verify.limits import TooBig

factory = pytest.importorskip("reasoning_gym.factory")

# Any valid solution is right, and none is given: only wrong answers can be tried here.
WITHOUT_ANSWER = {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}
MIXES_OTHERS = {"composite"}  # takes objects as options; name its parts one by one
GENERATORS = sorted(factory.DATASETS.keys() - MIXES_OTHERS)


@cache
def first(name):
    """The gold column and the entry of a generator's first problem."""
    [problem] = GymTask(generator=name, test=1).problems("test")
    assert problem.answer
    return problem.answer, json.loads(problem.answer)


def test_the_exceptions_exist():
    assert factory.DATASETS.keys() > WITHOUT_ANSWER | MIXES_OTHERS
    for config in ({}, {"datasets": [{"name": "chain_sum", "weight": 1.0}]}):
        with pytest.raises(BadInput, match="refused by generator 'composite'"):
            GymTask(generator="composite", test=1, config=config).problems("test")


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generators_own_answer_is_right_and_another_is_wrong(name):
    gold, spec = first(name)
    assert gym.known(gold)
    answer = spec["entry"]["answer"]
    assert (answer is None) == (name in WITHOUT_ANSWER)
    if answer is not None:
        assert gym.score(str(answer), gold) == (True, True)
    assert gym.score("no answer at all", gold)[0] is False
    assert gym.score(None, gold) == (False, False)


def test_a_scorer_reads_its_generators_options():
    """That of decimal arithmetic allows an error in the last of the places asked for, by default three."""
    config = {"min_num_decimal_places": 1, "max_num_decimal_places": 1}
    [problem] = GymTask(generator="decimal_arithmetic", test=1, config=config).problems("test")
    assert problem.answer is not None
    gold = json.loads(problem.answer)
    near = str(Decimal(gold["entry"]["answer"]) + Decimal("0.05"))
    assert gym.score(near, problem.answer) == (True, True)
    assert gym.score(near, json.dumps(gold | {"config": {}})) == (False, True)


def test_a_generator_is_evaluated_by_name():
    words = ["task=gym", "task.generator=leg_counting", "task.test=4"]
    task = divide(["tiny", *words])[1]
    assert build(task).name == "gym"
    [entry] = evaluate(["tiny"], task, EvalSettings(max_new_tokens=16, verifier={"workers": 1}))["models"]
    assert (entry["task"], entry["prompts"], entry["unknown"]) == ("leg_counting", 4, 0)
    assert "reasoning-gym" in entry["fingerprint"]["versions"]
    assert entry["fingerprint"]["verifier"]["kind"] == "gym"


def test_chosen_templates_take_turns_and_splits_share_no_numbers():
    task = GymTask(generator="gsm_symbolic", templates=(43, 31), difficulty="template", seed=3)
    drawn = {split: task.problems(split, 40) for split in ("sft", "train", "dev", "test")}
    numbers = {
        split: {(p.difficulty, *re.findall(r"\d+", p.prompt)) for p in problems}
        for split, problems in drawn.items()
    }
    assert all({p.difficulty for p in problems} == {43, 31} for problems in drawn.values())
    assert not any(numbers[a] & numbers[b] for a in numbers for b in numbers if a < b)
    assert drawn["test"] == task.problems("test", 60)[:40]
    assert gym.score(json.loads(drawn["test"][0].answer)["entry"]["answer"], drawn["test"][0].answer) == (
        True,
        True,
    )
    assert "pencil" in "".join(p.prompt for p in drawn["train"])


def test_templates_that_are_wrong_or_of_another_generator_are_refused():
    with pytest.raises(BadInput, match=r"\[32\] are none of the 85 that reasoning-gym holds for right"):
        GymTask(generator="gsm_symbolic", templates=(43, 32)).problems("test", 1)
    for options in (
        {"generator": "chain_sum", "templates": (43,)},
        {"generator": "gsm_symbolic", "templates": (4, 4)},
    ):
        with pytest.raises(ValueError, match="templates"):
            GymTask(**options)
    with pytest.raises(ValueError, match="unknown"):
        GymTask(generator="gsm_symbolic").problems("sft", 1)


# --- nothing that a model or a file wrote is evaluated, and nothing pays that answers no question


def payloads(canary):
    """Texts that make a file if anything evaluates them, in the ways that text can be quoted."""
    call = f"open({str(canary)!r}, 'w')"
    spelled = "+".join(f"chr({ord(c)})" for c in call)
    dotted = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    return [
        call, dotted, f"({call})", f"[{call}]", f"[[{call}]]", f"({call},)", f"{{{call}: 1}}", f"1+{call}", f"C*{call}",
        f"{call}+C", f"eval({call!r})", f"exec({spelled})", f"'exec({spelled})'", f'"exec({spelled})"',
        f"\"\"\"{call}\"\"\"", f"'{call}'".replace("', '", '", "'), json.dumps(call), json.dumps([call, call]),
        json.dumps({"a": call}), f"S({call!r})", f"sympify({call!r})", f"sin({call!r})", f"Integer('exec({spelled})')",
        f"'exec({spelled})'+x", f"('exec({spelled})')", f"['exec({spelled})']", f"x if {call} else x",
        f"lambda: {call}",
        f"(lambda: {call})()", f"[{call} for _ in [0]]", f"f'{{{call}}}'", f"(y:={call})", f"x**{call}", f"-{call}",
        f"print({call})", f"{call} -> {call}", f"A={call},B=1", f"\\frac{{{call}}}{{2}}", f"7 # {call}",
        f"{call}\n{call}",
        "".join(f"\\x{ord(c):02x}" for c in call), "'" + "".join(f"\\u{ord(c):04x}" for c in call) + "'",
    ]  # fmt: skip


def poisoned(value, text):
    """The value with the text in place of each of its texts."""
    if isinstance(value, dict):
        return {name: poisoned(item, text) for name, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, text) for item in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize("name", GENERATORS)
def test_nothing_is_executed_whatever_the_answer_or_the_gold_column_say(name, tmp_path):
    canary = tmp_path / "canary"
    gold, spec = first(name)
    for text in payloads(canary):
        assert gym.score(text, gold) in ((False, True), (False, False)), text
    for text in payloads(canary)[:12]:
        hostile = [
            {**spec, "entry": {**spec["entry"], "answer": text}},
            {**spec, "entry": poisoned(spec["entry"], text)},
            {"dataset": name, "seed": 1, "index": 0, "config": {"operators": [text], "min_value": text}},
        ]
        for one in hostile:
            gym.score("7", json.dumps(one))
            gym.score(text, json.dumps(one))
    assert not canary.exists()


def test_a_generators_options_in_a_gold_column_can_hold_no_call(tmp_path):
    """basic_arithmetic evaluates the expression that it builds of its operators."""
    canary = tmp_path / "canary"
    spec = {"dataset": "basic_arithmetic", "seed": 1, "index": 0, "config": {"operators": ["+"]}}
    assert gym.known(json.dumps(spec))
    spec["config"]["operators"] = [f"+ (open({str(canary)!r}, 'w') and 1) +"]
    assert not gym.known(json.dumps(spec)) and not canary.exists()


def test_a_scorer_that_evaluates_and_is_not_ours_is_refused(monkeypatch):
    for name in ("countdown", "number_sorting", "n_queens"):
        monkeypatch.delitem(gym.OWN, name)
        gym.known.cache_clear()
        with pytest.raises(BadInput, match="its scorer may run what a model wrote .*(parse_expr|eval) in"):
            GymTask(generator=name, test=1).problems("test")
        assert not gym.known(json.dumps({"dataset": name, "seed": 1, "index": 0}))
    gym.known.cache_clear()


def test_the_look_through_the_scorers_finds_what_they_call():
    found = {name for name, (kind, _) in factory.DATASETS.items() if evaluators(kind)}
    assert found == {
        "binary_matrix", "bitwise_arithmetic", "countdown", "intermediate_integration", "n_queens", "number_sorting",
        "polynomial_multiplication", "puzzle24", "simple_integration", "spiral_matrix", "string_insertion",
    }  # fmt: skip
    assert found <= gym.OWN.keys()
    calls = evaluators(factory.DATASETS["bitwise_arithmetic"][0])
    assert calls == ("eval in verify_solution",), "a function that the scorer calls"


HOSTILE = [
    "", " ", "0", "1", "-1", "2", "42", "nan", "NaN", "nan+nanj", "nanj", "-nan", "inf", "-inf", "Infinity", "1e999",
    "-1e999", "1e-999", "0.", "0.0", ".", "9" * 400, "{}", "[]", "[[]]", "()", "[[[]]]", "null", "None", "true",
    "false", "True", "False", "yes", "no", "Yes", "No", "maybe", '""', "''", '"nan"', "0/0", "1/0", "[NaN]", "[[NaN]]",
    '{"a": 1}', '{"a": NaN}', "x", "C", "Integral(x, x)", "A", "A=A", "?", "...", "1*2*3*4", "(10-4)*4*1", "\x00",
    "\n", "\ud800", "1j", "True and True", "P -> P", "(P ∨ ¬P)", "lambda: 0", "[None]", "{}{}", "-", "=", ",", ",,,",
    "A,A", "up", "0 0", "\t", "$\\frac{0}{0}$", "0,0", "(0,0)", "not a number", "[" * 500, "-" * 500, "1" * 5000,
]  # fmt: skip


def plain(text):
    """The meaning of a short answer: a number, a truth value, or words."""
    text = text.strip().casefold()
    try:
        return float(text.replace(",0", ""))
    except ValueError:
        return {"yes": "true", "no": "false"}.get(text, text)


@pytest.mark.parametrize("name", GENERATORS)
def test_no_constant_is_right_unless_it_is_the_answer(name):
    gold, spec = first(name)
    own = spec["entry"]["answer"]
    for text in HOSTILE:
        correct, _ = gym.score(text, gold)
        assert correct is not None, f"{text!r} escapes"
        assert not correct or own is not None and plain(text) == plain(str(own)), (text, own)


@pytest.mark.parametrize("name", GENERATORS)
def test_an_answer_whose_numbers_are_none_is_wrong(name):
    gold, spec = first(name)
    own = str(spec["entry"]["answer"])
    for number in ("nan", "NaN", "inf", "Infinity", "1e999", "-1e999"):
        text = re.sub(r"-?\d+(?:\.\d+)?", number, own)
        if text != own:
            assert gym.score(text, gold)[0] is False, text


@pytest.mark.parametrize(
    ("name", "metadata", "gold", "right", "wrong"),
    [
        ("coin_flip", {}, "0.03125", ["0.03125", "1/32", "0.031250", "0.0313"], ["0", "0.0", "0.03", "0.0311", "3"]),
        ("game_of_life_halting", {}, "False", ["False", "false"], ["True", "F", "no cells", "False True"]),
        ("gsm_symbolic", {}, "1348", ["1348", "1,348", "$1348", "1348 apples", "1348.0", "1348."],
         ["-1348", "−1348", "minus 1348", "not 1348", "1348 or 7", "1348 7", "1348%", "1348/2", "1348^2", "x=1348"]),
        ("gsm_symbolic", {}, "-5", ["-5", "−5"], ["5"]),
        ("puzzle24", {"numbers": [6, 4, 1, 1]}, "6*4*1/1", ["6*4*1/1", "(6*4)/1*1", "4*6*(1/1)"],
         ["1*2*3*4", "6*4", "24", "6*4*1*1*1", "6*4+1*1", "int(24.9)", "6*4*1//1", "641 - 617 # 6 4 1 1"]),
        ("countdown", {"numbers": [3, 5, 7], "target": 8}, "3*5-7", ["3*5-7", "(5*3)-7"],
         ["8", "15-7", "3*5-7*1", "3+5", "3*5-7+0", "3*5-7 + 0*35", "35-27 # 3 5 7"]),
        ("number_sorting", {"direction": "ascending"}, "['-1.5', '2', '8']", ["[-1.5, 2, 8]", "['-1.5', '2.0', '8']"],
         ["[NaN, NaN, NaN]", "[-1, 2, 8]", "[-1.5, 2]", "[2, -1.5, 8]", "[-1.5, 2, 8, 9]", "7"]),
        ("complex_arithmetic", {"result": [4.0, -2.0]}, "4.0 - 2.0i", ["4-2i", "4.0 - 2.0j", "(4 - 2i)"],
         ["nan", "nan+nanj", "4", "4+2i", "inf", "4-2i0"]),
        ("simple_integration", {"variable": "x", "integrand": "2*x + cos(x)"}, "x**2 + sin(x) + C",
         ["x**2 + sin(x)", "sin(x) + x*x + 7", "C + x**2 + sin(x)"],
         ["Integral(2*x + cos(x), x)", "integrate(2*x + cos(x), x)", "x**2", "2*x + cos(x)", "x^2 + sin(x)"]),
        ("polynomial_multiplication", {}, "x**2 + 3*x + 2", ["x**2 + 3*x + 2", "2 + 3*x + x*x"],
         ["(x+1)*(x+2)", "x**2", "expand((x+1)*(x+2))", "2**99999999", "y**2 + 3*y + 2"]),
        ("bitwise_arithmetic", {"problem": "open('x', 'w')"}, "0xff", ["0xff", "0xFF", "255", "0b11111111"],
         ["ff", "0xfe", "255.0", ""]),
    ],
)  # fmt: skip
def test_scorers_of_our_own(name, metadata, gold, right, wrong):
    column = json.dumps({"dataset": name, "entry": {"question": "", "answer": gold, "metadata": metadata}})
    assert gym.known(column)
    assert [text for text in right if gym.score(text, column) != (True, True)] == []
    with suppress(TooBig):  # the last one of a list may be beyond a limit
        assert [text for text in wrong if gym.score(text, column)[0] is not False] == []


def test_what_a_scorer_prints_stays_off_the_terminal(capfd):
    gold, _ = first("tower_of_hanoi")
    assert gym.score("Move disk 1 from Peg 2 to Peg 30\x1b[2J", gold)[0] is False
    assert capfd.readouterr() == ("", "")
