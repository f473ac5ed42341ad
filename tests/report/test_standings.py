"""The best of the compared runs: told with its certainty, against its own base, under names that tell runs apart."""

import json

import pyarrow.parquet as pq
import pytest

from lenrl import measures
from lenrl.cli import main
from lenrl.report import figures, multiples, sources
from lenrl.report.compare import Compared
from lenrl.report.entries import Entry, Training
from tests.report.test_compare_page import evaluation, trained


def run(folder, right, longest, alpha=0.1, seed=0):
    """A run's folder: base and model under two decodings, as the run's own evaluation leaves them."""
    evaluation(folder, "model", right, longest)
    trained(folder, alpha)
    recipe = json.loads((folder / "recipe.yaml").read_text()) | {"seed": seed}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    base = evaluation(folder / "base", "tiny", 0.4, 90)
    (base / "completions.parquet").rename(folder / "base.parquet")
    own = json.loads((folder / "eval.json").read_text())["models"][0]
    first = json.loads((base / "eval.json").read_text())["models"][0] | {"completions": "base.parquet"}
    models = [
        m | {"decoding": decoding, "fingerprint": {"hash": f"{decoding}{seed}", "decoding": {"seed": seed}}}
        for m in (first, own)
        for decoding in ("sampled", "greedy")
    ]
    (folder / "eval.json").write_text(json.dumps({"models": models, "pairs": []}))
    return folder


@pytest.fixture
def compared(tmp_path):
    folders = [
        run(tmp_path / "drpo" / "x", 0.9, 80),
        run(tmp_path / "grpo" / "x", 0.5, 60, alpha=0.2),
        run(tmp_path / "grpo" / "y", 0.51, 60, alpha=0.2, seed=1),
    ]
    return Compared(sources.read(folders))


def test_runs_are_told_apart_and_stand_against_their_own_base(compared):
    bases = {
        entry.name: base and base.name for entry, base in zip(compared.entries, compared.bases, strict=True)
    }
    assert bases == {
        "tiny": None, "tiny, sampling seed 1": None, "drpo/x": "tiny", "grpo/x": "tiny", "y": "tiny, sampling seed 1",
    }  # fmt: skip
    assert compared.warnings == []  # another sampling seed is no other condition


def test_tellings_of_a_problem_count_as_one(tmp_path):
    """30 problems of two samples are 10 that are told three times; a file without `base` is read as before."""
    folders = [
        evaluation(tmp_path / name, name, right, 60)
        for name, right in (("base", 0.4), ("a", 0.5), ("b", 0.6))
    ]
    apart = Compared(sources.read(folders))
    for folder in (folders[0], folders[2]):
        table = pq.read_table(folder / "completions.parquet")
        bases = [f"q{number // 3}" for number in range(30) for _ in range(2)]
        pq.write_table(table.append_column("base", [bases]), folder / "completions.parquet")
    together = Compared(sources.read(folders))
    for compared, shape in ((apart, (30, 2)), (together, (10, 6))):
        arrays = {
            entry.name: [getattr(entry.answers, of).reshape(shape) for of in ("correct_PS", "tokens_PS")]
            for entry in compared.entries
        }
        pairs = {entry.name: compared.pairs[number] for number, entry in enumerate(compared.entries)}
        for name in "ab":
            assert pairs[name] == measures.compare(*arrays["base"], *arrays[name])
        [standing] = compared.standings
        ranked = [arrays[name] for name in standing.names]
        expected = measures.rank([correct for correct, _ in ranked], [tokens.mean() for _, tokens in ranked])
        assert standing.ranking == expected


def test_each_decoding_has_its_best_with_its_certainty_and_seeds_count_together(compared):
    assert [standing.decoding for standing in compared.standings] == ["sampled", "greedy"]
    standing = compared.standings[0]
    assert sorted(standing.names) == ["drpo/x", "y + grpo/x, 2 seeds"] and standing.seeds
    best = standing.cards[0]
    assert (best.name, best.certain) == ("drpo/x", True) and "told apart from all others: +" in best.note
    assert "Against its base: +" in best.note
    marks = {row[0].shown: row[0].mark for row in compared.rows() if row[1].value == "sampled"}
    assert marks == {"tiny": "", "tiny, sampling seed 1": "", "drpo/x": "best", "grpo/x": "", "y": ""}


def test_one_that_is_hardly_better_is_not_told_apart(tmp_path):
    folders = [run(tmp_path / "a", 0.5, 80), run(tmp_path / "b", 0.51, 20, alpha=0.2)]
    accurate, short, within = Compared(sources.read(folders)).standings[0].cards
    assert accurate.certain is False and "not told apart from" in accurate.note
    assert (short.label, short.name) == ("shortest of these", "b")
    assert within.label.startswith("right most often within ") and within.name == "b"


def test_those_that_answered_other_problems_are_named_and_not_ranked(compared, tmp_path):
    import pyarrow.parquet as pq

    path = tmp_path / "drpo" / "x" / "completions.parquet"
    pq.write_table(pq.read_table(path).slice(2), path)
    again = Compared(
        sources.read([tmp_path / "drpo" / "x", tmp_path / "grpo" / "x", tmp_path / "grpo" / "y"])
    )
    assert any("can't be ranked" in warning for warning in again.warnings)


def test_no_series_mixes_decodings_and_each_run_has_one_colour_and_each_decoding_one_shape(compared):
    drawn = compared.figures()
    points = [trace for trace in drawn["front"]["data"] if trace["mode"] == "markers"]
    assert len(points) == len(compared.entries) and all(len(trace["x"]) == 1 for trace in points)
    colours, shapes = {}, {}
    for trace, entry in zip(sorted(points, key=str), sorted(compared.entries, key=str), strict=True):
        assert trace["name"] in {entry.name for entry in compared.entries}
        colours.setdefault(trace["name"], set()).add(trace["marker"]["color"])
        shapes.setdefault(trace["xaxis"], set()).add(trace["marker"]["symbol"])
    assert all(map(lambda found: len(found) == 1, [*colours.values(), *shapes.values()]))
    own = [next(iter(colours[name])) for name in ("drpo/x", "grpo/x", "y")]
    assert len(set(own)) == 3 and shapes == {"x": {"circle"}, "x2": {"diamond"}}
    assert {"budgets", "budgets-2", "lengths", "lengths-2"} <= set(drawn)
    effects = [trace for trace in drawn["effects"]["data"] if trace["mode"] == "markers"]
    assert {trace["name"] for trace in effects} == {"sampled", "greedy"}


def test_many_runs_have_a_panel_each_and_no_two_the_same_colour():
    names = [f"r{n}" for n in range(40)]
    palette = figures.colours(names)
    assert len(set(palette.values())) == 40
    lines = [{"step": step, "accuracy": 0.5, "tokens_mean": 9.0 + step} for step in range(1, 400)]
    trainings = {name: Training({}, "", lines, [{"step": 3, "eval_accuracy": 0.4}]) for name in names}
    accuracy, tokens = multiples.curves(trainings, palette)
    assert (accuracy["label"], tokens["label"]) == ("accuracy", "tokens")
    assert [note["text"] for note in accuracy["layout"]["annotations"]] == names
    panels = {}
    for trace in accuracy["data"]:
        panels.setdefault(trace["xaxis"], []).append(trace["name"])
    assert panels["x2"] == ["median of all", "r1", "r1, development problems"] and len(panels) == 40
    assert sum(len(trace["x"]) for trace in tokens["data"]) < 40 * 200


def test_the_verb_tells_the_best_in_80_columns(compared, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    folders = [str(tmp_path / name) for name in ("drpo/x", "grpo/x", "grpo/y")]
    assert main(["compare", *folders, "--out", str(tmp_path / "page.html")]) == 0
    said, _, _ = capsys.readouterr().out.partition("written:")
    assert "  most accurate: drpo/x, " in said and max(map(len, said.splitlines())) <= 80


def test_a_decoding_of_any_name_makes_no_path(tmp_path):
    folder = evaluation(tmp_path / "a", "a", 0.5, 50)
    content = json.loads((folder / "eval.json").read_text())
    content["models"].append(content["models"][0] | {"decoding": "../../x\"'><script>"})
    (folder / "eval.json").write_text(json.dumps(content))
    drawn = Compared(sources.read([folder])).figures()
    assert all(name.replace("-", "").isalnum() for name in drawn)


def test_a_checkpoint_is_named_by_its_step():
    from lenrl.report.names import named, place_of

    figures_ = {"decoding": "sampled", "model": "m", "fingerprint": {}}
    entries = [
        Entry("", figures_, None, place=place_of(f"/w/plain/{last}")) for last in ("model", "checkpoint-20")
    ]
    assert [entry.name for entry in named(entries)] == ["plain", "plain, step 20"]
