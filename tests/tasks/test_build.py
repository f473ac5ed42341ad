"""Building tasks from recipes, prompts from problems, and reasoning-gym's generators."""

import json

import pytest
from transformers import AutoTokenizer

from lenrl import tasks
from lenrl.errors import BadInput
from lenrl.generation.pretrained import TINY
from lenrl.tasks import Problem

PROBLEM = Problem("x:1", "What is {prompt} of {hint}?", "7")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "chian"}, "Did you mean task=chain"),
        ({"name": "os.system"}, "unknown"),
        ({}, "task=None"),
        ("chian", "Did you mean task=chain"),
        ({"name": "chain", "tets": 3}, "task.tets=3.*Did you mean task.test"),
        ({"name": "chain", "test": -1}, r"task.test=-1"),
        ({"name": "chain", "max_unreadable": float("nan")}, "task.max_unreadable"),
        ({"name": "chain", "min_operands": 5, "max_operands": 3}, "min_operands=5 is above"),
        ({"name": "chain", "template": "no place"}, "{prompt}"),
        ({"name": "table"}, "neither path nor files"),
        ({"name": "table", "path": "a.jsonl", "shares": {"train": 0}}, "shares"),
        ({"name": "gym"}, "task.generator is missing"),
    ],
)
def test_bad_specs_name_key_value_and_remedy(spec, message):
    with pytest.raises(BadInput, match=message):
        tasks.build(spec)


def test_the_counts_of_a_task_are_its_splits():
    task = tasks.build({"name": "chain", "train": 5, "dev": 4, "test": 3})
    assert [len(task.problems(split)) for split in tasks.SPLITS] == [5, 4, 3]
    assert len(task.problems("test", 9)) == 9


def test_digest_follows_prompts_answers_and_templates():
    task = tasks.build("chain")
    problems = task.problems("test", 5)
    base = tasks.digest(task, problems)
    assert base == tasks.digest(tasks.build("chain"), list(problems))
    assert base != tasks.digest(tasks.build({"name": "chain", "system_prompt": "s"}), problems)
    assert base != tasks.digest(task, problems[:4])


def test_braces_in_problems_and_hints_stay():
    task = tasks.build({"name": "chain", "template": "Q: {prompt}"})
    assert tasks.messages(task, PROBLEM) == [{"role": "user", "content": "Q: What is {prompt} of {hint}?"}]
    hinted = tasks.messages(task, PROBLEM, "In {prompt} words")
    assert hinted[-1]["content"] == "Q: What is {prompt} of {hint}?\n\nIn {prompt} words"


def test_the_hint_goes_where_the_task_says():
    task = tasks.build({"name": "chain", "system_prompt": "Be brief. {hint}"})
    system, user = tasks.messages(task, PROBLEM, "At most 9.")
    assert system == {"role": "system", "content": "Be brief. At most 9."}
    assert user["content"] == PROBLEM.prompt
    assert tasks.messages(task, PROBLEM)[0]["content"] == "Be brief. "


@pytest.mark.parametrize(
    ("ending", "opened"),
    [
        ("<|assistant|>", False),
        ("<|assistant|><think>", True),
        ("<|assistant|><think>\n", True),
        ("<|assistant|><think>\n\n</think>\n\n", False),
    ],
)
def test_think_prefilled_is_found_from_the_template(ending, opened):
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}{{ ending }}{% endif %}".replace("{{ ending }}", ending)
    )
    assert tasks.think_prefilled(tokenizer) is opened
    ids = tasks.encode(tokenizer, [{"role": "user", "content": "1+1"}])
    assert tokenizer.decode(ids) == f"1+1{ending}"


def test_a_tokenizer_without_template_reads_the_contents():
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    tokenizer.chat_template = None
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "1+1"}]
    assert tasks.render(tokenizer, chat) == "s\n\n1+1"
    assert not tasks.think_prefilled(tokenizer)


def test_gym_splits_are_disjoint_and_repeatable():
    pytest.importorskip("reasoning_gym")
    spec = {"name": "gym", "generator": "chain_sum", "train": 100, "dev": 40, "test": 40, "seed": 3}
    spec["config"] = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}  # few exist
    task = tasks.build(spec)
    splits = {split: [p.prompt for p in task.problems(split)] for split in tasks.SPLITS}
    assert [len(set(splits[split])) for split in tasks.SPLITS] == [100, 40, 40]
    assert len(set(sum(splits.values(), []))) == 180
    assert [p.prompt for p in tasks.build(spec).problems("dev")] == splits["dev"]
    assert [p.prompt for p in tasks.build(spec | {"seed": 4}).problems("dev")] != splits["dev"]


def test_gym_answers_name_the_entry():
    pytest.importorskip("reasoning_gym")
    task = tasks.build({"name": "gym", "generator": "chain_sum", "test": 2, "difficulty": "num_terms"})
    problem = task.problems("test")[0]
    gold = json.loads(problem.answer or "")
    assert gold["dataset"] == "chain_sum"
    assert gold["entry"]["question"] == problem.prompt
    assert problem.difficulty == gold["entry"]["metadata"]["num_terms"]


def test_gym_refusals():
    pytest.importorskip("reasoning_gym")
    with pytest.raises(BadInput, match="Did you mean task.generator=chain_sum"):
        tasks.build({"name": "gym", "generator": "chain_summ"}).problems("test")
    with pytest.raises(BadInput, match="task.config"):
        tasks.build({"name": "gym", "generator": "chain_sum", "config": {"max_terms": -1}}).problems("test")
    tiny = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    with pytest.raises(BadInput, match="task.test=4000"):
        tasks.build({"name": "gym", "generator": "chain_sum", "config": tiny, "test": 4000}).problems("test")
