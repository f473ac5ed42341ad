"""Recipes and files that mean harm: each is refused at once, in one message, and nothing leaves its place."""

import json

import pytest

from lenrl.config import compose
from lenrl.dryrun.logged_rows import of_rows, read
from lenrl.errors import BadInput
from lenrl.tasks.rows import read_rows

# --- numbers that are none


@pytest.mark.parametrize(
    "override",
    [
        "reward={name: kimi, weight: true}",
        "reward={name: weighted, parts: [{name: correctness, weight: false}]}",
        "truncation={name: dot, alpha: true}",
        "guard.hang_timeout_s=true",
        "update.tokens=true",
        "seed=false",
        "trainer.max_steps=true",
        "trainer.learning_rate=true",
    ],
)
def test_true_and_false_are_no_numbers(override):
    with pytest.raises(BadInput, match="number|integer"):
        from lenrl.training.prepare import prepare

        prepare(compose("grpo", [override]))


@pytest.mark.parametrize(
    ("section", "options"),
    [("verifier", {"timeout_s": True}), ("verifier", {"workers": False}), ("task", {"train": True, "name": "chain"})],
)
def test_true_and_false_are_no_numbers_for_tasks_and_verifiers(section, options):
    from lenrl import tasks
    from lenrl.verify.settings import VerifierSettings

    with pytest.raises(BadInput, match="number, not true or false"):
        VerifierSettings.read(options) if section == "verifier" else tasks.build(options)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "[1, NaN]", '{"a": [-1e999]}'])
def test_a_number_that_is_none_is_refused_in_rows(tmp_path, number):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"prompt": "1+1", "answer": "2"}}\n{{"prompt": "1+2", "answer": {number}}}\n')
    with pytest.raises(BadInput, match=r"line 2: field 'answer' holds (-?inf|nan), which is no value"):
        read_rows(path)
    path.write_text(f'{{"prompt": "1+2", "length": 3, "text": "3", "answer": {number}}}\n')
    with pytest.raises(BadInput, match="line 1: not a JSON object: .* is not a JSON number"):
        read(path)
    with pytest.raises(BadInput, match="is not a JSON number|field 'length'"):
        of_rows([{"prompt": "a", "length": float("nan")}])


def test_a_number_that_is_none_is_refused_in_a_parquet_file(tmp_path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"prompt": ["a"], "answer": [float("nan")]}), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match="row 1: field 'answer' holds nan"):
        read_rows(tmp_path / "a.parquet")
