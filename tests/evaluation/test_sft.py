"""Rows for fine-tuning that `lenrl eval --sft` writes, and what it refuses to write over."""

import json

import datasets
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from lenrl.cli import main
from lenrl.evaluation import sft
from lenrl.generation.pretrained import TINY

SMALL = ["task.test=12", "max_new_tokens=150", "verifier.kind=exact"]


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
