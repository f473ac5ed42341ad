"""scripts/atlas.py: its plan can be trained, and its tables say what the evaluations hold."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import atlas
import atlas_fronts
import atlas_picture
import atlas_points
import atlas_tables
from atlas import PLAN, SAMPLES, Cell, Curve

from lenrl.measures import mixture
from lenrl.sweeps import ledger
from lenrl.sweeps.plan import Plan

METHODS = sorted(PLAN["methods"])


@pytest.mark.parametrize("method", METHODS)
def test_each_method_of_the_plan_can_be_trained_at_both_ends_of_its_dial(method):
    curve = Curve("mixed", method)
    _, recipe, *words = curve.sweep(Path("outputs/none"))
    plan = Plan.read(recipe, words)
    cells = curve.cells([0, 2])
    assert plan.count == len(curve.dial[1]) * len(atlas.SEEDS)
    for cell in (cells[0], cells[-1]):
        overrides = plan.overrides(cell.trial)
        assert f"seed={cell.seed}" in overrides
        if curve.dial[0]:
            assert f"{curve.dial[0]}={curve.dial[1][cell.place]}" in overrides
    composed = plan.compose(plan.overrides(cells[-1].trial))
    assert composed.trainer["max_steps"] == atlas.UPDATES * PLAN["testbeds"]["mixed"]["rollouts"]


def test_every_method_is_in_one_group():
    grouped = [name for group in PLAN["groups"].values() for name in group]
    assert sorted(grouped) == METHODS


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_the_best_mixture(seed):
    rng = np.random.default_rng(seed)
    points = np.stack([rng.random(6), 100 * rng.random(6)], axis=1)
    tokens, right = atlas_fronts.front(points)
    every = np.concatenate([[[0, 0]], points])
    for budget in np.linspace(0, 100, 23):
        assert np.interp(budget, tokens, right) == pytest.approx(
            mixture(every[:, 1], every[:, 0], [budget])[0]
        )


def test_measures_of_a_front_against_one_point():
    points = np.array([[0.6, 30.0], [0.8, 60.0]])
    made = atlas_fronts.Measures.of(points, np.array([0.7, 60.0]), 60.0)
    assert made.lead == pytest.approx(0.1)
    assert made.tokens_ratio == pytest.approx(45 / 60)
    assert made.area == pytest.approx((0.6 / 2 + 0.7) / 2, abs=1e-3)
    missed = atlas_fronts.Measures.of(points, np.array([0.9, 60.0]), 60.0)
    assert missed.tokens_ratio == float("inf")


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Made-up evaluations of a base, of `grpo` at two seeds, and of `drpo` at two places of its dial."""
    monkeypatch.setattr(atlas, "OUT", tmp_path)
    monkeypatch.setattr(atlas_tables, "OUT", tmp_path)
    atlas_points.answers.cache_clear()
    evaluated("base", 0, 0, 0.5, 80, stop=(0.55, 60))
    for seed in (0, 1):
        evaluated("grpo", 0, seed, 0.75, 50)
        evaluated("drpo", 0, seed, 0.75, 40)
        evaluated("drpo", 1, seed, 0.25, 20)
    for method, trials in {"grpo": (0, 1), "drpo": (0, 1, 10, 11)}.items():
        sweep = tmp_path / "mixed" / method
        sweep.mkdir(parents=True)
        for trial in trials:
            ledger.append(sweep, trial, ledger.FINISHED, [], seconds=30.0 + trial)
    yield tmp_path
    atlas_points.answers.cache_clear()


def evaluated(
    method,
    place,
    seed,
    share,
    tokens,
    bed="mixed",
    difficulties=("2", "5", "8", "11"),
    further=False,
    **controlled,
):
    folder = Cell(bed, method, place, seed).tested("test", further)
    folder.mkdir(parents=True)
    rows = {"none": (share, tokens)} | {f"{name}@1": ends for name, ends in controlled.items()}
    models = []
    for control, (right, length) in rows.items():
        prompts = 40
        verdicts = np.repeat(np.arange(prompts) < right * prompts, SAMPLES)
        columns = {
            "verdict": verdicts.tolist(),
            "tokens": [length] * len(verdicts),
            "difficulty": np.repeat(difficulties * (prompts // len(difficulties)), SAMPLES).tolist(),
        }
        name = f"completions-0-sampled-{control}.parquet"
        pq.write_table(pa.table(columns), folder / name)
        models.append({"control": control, "completions": name})
    (folder / "eval.json").write_text(json.dumps({"models": models}))


def test_a_row_of_the_fronts_says_what_the_runs_reached(measured):
    drpo, grpo = atlas_tables.fronts("mixed", "test", ["grpo", "drpo"]).splitlines()[2:]
    cells = [cell.strip() for cell in drpo.strip("|").split("|")]
    assert cells[0] == "[`drpo`](methods/drpo.md)"
    assert cells[1] == "4"
    assert cells[3].startswith("0.000 [")  # as accurate at 50 tokens: the mixture holds its best point
    assert cells[4].startswith("0.80 [")  # 40 of 50 tokens
    assert cells[5] == "0.750 @ 40.0"
    assert cells[6] == "—"  # it pays less than the base does under any control
    assert cells[7:9] == ["0.250 @ 20.0", "2 of 4"]
    assert cells[9] == "36"  # the median of 30, 31, 40 and 41 seconds
    assert " — | — " in grpo
    assert "0 of 2" in grpo
    assert "| — |" in grpo


def test_a_seed_without_its_control_run_is_not_compared(measured):
    evaluated("drpo", 2, 2, 0.9, 10)
    lines = atlas_tables.strengths("mixed", "test", ["drpo"]).splitlines()[2:]
    assert "| 2 | 0.750" in lines[0]
    assert "0.000 [" in lines[0]
    assert lines[2].rstrip("| ").endswith("— | —")


def test_what_chance_alone_leads_by(measured):
    assert "against itself" not in atlas_tables.fronts("mixed", "test", ["grpo", "drpo"])
    for seed in (3, 4, 5, 6):
        evaluated("grpo", 0, seed, 0.75, 50 - (seed == 3))
    atlas_points.answers.cache_clear()  # it knows that these were missing
    rows = atlas_tables.fronts("mixed", "test", ["grpo", "drpo"]).splitlines()
    row = next(row for row in rows if "against itself" in row)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:2] == ["grpo against itself", "4"]
    assert cells[3] == "0.000 [0.000, 0.000]"  # the same answers at fewer tokens
    ratio, low, high = map(float, cells[4].replace("[", "").replace("]", "").replace(",", "").split())
    assert (
        49 / 50 <= low <= ratio < high <= 1
    )  # the best of two places with two runs each, of which one is shorter


def test_what_was_lost_beyond_the_trained_lengths(measured):
    lengths = ("2", "9")
    evaluated("base", 0, 0, 1.0, 80, bed="longer", difficulties=lengths)
    evaluated("grpo", 0, 0, 1.0, 60, bed="longer", difficulties=lengths)
    evaluated("drpo", 0, 0, 1.0, 40, bed="longer", difficulties=lengths)
    file = Cell("longer", "drpo", 0, 0).tested("test") / "completions-0-sampled-none.parquet"
    table = pq.read_table(file).to_pydict()
    beyond = [n for n, length in enumerate(table["difficulty"]) if length == "9"]
    for n in beyond[: len(beyond) // 2]:
        table["verdict"][n] = False
    pq.write_table(pa.table(table), file)
    base, grpo, drpo = atlas_tables.beyond("longer", "test", ["grpo", "drpo"]).splitlines()[2:]
    assert "| — | 0.000 [" in base
    assert grpo.endswith("| — |")
    assert "| 1.000 [" in drpo
    assert drpo.count("-0.500 [") == 2


def test_controls_stand_beside_the_base(measured):
    lines = atlas_tables.controls("mixed", "test").splitlines()[2:]
    assert ["`none`" in line or "`stop@1`" in line for line in lines] == [True, True]
    assert "60.0" in lines[1]


def test_controls_that_need_other_options_are_measured_apart_and_stand_with_the_others(measured):
    evaluated("base", 0, 0, 0.5, 80, bed="smollm2")
    evaluated("base", 0, 0, 0.5, 80, bed="smollm2", further=True, brake=(0.5, 40))
    reached = atlas_points.base_points("smollm2", "test")
    assert {name: one.tokens_PS.mean() for name, one in reached.items()} == {"none": 80, "brake@1": 40}


def test_a_picture_is_the_same_file_twice(measured, tmp_path):
    for name in ("a.svg", "b.svg"):
        atlas_picture.picture("mixed", "test", ["grpo", "drpo"], tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"drpo" in (tmp_path / "a.svg").read_bytes() or b"<path" in (tmp_path / "a.svg").read_bytes()


def test_the_pages_and_the_cards_have_places_for_the_tables():
    docs = Path(atlas_tables.ROOT) / "docs"
    for bed, plan in PLAN["testbeds"].items():
        page = (docs / plan["page"]).read_text()
        first, *further = plan["tests"]
        tables = ["beyond"] if "train_max" in plan else ["fronts", "dials", "controls"]
        marks = [f"{bed}-{first}-{table}" for table in tables]
        for mark in [*marks, *(f"{bed}-{test}-dials" for test in further)]:
            assert f"<!-- {mark}:begin -->" in page
            assert f"<!-- {mark}:end -->" in page
        assert f"({bed}.svg)" in page or "train_max" in plan
    for method in METHODS:
        assert "<!-- measured:begin -->" in (docs / "methods" / f"{method}.md").read_text()


def test_a_card_keeps_the_tables_of_testbeds_that_are_not_measured_here(measured, tmp_path, monkeypatch):
    monkeypatch.setattr(atlas_tables, "ROOT", tmp_path)
    card = tmp_path / "docs/methods/drpo.md"
    card.parent.mkdir(parents=True)
    other, stale = ("| old |\n| --- |\n| longer |", "| old |\n| --- |\n| stale |")
    body = f"x\n\nTestbed `mixed`, test:\n\n{stale}\n\nTestbed `longer`, test:\n\n{other}"
    card.write_text(f"a\n<!-- measured:begin -->\n{body}\n<!-- measured:end -->\nb\n")
    atlas_tables.card("drpo")
    once = card.read_text()
    assert "stale" not in once
    assert once.count("[`drpo`](drpo.md)") == 2  # the places of its dial that are measured
    assert f"Testbed `longer`, test:\n\n{other}\n<!-- measured:end -->\nb\n" in once
    atlas_tables.card("drpo")
    assert card.read_text() == once


def test_a_text_is_put_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n")
    atlas_tables.fill(page, "x", "new")
    atlas_tables.fill(page, "y", "nowhere")
    assert page.read_text() == "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb\n"
