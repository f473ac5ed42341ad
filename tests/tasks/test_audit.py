"""The audit of problems: what is dropped, what is refused, what is only said."""

import json

import pytest
from transformers import AutoTokenizer

from lenrl import tasks
from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.generation.pretrained import TINY
from lenrl.tasks.audit import load
from lenrl.training.audited_data import audited
from lenrl.training.prepare import prepare


class Digits:
    """Reads answers that are digits."""

    def readable(self, golds):
        return [gold.isdigit() for gold in golds]


def task_of(tmp_path, rows, **options):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tasks.build({"name": "table", "path": str(path), "split": "all", **options})


def rows(count, **changes):
    return [{"prompt": f"p{i}", "answer": str(i)} | changes.get(f"row{i}", {}) for i in range(count)]


def test_clean_data_pass_whole():
    problems, audit = load(tasks.build({"name": "chain", "test": 9}), "test", verifier=Digits())
    assert len(problems) == audit.found == audit.kept == 9
    assert audit.warnings == ()


def test_unreadable_answers_are_counted_and_dropped(tmp_path):
    bad = {"row1": {"answer": None}, "row2": {"answer": "  "}, "row3": {"answer": "seven"}}
    problems, audit = load(task_of(tmp_path, rows(100, **bad)), "train", verifier=Digits())
    assert [p.prompt for p in problems[:2]] == ["p0", "p4"]
    assert (audit.without_answer, audit.unreadable, audit.kept) == (2, 1, 97)
    assert "3 of 100" in audit.warnings[0]


def test_too_many_unreadable_answers_are_refused(tmp_path):
    bad = {f"row{i}": {"answer": "seven"} for i in range(6)}
    with pytest.raises(BadInput, match=r"6 of 100.*task.max_unreadable=0.05"):
        load(task_of(tmp_path, rows(100, **bad)), "train", verifier=Digits())
    task = task_of(tmp_path, rows(100, **bad), max_unreadable=0.06)
    assert load(task, "train", verifier=Digits())[1].kept == 94


def test_a_task_without_labels_is_not_asked_for_answers(tmp_path):
    problems, audit = load(task_of(tmp_path, rows(5), answer=None), "train", verifier=Digits())
    assert (len(problems), audit.without_answer) == (5, 0)


def test_long_prompts_are_refused_or_dropped(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    long = {"row2": {"prompt": "1+" * 100 + "1"}}
    with pytest.raises(BadInput, match=r"1 of 4 train prompts are longer than 50 tokens.*long_prompts=drop"):
        load(task_of(tmp_path, rows(4, **long)), "train", tokenizer, Digits(), 50)
    task = task_of(tmp_path, rows(4, **long), long_prompts="drop")
    problems, audit = load(task, "train", tokenizer, Digits(), 50)
    assert (len(problems), audit.long_prompts) == (3, 1)


def test_empty_splits_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no dev problems"):
        load(tasks.build({"name": "chain", "dev": 0}), "dev")
    with pytest.raises(BadInput, match="all 2 train problems were dropped"):
        bad = [{"prompt": "a", "answer": None}, {"prompt": "b", "answer": ""}]
        load(task_of(tmp_path, bad, max_unreadable=1.0), "train", verifier=Digits())
    with pytest.raises(BadInput, match="only"):
        load(tasks.build({"name": "chain", "max_operands": 2, "test": 400}), "test")


def test_repetitions_conflicts_and_overlap_are_said_with_counts(tmp_path):
    same = [{"prompt": "p", "answer": "1"}] * 3 + [
        {"prompt": "q", "answer": "1"},
        {"prompt": "q", "answer": "2"},
    ]
    task = task_of(tmp_path, same)
    problems, audit = load(task, "train", verifier=Digits(), others=task.problems("test")[:1])
    assert len(problems) == 5
    assert (audit.duplicates, audit.conflicts, audit.overlap) == (2, 1, 3)
    assert len(audit.warnings) == 3


@pytest.mark.parametrize(("prompts", "inert"), [(4000, True), (960, True), (160, False)])
def test_a_method_that_needs_further_visits_says_when_the_run_has_none(prompts, inert):
    checked_run = prepare(compose("palu", [f"task.train={prompts}", "task.dev=0", "budget.tau=0.2"]))
    _, audits, run_info = audited(checked_run, None, Digits(), None)
    assert run_info.visits == 960 / prompts  # 60 rollouts of 16 prompts
    assert any("inert" in warning for warning in audits[-1].warnings) == inert
