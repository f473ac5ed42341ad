"""`lenrl compare`: what folders hold, differences, files."""

import csv
import json
import re

import numpy as np
import pytest

from lenrl import measures
from lenrl.cli import main
from lenrl.errors import BadInput
from lenrl.report import figures, page, sources
from lenrl.report.compare import Compared
from lenrl.report.entries import paired, varied
from lenrl.sweeps import ledger
from tests.report.test_compare_page import evaluation, trained


@pytest.fixture
def folders(tmp_path):
    found = [evaluation(tmp_path / "base", "base", 0.3, 90), evaluation(tmp_path / "a", "a", 0.9, 40)]
    trained(found[1], 0.1)
    return found


def test_differences_are_paired_with_the_first_model(folders):
    compared = Compared(sources.read(folders))
    base, other = compared.entries
    pair = compared.pairs[1]
    assert compared.pairs[0] is None and pair is not None and pair.accuracy_diff is not None
    assert pair.accuracy_diff.value == pytest.approx(other.figures["accuracy"] - base.figures["accuracy"])
    assert pair.tokens_ratio.value == pytest.approx(
        other.figures["tokens_mean"] / base.figures["tokens_mean"]
    )


def test_differences_have_the_intervals_of_the_runs_own_evaluation(folders):
    base, other = sources.read(folders)
    tables = []
    for entry in (base, other):
        columns = entry.columns
        tables += [np.array(columns[name], dtype=float).reshape(-1, 2) for name in ("verdict", "tokens")]
    assert paired(base, other) == measures.compare(*tables, seed=0)
    recipe = folders[1] / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace('"seed": 0', '"seed": 7'))
    assert paired(*sources.read(folders)) == measures.compare(*tables, seed=7)


def test_two_models_have_a_headline_and_more_have_none(folders, tmp_path):
    compared = Compared(sources.read(folders))
    accuracy, tokens = compared.cards()
    ratio = compared.pairs[1].tokens_ratio  # type: ignore[union-attr]
    column = compared.header.index("accuracy")
    assert accuracy["both"] == [row[column].shown.split(" [")[0] for row in compared.rows()]
    assert accuracy["note"].startswith("+") and accuracy["note"].endswith("points")
    assert tokens["note"] == (f"{1 - ratio.value:.1%} [{1 - ratio.high:.1%}, {1 - ratio.low:.1%}] saved")
    longer = Compared(sources.read(folders[::-1])).cards()[1]["note"]
    low, high = (float(end) for end in re.findall(r"([\d.]+)%[,\]]", longer))
    assert longer.endswith("more") and low < float(longer.split("%")[0]) < high
    assert Compared(sources.read([*folders, evaluation(tmp_path / "c", "c", 0.5, 60)])).cards() == []


def test_of_one_problem_nobody_knows_how_many_tokens_are_saved(folders):
    import pyarrow.parquet as pq

    for folder in folders:
        path = folder / "completions.parquet"
        pq.write_table(pq.read_table(path).slice(0, 2), path)
    notes = [str(card["note"]) for card in Compared(sources.read(folders)).cards()]
    assert "[?, 100.0%] saved" in notes[1] and "inf" not in " ".join(notes)


def test_models_that_answered_other_problems_have_no_difference(folders):
    import pyarrow.parquet as pq

    path = folders[1] / "completions.parquet"
    pq.write_table(pq.read_table(path).slice(2), path)
    assert Compared(sources.read(folders)).pairs == {0: None, 1: None}


def test_a_sweep_gives_its_finished_trials_and_one_base(tmp_path):
    for trial, status in ((0, ledger.FINISHED), (1, ledger.CRASHED), (2, ledger.FINISHED)):
        run = evaluation(tmp_path / ledger.run_name(trial), f"model{trial}", 0.5 + trial / 10, 50)
        trained(run, trial / 10)
        result = json.loads((run / "eval.json").read_text())
        after = result["models"][0]
        result["models"] = [{**after, "model": "tiny"}, after]
        (run / "eval.json").write_text(json.dumps(result))
        ledger.append(tmp_path, trial, status, [f"reward.alpha={trial / 10}"])
    entries = sources.read([tmp_path])
    assert [entry.name for entry in entries] == ["tiny", "alpha=0.0", "alpha=0.2"]
    assert varied(entries) == ["reward.alpha"]
    compared = Compared(entries)
    assert compared.header[2] == "reward.alpha" and all(compared.pairs[n] for n in (1, 2))
    drawn = figures.effects(entries, {entry.name: "after" for entry in entries})
    assert drawn is not None and drawn["data"][1]["x"] == ["0.0", "0.2"]


def test_the_verb_writes_the_page_and_every_figure(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out, pictures = tmp_path / "out" / "r.html", tmp_path / "figures"
    assert main(["compare", *map(str, folders), "--out", str(out), "--figures", str(pictures)]) == 0
    said, _, written = capsys.readouterr().out.partition("written:")
    assert written and max(map(len, said.splitlines())) <= 80
    assert out.stat().st_size < 10 * 2**20
    for name in ("front", "lengths", "curves"):
        assert (pictures / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert "<svg" in (pictures / f"{name}.svg").read_text()
        assert len(list(csv.reader((pictures / f"{name}.csv").open()))) > 2
    table = list(csv.DictReader((pictures / "table.csv").open()))
    assert [row["model"] for row in table] == ["base", "a"] and table[0]["accuracy diff."] == ""


def test_an_evaluation_inside_a_run_has_the_run_and_its_base(tmp_path):
    run = evaluation(tmp_path / "run", "run/model", 0.5, 50)
    trained(run, 0.1)
    folder = evaluation(run / "eval8", "run/model", 0.6, 40)
    result = json.loads((folder / "eval.json").read_text())
    after = result["models"][0]
    (folder / "eval.json").write_text(json.dumps({"models": [{**after, "model": "tiny"}, after]}))
    base, other = sources.read([folder])
    assert (base.name, base.base, base.training) == ("tiny", True, None)
    assert other.name == "run" and other.settings["reward.alpha"] == 0.1


def test_a_run_whose_folder_is_named_like_its_base_is_told_from_it(tmp_path):
    run = evaluation(tmp_path / "tiny", "tiny/model", 0.5, 50)
    trained(run, 0.1)
    result = json.loads((run / "eval.json").read_text())
    result["models"] = [{**result["models"][0], "model": "tiny"}, *result["models"]]
    (run / "eval.json").write_text(json.dumps(result))
    compared = Compared(sources.read([run]))
    assert [entry.name for entry in compared.entries] == ["tiny", "tiny, trained"]
    assert len(compared.cards()) == 2


@pytest.mark.parametrize("what", ["nothing", "empty", "broken"])
def test_folders_that_hold_no_figures_are_refused(tmp_path, what):
    folder = tmp_path / what
    if what != "nothing":
        folder.mkdir()
    if what == "broken":
        (folder / "eval.json").write_text("{")
    with pytest.raises(BadInput, match=what):
        sources.read([folder])


def test_twenty_runs_stay_below_ten_megabytes(tmp_path):
    folders = [evaluation(tmp_path / f"r{n}", f"r{n}", 0.5, 4000, samples=4) for n in range(20)]
    path = page.write(Compared(sources.read(folders)), tmp_path / "r.html")
    assert path.stat().st_size < 10 * 2**20
