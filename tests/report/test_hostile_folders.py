"""`lenrl compare` on folders that others hand in: a page, or one message; no traceback, no formula, no link."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from lenrl.cli import main
from lenrl.sweeps import ledger
from tests.report.test_compare_page import evaluation, trained


@pytest.fixture
def folders(tmp_path):
    found = [evaluation(tmp_path / "base", "base", 0.3, 90), evaluation(tmp_path / "a", "a", 0.9, 40)]
    trained(found[1], 0.1)
    return found


def compared(folders, tmp_path, capsys, *more):
    """Exit code and standard error of the verb."""
    code = main(["compare", *map(str, folders), "--out", str(tmp_path / "r.html"), *more])
    return code, capsys.readouterr().err


WRONG = [
    ("accuracy", "high"), ("accuracy", -3), ("accuracy", True), ("accuracy", [1]), ("accuracy", 1e300),
    ("accuracy_ci95", 7),
    ("accuracy_ci95", [1]), ("accuracy_ci95", ["a", "b"]), ("tokens_mean", None), ("tokens_mean", -1),
    ("tokens_p95", {}),
    ("model", 7), ("model", ["a"]), ("model", "x" * 10_000), ("decoding", None), ("fingerprint", None),
    ("fingerprint", "f"),
    ("by_difficulty", [1]), ("by_difficulty", {"easy": 3}), ("by_part", {"p": {"accuracy": "x"}}), ("prompts", 0),
    ("reach", {"train_max": 8}), ("reach", 8),
    ("samples", 0), ("samples", "two"), ("truncated_share", "none"), ("split", 3), ("completions", 7),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_figures_of_another_kind_are_refused_with_their_key(folders, tmp_path, capsys, key, value):
    path = folders[1] / "eval.json"
    content = json.loads(path.read_text())
    for change in ({key: value}, None):
        model = dict(content["models"][0])
        model.update(change) if change else model.pop(key, None)
        path.write_text(json.dumps({"models": [model]}))
        code, said = compared(folders, tmp_path, capsys)
        optional = change is None and key in ("by_difficulty", "by_part", "completions", "reach")
        assert code == (0 if optional else 2), said
        assert "Traceback" not in said and (optional or key in said and len(said) < 1500)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "null", '{"models": 3}', '{"models": [3]}', '{"models": [[]]}', '{"models": {}}', "[" * 100_000,
     "\xff\xfe",
     '{"models": [{"accuracy": NaN}]}', '{"models": [{"accuracy": 1e999}]}'],
)  # fmt: skip
def test_a_file_that_is_no_evaluation_is_refused(folders, tmp_path, capsys, text):
    (folders[1] / "eval.json").write_bytes(text.encode("latin-1"))
    code, said = compared(folders, tmp_path, capsys)
    assert code == 2 and "eval.json" in said and "Traceback" not in said


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": ["many"] * 60}, {"tokens": [None] * 60}, {"tokens": [[1]] * 60}, {"verdict": ["yes"] * 60},
        {"prompt_id": [3] * 60},
        {"prompt": [3] * 60}, {"completion": [None, *[[1]] * 59]}, {"prompt_id": None}, {"verdict": None},
        {"tokens": None}, {"completion": None}, {"prompt": None}, {"prompt": [None, *["q"] * 59]},
        {"rendered": [3] * 60}, {"truncated": ["no"] * 60}, {"base": [7] * 60},
    ],
)  # fmt: skip
def test_completions_of_another_kind_are_refused(folders, tmp_path, capsys, change):
    path = folders[1] / "completions.parquet"
    columns = {**pq.read_table(path).to_pydict(), **change}
    pq.write_table(pa.table({name: values for name, values in columns.items() if values is not None}), path)
    code, said = compared(folders, tmp_path, capsys)
    assert (
        code == 2 and next(iter(change)) in said and "completions.parquet" in said and "Traceback" not in said
    )


REACH = {"train_max": 8, "reach_90": 4, "reach_90_ci95": None, "reach_50": 8, "reach_50_ci95": [8, 8]}


def test_figures_without_an_interval_or_with_odd_lengths_are_drawn(folders, tmp_path, capsys):
    path = folders[1] / "eval.json"
    model = json.loads(path.read_text())["models"][0]
    odd = {"007": model["by_difficulty"]["easy"], "\u0661": model["by_difficulty"]["easy"]}
    model |= {"accuracy_ci95": None, "tokens_mean_ci95": None, "reach": REACH, "by_difficulty": odd}
    path.write_text(json.dumps({"models": [model]}))
    columns = pq.read_table(folders[1] / "completions.parquet").drop_columns(["truncated"])
    pq.write_table(columns, folders[1] / "completions.parquet")
    code, said = compared(folders, tmp_path, capsys)
    assert code == 0, said


def test_completions_that_are_no_parquet_file_are_refused(folders, tmp_path, capsys):
    (folders[1] / "completions.parquet").write_bytes(b"PAR1nothing of the kindPAR1")
    code, said = compared(folders, tmp_path, capsys)
    assert code == 2 and "no readable parquet file" in said


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("recipe.yaml", "a: " + "[" * 3000), ("recipe.yaml", "seed: [1]\n"),
        ("recipe.yaml", "seed: 2024-01-01\n1: {2: 3}\n"),
        ("recipe.yaml", "seed: -5\n"), ("recipe.yaml", "seed: 1.5\nreward: {alpha: .nan}\n"), ("recipe.yaml", "\x00"),
        ("metrics.jsonl", '{"step": "x", "accuracy": [1]}\n{"step": null}\n{"accuracy": 1}\n[]\n'),
        ("metrics.jsonl", '{"step": 1e999, "tokens": NaN}\n' * 3),
        ("dev.jsonl", '{"step": {}, "eval_accuracy": "x"}\n'),
        ("dev.jsonl", "\xff\n"), ("metrics.jsonl", '{"step": {"a": 1}, "loss": 1e400}\n'),
    ],
)  # fmt: skip
def test_what_a_run_says_of_its_training_is_shown_as_far_as_it_is_readable(
    folders, tmp_path, capsys, file, text
):
    (folders[1] / file).write_bytes(text.encode("latin-1"))
    code, said = compared(folders, tmp_path, capsys, "--figures", str(tmp_path / "figures"))
    assert code == 0 and "Traceback" not in said, said


@pytest.mark.parametrize(
    "event",
    [{"trial": "x"}, {"run": 7}, {"run": "../../elsewhere"}, {"run": "/etc"}, {"overrides": 3}, {"overrides": [1]},
     {"status": []},
     {"seconds": "s"}, {"trial": [1]}],
)  # fmt: skip
def test_a_ledger_of_another_kind_names_no_trial_outside(tmp_path, capsys, event):
    run = evaluation(tmp_path / "elsewhere", "model", 0.5, 50)
    sweep = tmp_path / "deep" / "sweep"
    trained(evaluation(sweep / ledger.run_name(0), "inside", 0.5, 50), 0.1)
    line = {
        "trial": 0,
        "overrides": [],
        "status": "finished",
        "run": ledger.run_name(0),
        "seconds": 1.0,
    } | event
    (sweep / ledger.NAME).write_text(json.dumps(line) + "\n")
    code, said = compared([sweep], tmp_path, capsys)
    assert code == 2 and "no trial of this sweep is finished" in said and run.is_dir()


def test_a_name_is_no_formula_no_link_and_no_mathematics(folders, tmp_path, capsys):
    hostile = [
        '=HYPERLINK("http://x")',
        "+1",
        "-2+3",
        "@SUM(1)",
        '<a href="javascript:alert(1)">here</a>',
        "$\\frac{$",
        "\tx",
        "_hidden",
    ]
    path = folders[0] / "eval.json"
    model = json.loads(path.read_text())["models"][0]
    path.write_text(json.dumps({"models": [{**model, "model": name} for name in hostile]}))
    recipe = yaml.safe_load((folders[1] / "recipe.yaml").read_text())
    (folders[1] / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "=cmd": "=1+1"}))
    figures = tmp_path / "figures"
    code, said = compared(folders, tmp_path, capsys, "--figures", str(figures))
    assert code == 0, said
    for file in figures.glob("*.csv"):
        for row in csv.reader(file.open(newline="")):
            for cell in row:
                try:
                    float(cell)
                except ValueError:
                    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")), (file, cell)
    page = (tmp_path / "r.html").read_text()
    assert (
        '<a href="javascript' not in page
        and '<a href=\\"javascript' not in page
        and "\\u003ca href" not in page
    )
