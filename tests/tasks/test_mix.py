"""Several tasks as one: shares, wording, verifiers and audits of parts."""

from collections import Counter

import pytest

from lenrl.errors import BadInput
from lenrl.tasks import build as build_task
from lenrl.tasks import by_part, messages
from lenrl.tasks.audit import load, load_all
from lenrl.tasks.base import digest
from lenrl.tasks.in_memory import InMemoryTask
from lenrl.tasks.mix import MixTask
from lenrl.verify.claims import Claim
from lenrl.verify.several import verifier_of

CHAIN = {"name": "chain", "train": 90, "dev": 6, "test": 6}


def words(count=8, answers="ab", **options):
    """A task of words, of which `exact` compares the answers."""
    rows = [{"prompt": f"word {n}?", "answer": answers[n % len(answers)] + " b"} for n in range(count)]
    rest = {"train": rows, "dev": rows[:2], "test": rows[:3]}
    return InMemoryTask.of(rest, **{"template": "{prompt} One word.", **options})


def mix(*, sums=3, names=1, words_task=None, **options):
    parts = {
        "sums": {"task": CHAIN, "weight": sums},
        "words": {"task": words_task or words(), "weight": names, "verifier": {"kind": "exact"}},
    }
    return MixTask(parts=parts, **options)


def counts(problems):
    return {name: len(some) for name, some in by_part(problems).items()}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"sums": 74, "words": 24}),  # 98 problems, three times as many of the one as of the other
        ({"train": 40}, {"sums": 30, "words": 10}),
        ({"train": 40, "sums": 1, "names": 1}, {"sums": 20, "words": 20}),
        ({"train": 10, "sums": 0.3, "names": 0.1}, {"sums": 8, "words": 2}),
    ],
)
def test_the_training_problems_are_shared_out_by_the_weights(options, expected):
    assert counts(mix(**options).problems("train")) == expected


def test_a_small_part_comes_again_and_of_a_large_one_some_are_drawn():
    problems = by_part(mix(train=80).problems("train"))
    often = Counter(problem.prompt for problem in problems["words"])
    assert sorted(often.values()) == [2] * 4 + [3] * 4  # 20 of 8
    assert len({problem.id for problem in problems["words"]}) == 20
    assert len({problem.prompt for problem in problems["sums"]}) == 60  # none twice


def test_every_stretch_of_the_order_holds_each_parts_share():
    problems = mix(train=80).problems("train")
    for start in range(0, 80, 8):
        assert counts(problems[start : start + 8]) == {"sums": 6, "words": 2}


def test_the_same_recipe_gives_the_same_problems_and_another_seed_draws_others():
    first, again, other = (mix(train=40, seed=seed).problems("train") for seed in (0, 0, 1))
    assert first == again and [p.id for p in first] == [p.id for p in again]
    assert {p.id for p in first} != {p.id for p in other}
    assert counts(first) == counts(other)


def test_evaluations_take_the_parts_own_problems_or_so_many_by_weight():
    assert counts(mix().problems("test")) == {"sums": 6, "words": 3}
    assert counts(mix(test=8).problems("test")) == {"sums": 6, "words": 2}
    assert mix(test=0).count("test") == 0 and mix(test=0).problems("test") == []
    with pytest.raises(BadInput, match=r"parts.words: its share of the test problems is 4, and it has 3"):
        mix(test=8, sums=1, names=1).problems("test")
    without = {"a": {**CHAIN, "dev": 0}, "b": {**CHAIN, "dev": 0, "seed": 1}}
    assert MixTask(parts={name: {"task": task} for name, task in without.items()}).count("dev") == 0


def test_each_part_has_its_own_words_and_the_hash_covers_them():
    task = mix()
    asked = {name: messages(task, some[0]) for name, some in by_part(task.problems("train")).items()}
    assert asked["words"] == [{"role": "user", "content": "word 0? One word."}]
    assert asked["sums"][0]["content"][0].isdigit()
    other = mix(words_task=words(template="{prompt} Two words."))
    assert digest(task, task.problems("train")) != digest(other, other.problems("train"))
    problem = by_part(task.problems("train"))["words"][0]
    assert problem.columns["part"] == "words" and problem.id.startswith("words:")


def test_each_part_is_judged_by_its_own_kind():
    task = mix()
    settings = task.verifier_settings({"workers": 1})
    assert (settings.part("sums").kind, settings.part("words").kind) == ("math", "exact")
    with verifier_of(settings) as verifier:
        pending = verifier.begin()
        pending.submit(
            {7: Claim(r"\boxed{1/2}", "0.5", part="sums"), 3: Claim(r"\boxed{1/2}", "0.5", part="words")}
        )
        pending.submit({5: Claim(r"\boxed{A b}", "a b", part="words")})
        assert {n: v.correct for n, v in pending.verdicts().items()} == {7: True, 3: False, 5: False}
        again = verifier.verify(
            [Claim(r"\boxed{a b}", "a b", part="words"), Claim(r"\boxed{2}", "3", part="sums")]
        )
        assert [verdict.correct for verdict in again] == [True, False]
        assert verifier.counts["claims"] == 5


def test_each_part_is_audited_by_itself_and_what_is_dropped_moves_no_weight():
    rows = [{"prompt": f"word {n}?", "answer": "a" if n else " "} for n in range(8)]
    lame = InMemoryTask.of({"train": rows}, max_unreadable=0.5)
    problems, audit = load(mix(words_task=lame, train=40), "train")
    assert counts(problems) == {"sums": 30, "words": 10}
    assert (audit.found, audit.kept, audit.without_answer) == (98, 40, 1)
    assert (audit.parts["words"].kept, audit.parts["words"].in_mix) == (7, 10)
    assert audit.warnings[0].startswith("part words: 1 of 8 train problems have no readable gold answer")
    assert not any("repeat" in warning for warning in audit.warnings)  # the mix's own repetitions
    with pytest.raises(BadInput, match=r"task.parts.words: .*above task.max_unreadable"):
        load(mix(words_task=InMemoryTask.of({"train": rows})), "train")
    _, audits = load_all(mix(), ("train", "test"), 8, tokenizer=None, verifier=None, max_prompt_tokens=None)
    assert audits[-1].overlap == 9  # words 0, 1 and 2 are test problems, each three times


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "parts"),
        ({"parts": {}}, "a mix has parts by name"),
        ({"parts": {"a": "chian"}}, r"task.parts.a: task=chian is unknown.*Did you mean"),
        ({"parts": {"a": {"task": "chain", "weight": 0}}}, r"task.parts.a.weight=0"),
        ({"parts": {"a": {"task": "chain", "weight": -1}}}, r"task.parts.a.weight=-1"),
        ({"parts": {"a": {"task": "chain", "weight": 1e308}}}, r"task.parts.a.weight=1e\+308"),
        ({"parts": {"a": {"task": "chain", "wieght": 1}}}, r"Did you mean task.parts.a.weight"),
        ({"parts": {"a": {"weight": 1}}}, "task.parts.a=.* names no task"),
        ({"parts": {"a b": "chain"}}, "task.parts.a b: a part's name"),
        (
            {"parts": {"a": {"task": {"name": "mix", "parts": {"b": "chain"}}}}},
            "task.parts.a is a mix itself",
        ),
        ({"parts": {"a": "chain"}, "template": "x {prompt}"}, "task.parts.NAME.task.template"),
        ({"parts": {"a": {"task": {"name": "chain", "tests": 1}}}}, "task.parts.a: .*Did you mean"),
    ],
)
def test_bad_parts_are_refused_by_name(spec, message):
    with pytest.raises(BadInput, match=message):
        build_task({"name": "mix", **spec})


def test_a_share_of_no_problem_at_all_and_a_bad_verifier_are_refused():
    with pytest.raises(BadInput, match=r"task.parts.words.weight=1: its share of task.train=4 is no problem"):
        mix(train=4, sums=100).problems("train")
    task = MixTask(parts={"a": {"task": "chain", "verifier": {"kind": "maths"}}})
    with pytest.raises(BadInput, match=r"task.parts.a: verifier.kind=maths is unknown"):
        task.verifier_settings({})
