"""Data files: what is read, how it is split, and what is refused with which row."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lenrl import tasks
from lenrl.errors import BadInput
from lenrl.tasks.rows import SUFFIXES

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


def test_json_and_parquet_give_the_same_problems(lines, tmp_path):
    (tmp_path / "problems.json").write_text(json.dumps(ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "problems.parquet")
    found = [tasks.build(str(tmp_path / f"problems{s}")).problems("test") for s in SUFFIXES]
    assert found[0] == found[1] == found[2]


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
        (
            GOOD + b'{"prompt": "' + b"x" * 10_000_000 + b'", "answer": "1"}\n',
            r"line 2.*10000000 char.*1000000",
        ),
        (GOOD + b'{"prompt": "p", "answer": "1", "x": "' + b"x" * 1_000_001 + b'"}\n', r"line 2: field 'x'"),
        (GOOD + b"\n{oops}\n", r"line 3: not JSON"),
        (GOOD + b"[1]\n", r"line 2: a list"),
        (GOOD + b"[" * 100_000 + b"\n", r"line 2: .*(nested|JSON)"),
        (GOOD + b'{"answer": "1"}\n', r"line 2: no column 'prompt'"),
        (GOOD + b'{"prompt": " ", "answer": "1"}\n', r"line 2: 'prompt' is ' '"),
        (GOOD + b'{"prompt": ["p"], "answer": "1"}\n', r"line 2: 'prompt' is \['p'\]"),
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
