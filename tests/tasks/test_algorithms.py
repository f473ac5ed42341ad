"""Problems whose difficulty is the length of their input: answers, traces, splits."""

import random
from collections import Counter
from itertools import combinations

import pytest
from pydantic import ValidationError
from rich.console import Console

from lenrl.evaluation.evaluate import evaluate
from lenrl.evaluation.settings import EvalSettings
from lenrl.report import summary
from lenrl.tasks import build
from lenrl.tasks.algorithm_steps import ALGORITHMS, Instance
from lenrl.tasks.algorithms import AlgorithmsTask
from lenrl.tasks.problem import Problem
from lenrl.verify.claims import Claim
from lenrl.verify.several import verifier_of

BITS = Instance(("0", "1", "1"), first=5)
ADDED = Instance(("78", "54"), first=3)  # 57 + 48 = 105, the last digits first
TOKENS = Instance(("<12>", "<3>", "<40>"))
ASCENDING = ("<2>", "<5>", "<9>", "<11>")


@pytest.mark.parametrize(
    ("name", "one", "prompt", "answer", "tail"),
    [
        ("parity", BITS, "<5>0<6>1<7>1?", "0", "<5>00=0;<6>10=1;<7>11=0;"),
        ("addition", ADDED, "<3>7<4>5+<3>8<4>4?", "501", "<3>78c0=5c1;<4>54c1=0c1;"),
        ("copy", Instance(("4", "4")), "44?", "44", "4=4;4=4;"),
        ("count", Instance(("a", "b", "a"), "a", 0), "a:<0>a<1>b<2>a?", "2", "<0>ac0=c1;<1>bc1=c1;<2>ac1=c2;"),
        ("mode", Instance(("c", "c")), "cc?", "c", "ca0b0c0=a0b0c1;ca0b0c1=a0b0c2;"),
        ("sort", TOKENS, "<12><3><40>?", "<3><12><40>", "><3>;<3>><12>;<12>><40>;"),
        ("robber", Instance(("3", "2", "3", "1")), "3231?", "6", "3t0s0=t3s0;2t3s0=t2s3;3t2s3=t6s3;1t6s3=t4s6;"),
        ("search", Instance(ASCENDING, "<9>"), "<9>:<2><5><9><11>?", "2", "0,3,1:<5><2,3;2,3,2:<9>=2;"),
        ("search", Instance(ASCENDING, "<1>"), "<1>:<2><5><9><11>?", "none", "0,3,1:<5>>0,0;0,0,0:<2>>none;"),
    ],
)  # fmt: skip
def test_worked_examples(name, one, prompt, answer, tail):
    algorithm = ALGORITHMS[name]
    assert (algorithm.prompt(one), algorithm.answer(one)) == (prompt, answer)
    assert algorithm.trace(one, "tail") == tail
    assert algorithm.trace(one, "answer") == ""


def test_shorter_traces_leave_out_what_a_step_reads():
    assert ALGORITHMS["parity"].trace(BITS, "plain") == "010"
    assert ALGORITHMS["parity"].trace(BITS, "hint") == "<5>0<6>1<7>0"
    assert ALGORITHMS["addition"].trace(ADDED, "hint") == "<3>5c1<4>0c1"


def test_the_auxiliary_problem_is_one_fetch_or_one_successor():
    asked = {ALGORITHMS["parity"].auxiliary(BITS, random.Random(seed)) for seed in range(20)}
    assert asked == {(f"<5>0<6>1<7>1?<{5 + place}>", bit) for place, bit in enumerate("011")}
    asked = {ALGORITHMS["sort"].auxiliary(TOKENS, random.Random(seed)) for seed in range(20)}
    assert asked == {("<12><3><40>?<3>", "<12>"), ("<12><3><40>?<12>", "<40>")}
    one = Instance(ASCENDING, "<1>")
    asked = {ALGORITHMS["search"].auxiliary(one, random.Random(seed)) for seed in range(30)}
    assert asked == {(f"<1>:<2><5><9><11>?{place}", item) for place, item in enumerate(ASCENDING)}


def test_a_search_takes_as_many_steps_as_its_elements_can_be_halved():
    task, algorithm = AlgorithmsTask(algorithm="search", lengths=(4, 8, 32)), ALGORITHMS["search"]
    most = dict.fromkeys(task.lengths, 0)
    for one in task.instances("test", 300):
        most[len(one.items)] = max(most[len(one.items)], len(algorithm.steps(one)))
    assert most == {4: 3, 8: 4, 32: 6}
    answers = [problem.answer for problem in task.problems("test", 300)]
    assert 50 < answers.count("none") < 100


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("hints", [True, False])
def test_attempts_in_every_form_are_read(name, hints):
    task, algorithm = AlgorithmsTask(algorithm=name, hints=hints), ALGORITHMS[name]
    for one, problem in zip(task.instances("test", 20), task.problems("test", 20), strict=True):
        passes = [algorithm.trace(one, form) for form in ("plain", "hint", "tail")]
        read = task.attempts(problem, "\nWait\n".join(passes), problem.answer)
        count = len(algorithm.steps(one))
        assert [(len(steps), failed) for steps, failed in read] == [(count, False)] * 3
        assert [failed for _, failed in task.attempts(problem, passes[0], None)] == [True], "no answer"
        if count > 1:
            cut = task.attempts(problem, passes[2][: passes[2].index(";") + 1], problem.answer)
            assert [(len(steps), failed) for steps, failed in cut] == [(1, True)]


@pytest.mark.parametrize(
    ("thinking", "answer", "steps", "failed"),
    [
        ("<5>00=0;<6>10=1;<7>11=0;", "0", 3, False),
        ("<5>00=0;<6>10=0;<7>10=1;", "0", 3, True),  # a slip: another result
        ("<5>00=0;<6>10=0;<7>10=1;", " 1 ", 3, False),  # and the answer that follows from it
        ("<5>00=0;<6>10=1;<7>10=0;", "0", 3, True),  # does not go on from its own state
        ("<5>00=0;<6>00=1;<7>11=0;", "0", 3, True),  # another element than stands there
        ("<5>00=0;<7>10=0;", "0", 2, True),  # one is left out
        ("<5>0<6>1\n<7>0", "0", 3, False),
        ("<5>0 hm <6>1<7>0", "0", 4, True),
        ("0101", "0", 4, True),
        ("let me think", "0", 1, True),
    ],
)
def test_an_attempt_fails_where_it_breaks_or_ends_in_another_answer(thinking, answer, steps, failed):
    problem = Problem("q", ALGORITHMS["parity"].prompt(BITS), "0")
    [(found, lost)] = AlgorithmsTask().attempts(problem, thinking, answer)
    assert (len(found), lost) == (steps, failed)


@pytest.mark.parametrize(
    ("thinking", "answer", "steps", "failed"),
    [
        ("<2,3=2", "2", 2, False),  # without what a step reads
        ("0,3,1:<5>>0,0;0,0,0:<2><none;", "none", 2, False),  # a slip, and the answer that follows
        ("0,3,1:<5><2,3;2,3,3:<11>>2,2;2,2,2:<9>=2;", "2", 3, True),  # not the middle
        ("0,3,1:<5><2,3;", "2", 1, True),
        ("0,3,1:<5><40,50;40,50,45:<9>=45;", "45", 2, True),  # there are not so many
        ("<2,3" * 3 + "=2", "2", 4, False),
    ],
)
def test_an_attempt_at_a_search(thinking, answer, steps, failed):
    task = AlgorithmsTask(algorithm="search")
    problem = Problem("q", ALGORITHMS["search"].prompt(Instance(ASCENDING, "<9>")), "2")
    [(found, lost)] = task.attempts(problem, thinking, answer)
    assert (len(found), lost) == (steps, failed)


def test_numbers_without_end_are_no_trouble():
    task = AlgorithmsTask(algorithm="robber", hints=False, lengths=(4,))
    [problem] = task.problems("test", 1)
    assert [failed for _, failed in task.attempts(problem, f"t{'9' * 5000}s1" * 4, "1")] == [True]


# Each answer a second time, from the prompt, by other means.
def _counts(prompt, letters):
    return {letter: prompt.split(":")[-1].count(letter) for letter in letters}


def _robbed(prompt):
    places = range(len(prompt) - 1)
    apart = [
        s
        for n in places
        for s in combinations(places, n)
        if all(b - a > 1 for a, b in zip(s, s[1:], strict=False))
    ]
    return max(sum(int(prompt[place]) for place in one) for one in apart)


def _found(wanted, listed):
    return listed[: listed.index(wanted)].count("<") if wanted in listed else "none"


def _sum(prompt):
    left, right = (int(row[::-1]) for row in prompt.rstrip("?").split("+"))
    return str(left + right).zfill(len(prompt) // 2)[::-1]


AGAIN = {
    "copy": lambda prompt: prompt.rstrip("?"),
    "parity": lambda prompt: prompt.count("1") % 2,
    "count": lambda prompt: _counts(prompt, "abcde")[prompt[0]],
    "mode": lambda prompt: max("abc", key=_counts(prompt, "abc").get),
    "addition": _sum,
    "robber": _robbed,
    "search": lambda prompt: _found(*prompt.rstrip("?").split(":")),
    "sort": lambda prompt: "".join(f"<{x}>" for x in sorted(map(int, prompt[1:-2].split("><")))),
}


@pytest.mark.parametrize("name", AGAIN)
def test_answers_agree_with_another_way_and_splits_share_no_elements(name):
    assert set(AGAIN) == set(ALGORITHMS)
    tasks = [
        AlgorithmsTask(algorithm=name, hints=hints, seed=int(hints), lengths=(5, 9))
        for hints in (False, True)
    ]
    for problem in tasks[0].problems("test", 30):
        assert problem.answer == str(AGAIN[name](problem.prompt)), problem.prompt
    drawn = {
        split: {(one.items, one.query) for task in tasks for one in task.instances(split, 60)}
        for split in ("sft", "train", "dev", "test")
    }
    assert not any(drawn[a] & drawn[b] for a, b in combinations(drawn, 2))
    assert Counter(p.difficulty for p in tasks[1].problems("test", 30)) == {5: 15, 9: 15}
    assert {p.difficulty for p in tasks[1].problems("train", 60)} <= set(range(2, 9))
    assert tasks[1].problems("train", 20) == tasks[1].problems("train", 60)[:20]


def test_index_hints_begin_anywhere_and_stay_below_64():
    firsts = {one.first for one in AlgorithmsTask(lengths=(24,)).instances("test", 200)}
    assert min(firsts) < 5
    assert 35 < max(firsts) <= 40
    assert AlgorithmsTask(algorithm="sort").instances("test", 1)[0].first is None
    assert AlgorithmsTask(hints=False).instances("test", 1)[0].first is None


def test_exhausted_lengths_drop_out_and_too_many_are_refused():
    task = AlgorithmsTask(hints=False, lengths=(4, 12))
    lengths = Counter(p.difficulty for p in task.problems("test", 40))
    assert lengths[4] < 6
    assert lengths[12] > 33
    with pytest.raises(ValueError, match=r"but only \d+ exist"):
        AlgorithmsTask(hints=False, lengths=(4,)).problems("test", 100)
    with pytest.raises(ValueError, match="unknown"):
        task.problems("other", 1)


def test_options_out_of_bounds_are_refused():
    for options in ({"lengths": [33]}, {"train_max": 33}, {"lengths": []}, {"algorithm": "hanoi"}):
        with pytest.raises(ValidationError):
            AlgorithmsTask.model_validate(options)


def test_its_verifier_compares_text_and_allows_spaces():
    task = build({"name": "algorithms", "algorithm": "sort"})
    with verifier_of(task.verifier_settings({})) as verifier:
        texts = ["\\boxed{<3><12><40>}", "\\boxed{<3> <12> <40>}", "\\boxed{<12><3><40>}", "<3><12><40>"]
        claims = {row: Claim(text, "<3><12><40>", False, {}, "") for row, text in enumerate(texts)}
        pending = verifier.begin()
        pending.submit(claims)
        verdicts = pending.verdicts()
    assert [verdicts[row].correct for row in range(4)] == [True, True, False, False]


def test_an_evaluation_says_how_far_a_model_reaches(capsys):
    task = AlgorithmsTask(hints=False, lengths=(4, 8, 9), test=6)
    result = evaluate(["tiny", "tiny"], task, EvalSettings(max_new_tokens=4, verifier={"workers": 1}))
    reached, lost = result["models"][0]["reach"], result["pairs"][0]["reach"]
    assert (reached["train_max"], reached["reach_50"]) == (8, 0)
    assert [reached[name]["prompts"] for name in ("inside", "outside")] == [4, 2]
    assert (lost["extra_cost"], lost["tokens_ratio_outside"]) == (0, 1)
    summary.show(result, Console(width=120))
    assert "Trained up to length 8" in capsys.readouterr().out
