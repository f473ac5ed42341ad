"""The search with Optuna, with stand-ins for the trials."""

import json
import math
import sys

import pytest

from lenrl.config import Axis
from lenrl.errors import BadInput
from lenrl.sweeps import ledger
from lenrl.sweeps.search import Search, _text
from tests.sweeps.fakes import events, plan, starts, sweep

SPACE = ("trainer.learning_rate=tag(log,interval(1e-5,1e-3))", "seed=range(4)", "trainer.beta=0.0,0.1")


def study(of):
    return Search(of).study


def test_a_search_draws_from_the_space_and_more_draws_continue_it(tmp_path):
    assert sweep(plan(tmp_path, *SPACE, draws=4))[0].run() == 0
    known = ledger.read(tmp_path)
    assert len(known) == len({t.overrides for t in known.values()}) == 4
    for trial in known.values():
        drawn = dict(line.split("=") for line in trial.overrides)
        assert 1e-5 <= float(drawn["trainer.learning_rate"]) <= 1e-3
        assert drawn["seed"] in "0123" and drawn["trainer.beta"] in ("0.0", "0.1")
    assert sweep(plan(tmp_path, *SPACE, draws=6), {5: "ok 0.9 20"})[0].run() == 0
    assert [len(starts(tmp_path, n)) for n in range(6)] == [1] * 6
    found = study(plan(tmp_path, *SPACE, draws=6))
    assert [t.values for t in found.best_trials] == [[0.9, 20.0]]
    assert json.loads((tmp_path / "sweep.json").read_text())["front"] == [5]


def test_a_small_space_is_searched_once_without_repeats(tmp_path):
    assert sweep(plan(tmp_path, "seed=0,1,2", draws=10))[0].run() == 0
    assert {t.overrides for t in ledger.read(tmp_path).values()} == {("seed=0",), ("seed=1",), ("seed=2",)}


def test_what_optuna_was_not_told_before_a_kill_it_learns_at_the_next_start(tmp_path):
    of = plan(tmp_path, *SPACE, draws=3)
    of.settle()
    overrides = Search(of).draw(0, {})
    assert overrides is not None
    ledger.append(tmp_path, 0, ledger.FINISHED, overrides, accuracy=0.6, tokens=33.0)
    crashed = Search(of).draw(1, ledger.read(tmp_path))
    assert crashed is not None
    ledger.append(tmp_path, 1, ledger.CRASHED, crashed)
    assert sweep(of)[0].run() == 0
    known = ledger.read(tmp_path)
    assert known[1].overrides == tuple(crashed) and events(tmp_path, 1)[-1] == "finished"
    assert not starts(tmp_path, 0)
    told = {t.user_attrs.get("trial"): t.values for t in study(of).trials}
    assert told[0] == [0.6, 33.0] and told[1] == [0.5, 50.0]


def test_what_was_drawn_and_never_begun_has_failed_and_is_credited_with_nothing(tmp_path):
    of = plan(tmp_path, *SPACE, draws=1)
    of.settle()
    lost = Search(of).draw(0, {})  # killed before the ledger knew
    assert sweep(of, {0: "ok 0.7 40"})[0].run() == 0
    assert ledger.read(tmp_path)[0].overrides != tuple(lost or ())
    assert [(t.state.name, t.values) for t in study(of).trials] == [("FAIL", None), ("COMPLETE", [0.7, 40.0])]


def test_a_task_of_an_array_forgets_its_own_draws_alone(tmp_path):
    of = plan(tmp_path, *SPACE, draws=2)
    of.settle()
    searching = Search(of)
    for number in (0, 1):
        searching.draw(number, {})
    searching.forget({}, 0)
    assert [t.state.name for t in searching.study.trials] == ["FAIL", "RUNNING"]
    searching.forget({}, None)
    assert [t.state.name for t in searching.study.trials] == ["FAIL", "FAIL"]


def test_a_combination_that_is_refused_is_said_and_another_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("lenrl.sweeps.search.MOST_DRAWS", 30)
    of = plan(tmp_path, "seed=0,-1,1", draws=3)
    one, said = sweep(of)
    assert one.run() == 0
    assert {t.overrides for t in ledger.read(tmp_path).values()} == {("seed=0",), ("seed=1",)}
    assert said.getvalue().count("the trial seed=-1 can't be trained") == 1
    assert all(t.state.is_finished() for t in study(of).trials)
    monkeypatch.setattr("lenrl.sweeps.search.MOST_REFUSED", 1)
    with pytest.raises(BadInput, match="1 times in a row; narrow the space(.|\n)*seed=-1"):
        sweep(of)[0].run()


@pytest.mark.parametrize(("low", "high"), [(0.12345, 0.1299), (0.1, 1999.9), (-0.98765, -0.5)])
def test_no_rounding_leaves_the_interval(low, high):
    axis = Axis("key", low=low, high=high)
    for value in (low, low + 1e-6, (low + high) / 2, high - 1e-6, high):
        assert low <= float(_text(axis, value)) <= high
    assert _text(axis, low) == str(low)


def test_the_search_goes_where_accuracy_is_high_and_tokens_are_few(tmp_path):
    """A known landscape: 1e-4 is best in both. Blind draws are 1 decade away from it on average, and ten of them
    below 0.5 once in 300 searches."""
    of = plan(tmp_path, "trainer.learning_rate=tag(log,interval(1e-6,1e-2))", draws=30)
    of.settle()
    searching, distances = Search(of), []
    for n in range(30):
        overrides = searching.draw(n, ledger.read(tmp_path))
        assert overrides is not None
        far = abs(math.log10(float(overrides[0].split("=")[1])) + 4)
        distances.append(far)
        ledger.append(tmp_path, n, ledger.FINISHED, overrides, accuracy=1 - far / 4, tokens=30 + 20 * far)
        searching.tell(ledger.read(tmp_path))
    assert sum(distances[20:]) / 10 < 0.5


def test_indices_of_an_array_that_begin_together_draw_different_trials(tmp_path):
    of = plan(tmp_path, *SPACE, draws=8)
    of.settle()
    together = [Search(of, index) for index in range(4)]
    assert len({tuple(one.draw(n, {}) or ()) for n, one in enumerate(together)}) == 4


def test_each_index_of_an_array_draws_its_own(tmp_path):
    for index in (2, 0):
        assert sweep(plan(tmp_path, *SPACE, draws=3), only=index)[0].run() == 0
    assert list(ledger.read(tmp_path)) == [0, 2]
    assert {t.user_attrs["trial"] for t in study(plan(tmp_path, *SPACE, draws=3)).trials} == {0, 2}


def test_without_optuna_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(BadInput, match=r"lenrl\[sweep\]"):
        sweep(plan(tmp_path, *SPACE, draws=3))[0].run()
