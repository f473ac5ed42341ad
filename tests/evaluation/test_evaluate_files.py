"""What `lenrl eval` reads and writes beside its figures: answers in a file, and rows for fine-tuning."""

import json

import datasets
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from lenrl.cli import main
from lenrl.evaluation import sft
from lenrl.generation.pretrained import TINY

SMALL = ["task.test=12", "max_new_tokens=150", "verifier.kind=exact"]


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_shortest_correct_completions_become_a_data_set(tmp_path, capsys):
    out, path = tmp_path / "out", tmp_path / "short.jsonl"
    assert main(["eval", "tiny", *SMALL, "samples=4", "--out", str(out), "--sft", str(path)]) == 0
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = pq.read_table(out / "completions-0-sampled.parquet").to_pylist()
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    solved = [i for i in range(0, 48, 4) if any(r["verdict"] for r in found[i : i + 4])]
    assert [row["prompt_id"] for row in rows] == [found[i]["prompt_id"] for i in solved]
    for row, first in zip(rows, solved, strict=True):
        right = [r for r in found[first : first + 4] if r["verdict"] and not r["truncated"]]
        shortest = min(right, key=lambda r: r["tokens"])
        assert (row["completion"], row["tokens"]) == (shortest["completion"], shortest["tokens"])
        assert (row["correct"], row["samples"]) == (len(right), 4)
        text = tokenizer(row["prompt"] + row["completion"] + tokenizer.eos_token)["input_ids"]
        assert (
            text == tokenizer(row["prompt"])["input_ids"] + shortest["ids"]
        )  # as the model read and wrote it
    loaded = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "c"))
    assert {"prompt", "completion"} <= set(loaded.column_names)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tiny", "tiny", "--sft", "new.jsonl"], "one model"),
        (["tiny", "--sft", "there.jsonl"], "is there already"),
        (["tiny", "--sft", "nowhere/new.jsonl"], "no folder nowhere"),
        (["tiny", "--answers", "there.jsonl"], "no model"),
    ],
)
def test_rows_that_can_t_be_written_are_refused_first(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.jsonl").write_text("mine")
    assert main(["eval", *words]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.name != "outputs"] == ["there.jsonl"]
    assert (tmp_path / "there.jsonl").read_text() == "mine"


def test_a_first_token_that_the_tokenizer_adds_is_not_written_twice():
    class Adding:
        """Adds `<s>` before every text, as its template does."""

        chat_template, bos_token = "yes", "<s>"

        def apply_chat_template(self, chat, **options):
            return "<s>" + chat[0]["content"]

        def __call__(self, text, add_special_tokens=True, verbose=True):
            ids = [0] * text.count("<s>") + [ord(c) for c in text.replace("<s>", "")]
            return {"input_ids": [0, *ids] if add_special_tokens else ids}

    assert sft._prompt_text(Adding(), [{"role": "user", "content": "hi"}]) == "hi"


def test_answers_are_measured_by_what_their_rows_hold(tmp_path, capsys):
    def ruler(count, target):
        return {"answer": "w " * count, "target": target, "model": "b"}

    rows = [
        {"answer": "x" * 12, "baseline": "x" * 2, "category": "facts", "model": "a"},
        {"answer": "x", "baseline": "x" * 2, "category": "facts", "model": "a"},
        {"answer": "x" * 30, "baseline": "", "category": "code", "model": "a"},
        *[ruler(80, 80), ruler(95, "80"), ruler(101, 80), ruler(801, ">800")],
        {"answer": "abc", "other": "xyz", "preference": 1, "model": "c"},
        {"answer": "abcd", "other": "wxyz", "preference": 0.5, "model": "c"},
    ]
    path = lines(tmp_path / "answers.jsonl", rows)
    assert main(["eval", "--answers", path, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "answers.json").read_text())
    assert found["a"] == {
        "answers": 3,
        "yap": {"index": 17.5, "medians": {"facts": 5.0, "code": 30.0}, "answers": 3},
    }
    assert (found["b"]["ruler"]["precise"], found["b"]["ruler"]["flexible"]) == (0.5, 0.75)
    assert found["b"]["ruler"]["precise_ci95"][0] < 0.5 < found["b"]["ruler"]["precise_ci95"][1]
    assert (found["c"]["wins"]["rate"], found["c"]["wins"]["length_controlled"]) == (0.75, 0.75)
    text = capsys.readouterr().out
    assert "17.5" in text and "50.0%" in text and "75.0%" in text


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "a"}, "add the column `answer`"),
        ({"answer": 3, "baseline": "x"}, "answer=3: should be a valid string"),
        ({"answer": "a"}, "preference and other for win rates"),
        ({"answer": "a", "target": 75}, "none of the Ruler's 10, 30"),
        ({"answer": "a", "preference": 2, "other": "b"}, "subtract 1"),
        ({"answer": "a", "preference": True, "other": "b"}, "outside 0 to 1"),
        ({"answer": "a", "preference": 1}, "no `other`"),
    ],
)
def test_answers_that_can_t_be_measured_are_refused_by_line(row, words, tmp_path, capsys):
    path = lines(tmp_path / "answers.jsonl", [row])
    assert main(["eval", "--answers", path]) == 2
    out, err = capsys.readouterr()
    assert words in err and "answers.jsonl" in err and out == ""
