"""Data files: what is read, how it is split, and what is refused with which row."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lenrl import tasks
from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.tasks.in_memory import InMemoryTask

ROWS = [{"prompt": f"{i} + {i}?", "answer": 2 * i, "difficulty": i % 3, "source": "made"} for i in range(200)]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def lines(tmp_path):
    return write_lines(tmp_path / "problems.jsonl", ROWS)


def test_a_file_by_its_name_gives_all_rows(lines):
    problems = tasks.build(lines).problems("test")
    assert len(problems) == 200
    assert (problems[3].prompt, problems[3].answer, problems[3].difficulty) == ("3 + 3?", "6", 0)
    assert problems[3].columns == {"source": "made"}
    assert len({p.id for p in problems}) == 200


def test_every_form_of_the_same_data_gives_the_same_problems(lines, tmp_path):
    import datasets

    (tmp_path / "problems.json").write_text(json.dumps(ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "problems.parquet")
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    in_memory = InMemoryTask.of({"test": datasets.Dataset.from_list(ROWS)}).problems("test")
    names = ("problems.jsonl", "problems.json", "problems.parquet", "saved")
    found = [tasks.build(str(tmp_path / name)).problems("test") for name in names]
    assert found[0] == found[1] == found[2] == found[3]
    assert [(p.prompt, p.answer, p.columns) for p in in_memory] == [
        (p.prompt, p.answer, p.columns) for p in found[0]
    ]


def test_csv_gives_text_and_empty_fields_are_none(tmp_path):
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([["prompt", "answer"], ["one, two\nand three?", "3"], ["é?", ""]])
    problems = tasks.build(str(tmp_path / "a.csv")).problems("test")
    assert [(p.prompt, p.answer) for p in problems] == [("one, two\nand three?", "3"), ("é?", None)]
    assert compose("grpo", [f"task={tmp_path / 'a.csv'}"]).task["name"] == "table"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompt,answer\np,1\na,b,c\n", "line 3: 3 fields, the header has 2"),
        ("prompt,answer\np,1\nq\n", "line 3: 1 fields"),
        ('prompt,answer\n"p"x,1\n', "line 2: not CSV"),
        ("prompt,prompt\np,1\n", "'prompt' stands twice"),
        ("prompt,answer\n", "holds no rows"),
        ("prompt,answer\n" + "x" * 1_100_000 + ",1\n", "line 2: not CSV .*limit"),
    ],
)
def test_bad_csv_is_refused_by_line(tmp_path, content, message):
    (tmp_path / "bad.csv").write_text(content)
    limit = csv.field_size_limit()
    with pytest.raises(BadInput, match=message):
        tasks.build(str(tmp_path / "bad.csv")).problems("test")
    assert csv.field_size_limit() == limit


def test_several_sources_and_patterns_are_read_one_after_the_other(tmp_path):
    first = write_lines(tmp_path / "a1.jsonl", ROWS[:3])
    write_lines(tmp_path / "a2.jsonl", ROWS[3:5])
    (tmp_path / "b.csv").write_text("prompt,answer\nq?,7\n")
    spec = {"name": "table", "split": "all"}
    task = tasks.build(spec | {"path": [str(tmp_path / "a*.jsonl"), str(tmp_path / "b.csv")]})
    assert [p.answer for p in task.problems("train")] == ["0", "2", "4", "6", "8", "7"]
    files = {"train": [first, str(tmp_path / "b.csv")], "test": first}
    task = tasks.build({"name": "table", "files": files})
    assert [len(task.problems(split)) for split in ("train", "test")] == [4, 3]
    recipe = compose("grpo", ["task=table", f"task.path=['{tmp_path}/a*.jsonl','{tmp_path}/b.csv']"])
    assert len(tasks.build(recipe.task | {"split": "all"}).problems("train")) == 6
    with pytest.raises(BadInput, match="no file matches"):
        tasks.build(spec | {"path": str(tmp_path / "c*.jsonl")}).problems("train")
    with pytest.raises(BadInput, match="path=.* and files are set"):
        tasks.build({"name": "table", "path": [first], "files": {"train": first}})


def test_a_saved_data_set_by_its_splits(tmp_path):
    import datasets

    parts = {"train": datasets.Dataset.from_list(ROWS[:4]), "val": datasets.Dataset.from_list(ROWS[4:6])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    spec = {"name": "table", "path": str(tmp_path / "saved"), "keep": []}
    by_split = tasks.build(spec | {"files": {"train": "train", "test": "val"}})
    assert [len(by_split.problems(split)) for split in ("train", "test")] == [4, 2]
    assert len(tasks.build(spec | {"split": "all"}).problems("train")) == 6
    with pytest.raises(BadInput, match="no split 'test', only train, val"):
        tasks.build(spec | {"files": {"test": "test"}}).problems("test")
    (tmp_path / "saved" / "dataset_dict.json").write_text("{")
    with pytest.raises(BadInput, match="not a readable data set"):
        tasks.build(spec).problems("train")


CHAT = [
    {"role": "system", "content": "Put it into \\boxed{}."},
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": [{"type": "text", "text": "And 3+3?"}]},
]


def test_conversations_keep_their_turns_and_the_hint_goes_into_the_last_one(tmp_path):
    rows = [
        {"prompt": CHAT, "answer": 6},
        {"prompt": CHAT[1:2], "answer": 4},
        {"prompt": "5+5?", "answer": 10},
    ]
    pq.write_table(pa.Table.from_pylist(rows[1:2]), tmp_path / "a.parquet")
    task = tasks.build({"name": "table", "split": "all", "path": write_lines(tmp_path / "a.jsonl", rows)})
    problems = task.problems("train")
    chat = tasks.messages(task, problems[0], "Use 9 tokens.")
    assert [m["role"] for m in chat] == ["system", "user", "assistant", "user"]
    assert chat[-1]["content"] == "And 3+3?\n\nUse 9 tokens."
    assert chat[0]["content"] == CHAT[0]["content"]
    assert tasks.messages(task, problems[1]) == [{"role": "user", "content": "2+2?"}]
    assert tasks.build(str(tmp_path / "a.parquet")).problems("test")[0].prompt == "2+2?"
    templated = task.model_copy(update={"template": "Q: {prompt}"})
    assert tasks.messages(templated, problems[0])[-1]["content"] == "Q: And 3+3?"
    assert tasks.digest(task, problems[:1]) != tasks.digest(
        task, [problems[0].__class__("x", "And 3+3?", "6")]
    )


def test_the_same_last_message_after_other_turns_is_another_problem(tmp_path):
    other = [{"role": "user", "content": "1+1?"}, *CHAT[2:]]
    path = write_lines(tmp_path / "a.jsonl", [{"prompt": p, "answer": 6} for p in (CHAT[1:], other)])
    problems = tasks.build(path).problems("test")
    assert problems[0].prompt == problems[1].prompt
    assert problems[0].id != problems[1].id and not problems[1].id.endswith("-2")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (CHAT[:3], "ends with the message of the assistant"),
        ([CHAT[1], CHAT[0], CHAT[1]], "role 'system'"),
        ([{"role": "tool", "content": "x"}], "role 'tool'"),
        ([{"role": "user", "content": [{"type": "image"}]}], "content"),
        ([{"role": "user", "content": " "}], "content ' '"),
        ([], "is \\[\\]"),
        ({"role": "user", "content": "x"}, "a prompt is text, or a list of messages"),
    ],
)
def test_bad_conversations_are_refused_by_line(tmp_path, prompt, message):
    path = write_lines(tmp_path / "a.jsonl", [{"prompt": "p", "answer": 1}, {"prompt": prompt, "answer": 1}])
    with pytest.raises(BadInput, match=f"line 2: 'prompt' .*{message}"):
        tasks.build(path).problems("test")


def test_two_system_messages_are_refused(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [{"prompt": CHAT, "answer": 6}])
    with pytest.raises(BadInput, match="line 1: .*task.system_prompt=null"):
        tasks.build({"name": "table", "path": path, "system_prompt": "s"}).problems("test")


def test_all_wrong_columns_stand_in_one_message(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [{"question": "q", "solution": "1"}])
    with pytest.raises(BadInput) as raised:
        tasks.build({"name": "table", "path": path, "difficulty": "level", "keep": ["topic"]}).problems(
            "test"
        )
    lines = str(raised.value).splitlines()
    assert len(lines) == 4
    assert "'prompt' for the prompt" in lines[0] and lines[0].endswith("Did you mean task.prompt=question?")
    assert lines[1].endswith("Did you mean task.answer=solution?")
    assert "'level' for the difficulty" in lines[2] and "'topic' to keep" in lines[3]


def test_nested_columns_by_a_name_with_dots(tmp_path):
    row = {"prompt": CHAT[1:2], "reward_model": {"style": "rule", "ground_truth": "4"}}
    spec = {"name": "table", "split": "all", "path": write_lines(tmp_path / "a.jsonl", [row])}
    with pytest.raises(BadInput, match="Did you mean task.answer=reward_model.ground_truth"):
        tasks.build(spec).problems("test")
    task = tasks.build(spec | {"answer": "reward_model.ground_truth", "keep": []})
    assert task.problems("test")[0].answer == "4"


@pytest.mark.parametrize(
    ("keep", "columns"), [(["level"], {"level": 3}), ([], {}), (None, {"topic": "sums"})]
)
def test_grades_are_a_column_too_where_they_are_kept_by_name(tmp_path, keep, columns):
    path = write_lines(tmp_path / "a.jsonl", [{"prompt": "1+1", "answer": 2, "level": 3, "topic": "sums"}])
    task = tasks.build({"name": "table", "split": "all", "path": path, "difficulty": "level", "keep": keep})
    (problem,) = task.problems("test")
    assert (problem.difficulty, problem.columns) == (3, columns)


@pytest.mark.parametrize(
    ("answers", "form", "message"),
    [
        (["2+2=4\n#### 4"] * 3 + ["7"], "plain", "task.answer_form=hashes"),
        (["We add two and two, which makes $\\boxed{4}$."] * 2, "plain", "task.answer_form=boxed"),
        (["4", "5"], "hashes", "holds no ####.*task.answer_form=plain"),
        (["4", "5"], "boxed", "task.answer_form=plain"),
    ],
)
def test_gold_answers_of_another_form_name_the_option(tmp_path, answers, form, message):
    path = write_lines(tmp_path / "a.jsonl", [{"prompt": f"p{a}", "answer": a} for a in answers])
    with pytest.raises(BadInput, match=message):
        tasks.build({"name": "table", "path": path, "answer_form": form}).problems("train")


def test_rows_in_memory_have_a_table_s_options():
    import datasets

    rows = datasets.Dataset.from_list(
        [{"prompt": CHAT[:2], "solution": "6"}, {"prompt": CHAT[1:2], "solution": None}]
    )
    task = InMemoryTask.of({"train": rows, "test": [{"prompt": "p", "solution": 1}]}, answer="solution")
    assert [p.answer for p in task.problems("train")] == ["6", None]
    assert task.problems("train")[0].where == "train data, row 1"
    assert (task.count("dev"), task.count("train"), task.problems("dev")) == (0, None, [])
    with pytest.raises(BadInput, match="test data, row 1: no column 'answer' for the answer"):
        InMemoryTask.of({"test": [{"prompt": "p"}]}).problems("test")
    with pytest.raises(BadInput, match="row 1: field 'prompt' holds a NUL"):
        InMemoryTask.of({"test": [{"prompt": "a\0b"}]})


def test_hash_splits_share_nothing_and_don_t_depend_on_order(lines, tmp_path):
    task = tasks.build({"name": "table", "path": lines})
    splits = {split: {p.prompt for p in task.problems(split)} for split in tasks.SPLITS}
    assert sum(map(len, splits.values())) == 200 == len(set.union(*splits.values()))
    assert all(splits.values())
    turned = write_lines(tmp_path / "turned.jsonl", ROWS[::-1])
    again = tasks.build({"name": "table", "path": turned, "seed": 5})
    assert {p.prompt for p in again.problems("test")} == splits["test"]


def test_files_a_split_and_counts(lines, tmp_path):
    other = write_lines(tmp_path / "test.jsonl", ROWS[:5])
    task = tasks.build({"name": "table", "files": {"train": lines, "test": other}, "train": 7})
    assert [len(task.problems(split)) for split in ("train", "test")] == [7, 5]
    with pytest.raises(BadInput, match="no 'dev'"):
        task.problems("dev")
    with pytest.raises(BadInput, match=r"task.test=6 .* has 5"):
        task.problems("test", 6)


def test_columns_by_name_and_without_answers(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [{"question": "q", "gold": "1", "answer": "no"}])
    spec = {"name": "table", "path": path, "split": "all", "prompt": "question"}
    assert tasks.build(spec | {"answer": "gold"}).problems("test")[0].answer == "1"
    free = tasks.build(spec | {"answer": None})
    assert free.problems("test")[0].answer is None
    assert not free.labelled


def test_repeated_prompts_keep_their_own_ids(tmp_path):
    rows = [{"prompt": "p", "answer": "1"}, {"prompt": "p", "answer": "2"}]
    problems = tasks.build(write_lines(tmp_path / "a.jsonl", rows)).problems("test")
    assert [p.answer for p in problems] == ["1", "2"]
    assert len({p.id for p in problems}) == 2


GOOD = b'{"prompt": "p", "answer": "1"}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + b'{"prompt": "\xff", "answer": "1"}\n', r"line 2: byte 0xff .*UTF-8"),
        (GOOD + b'{"prompt": "a\\u0000b", "answer": "1"}\n', r"line 2.*'prompt'.*NUL"),
        (GOOD + b'{"prompt": "\\ud800", "answer": "1"}\n', r"line 2.*surrogate"),
        (GOOD + b'{"prompt": [{"role": "user", "content": "\\ud800"}]}\n', r"line 2.*'prompt'.*surrogate"),
        (GOOD + b'{"prompt": "a", "answer": {"a\\u0000": 1}}\n', r"line 2.*'answer'.*NUL"),
        (
            GOOD + b'{"prompt": "' + b"x" * 10_000_000 + b'", "answer": "1"}\n',
            r"line 2.*10000000 char.*1000000",
        ),
        (GOOD + b'{"prompt": "p", "answer": "1", "x": "' + b"x" * 1_000_001 + b'"}\n', r"line 2: field 'x'"),
        (GOOD + b"\n{oops}\n", r"line 3: not JSON"),
        (
            GOOD + b'\n{"prompt": "a", "prompt": "b", "answer": "1"}\n',
            r"line 3: the field 'prompt' stands twice",
        ),
        (GOOD + b"[1]\n", r"line 2: found \[1\], expected"),
        (GOOD + b"[" * 100_000 + b"\n", r"line 2: .*(nested|JSON)"),
        (GOOD + b'{"answer": "1"}\n', r"line 2: no column 'prompt'"),
        (GOOD + b'{"prompt": " ", "answer": "1"}\n', r"line 2: 'prompt' is ' '"),
        (
            GOOD + b'{"prompt": ["p"], "answer": "1"}\n',
            r"line 2: 'prompt' is \['p'\]; .*list of messages",
        ),
        (b'{"prompt": "p", "anwser": "1"}\n', r"line 1: no column 'answer'.*Did you mean task.answer=anwser"),
        (b"\n", r"holds no rows"),
    ],
)
def test_bad_lines_are_refused_by_number(tmp_path, content, message):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message) as raised:
        tasks.build(str(path)).problems("test")
    assert len(str(raised.value)) < 600


def test_bad_files_are_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing")
    (tmp_path / "a.json").write_text('{"prompt": "p"}')
    (tmp_path / "a.txt").write_text("x")
    for name, message in [
        ("a.parquet", "not a readable parquet"),
        ("a.json", "a dict at the top"),
        ("a.txt", "suffix '.txt'"),
        ("none.jsonl", "no such file"),
    ]:
        with pytest.raises(BadInput, match=message):
            tasks.build(str(tmp_path / name)).problems("test")


def test_a_data_set_that_can_t_be_reached(monkeypatch):
    import datasets

    def unreachable(*args, **options):
        raise ConnectionError("Couldn't reach the hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(BadInput, match=r"org/name.*Couldn't reach"):
        tasks.build({"name": "table", "path": "org/name"}).problems("test")


def test_a_stream_that_breaks_off(monkeypatch):
    import datasets

    def rows():
        yield ROWS[0]
        raise ConnectionError("Lost the hub")

    monkeypatch.setattr(
        datasets, "load_dataset", lambda *a, **k: datasets.IterableDataset.from_generator(rows)
    )
    with pytest.raises(BadInput, match=r"org/name.*Lost the hub"):
        tasks.build({"name": "table", "path": "org/name", "stream_rows": 9}).problems("test")


@pytest.mark.parametrize(("answers", "labelled"), [([0, 0], True), ([None, " "], False)])
def test_zero_is_a_gold_answer_of_data_that_may_have_none(answers, labelled):
    task = InMemoryTask.of({"train": [{"prompt": "1-1?", "answer": answer} for answer in answers]})
    assert task.where_answered().labelled is labelled


def test_a_hub_data_set_by_its_splits(monkeypatch):
    import datasets

    seen = []

    def load(name, subset, revision, split, streaming):
        seen.append((name, subset, revision, split))
        return datasets.Dataset.from_list(ROWS[:4])

    monkeypatch.setattr(datasets, "load_dataset", load)
    spec = {"name": "table", "path": "org/name", "subset": "main", "files": {"train": "train", "test": "val"}}
    assert len(tasks.build(spec).problems("test")) == 4
    assert seen == [("org/name", "main", None, "val")]


def test_a_large_data_set_is_streamed_and_only_its_beginning_is_read(monkeypatch, tmp_path):
    import datasets

    read = []

    def rows():
        for number in range(1000):
            read.append(number)
            yield {"prompt": f"{number}+0=", "answer": str(number), "other": "x" * 100}

    def load(name, subset, revision, split, streaming):
        assert streaming
        return datasets.IterableDataset.from_generator(rows)

    monkeypatch.setattr(datasets, "load_dataset", load)
    spec = {"name": "table", "path": "org/large", "stream_rows": 40, "keep": [], "files": {"train": "train"}}
    problems = tasks.build(spec).problems("train")
    assert [problem.answer for problem in problems] == [str(number) for number in range(40)]
    assert max(read) < 50 and not problems[0].columns
