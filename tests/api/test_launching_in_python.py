"""`lenrl.train` and `lenrl.sweep`: launched as the command line does, with exceptions for exit codes."""

import errno
import json
import threading

import pytest

import lenrl
from lenrl.cli import main
from lenrl.config import compose
from lenrl.errors import BadInput, RunFailed
from lenrl.launch import supervise as supervising
from lenrl.sweeps import scheduler
from tests.sweeps import fakes

SMALL = ["trainer.per_device_train_batch_size=16", "trainer.num_generations=4", "trainer.max_steps=2"]


@pytest.fixture
def launched(monkeypatch, tmp_path):
    """Lines that would have been launched, their folders called RUN, and the code that a launch ends with."""
    lines = []
    folders = [str(tmp_path / name) for name in ("ours", "theirs")]

    def supervise(line, processes, **_):
        line = " ".join(map(str, line))
        for folder in folders:
            line = line.replace(folder, "RUN")
        lines.append(line)
        return code[0]

    def finish(folder, recipe):
        (folder / "summary.json").write_text(json.dumps({"recipe": recipe.recipe}))

    code = [0]
    monkeypatch.setattr(supervising, "supervise", supervise)
    monkeypatch.setattr("lenrl.report.summary.finish", finish)
    return lines, code


def test_a_run_is_launched_as_the_command_line_does(launched, tmp_path):
    lines, _ = launched
    run = lenrl.train("kimi", [*SMALL, f"output_dir={tmp_path / 'ours'}"])
    assert main(["train", "kimi", *SMALL, f"output_dir={tmp_path / 'theirs'}"]) == 0
    assert lines[0] == lines[1] and "RUN" in lines[0]
    assert run.path == tmp_path / "ours" and run.summary == {"recipe": "kimi"}
    ours, theirs = (compose(str(tmp_path / name / "recipe.yaml")) for name in ("ours", "theirs"))
    assert ours.identity() == theirs.identity() != compose("kimi").identity()


def test_a_composed_recipe_is_trained(launched, tmp_path):
    recipe = lenrl.compose("kimi", [*SMALL, f"output_dir={tmp_path}"])
    assert lenrl.train(recipe).path == tmp_path
    with pytest.raises(BadInput, match=r"go to lenrl\.compose"):
        lenrl.train(recipe, ["seed=1"])


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (1, RunFailed, "the run failed.*no checkpoint"),
        (2, BadInput, "standard error"),
        (130, KeyboardInterrupt, "stopped by a signal"),
        (143, SystemExit, "143"),
    ],
)
def test_exit_codes_are_exceptions(launched, tmp_path, code, kind, said):
    launched[1][0] = code
    with pytest.raises(kind, match=said):
        lenrl.train("grpo", [*SMALL, f"output_dir={tmp_path / 'run'}"])
    assert main(["train", "grpo", *SMALL, f"output_dir={tmp_path / 'run'}"]) == code


def test_a_bad_recipe_launches_nothing(launched, tmp_path):
    with pytest.raises(BadInput, match="rewrd"):
        lenrl.train("grpo", ["rewrd=kimi", f"output_dir={tmp_path}"])
    assert launched[0] == []


def test_another_thread_is_refused(launched, tmp_path):
    raised = []

    def call():
        try:
            lenrl.train("grpo", [*SMALL, f"output_dir={tmp_path}"])
        except BadInput as fault:
            raised.append(str(fault))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert len(raised) == 1 and "main thread" in raised[0] and launched[0] == []


@pytest.fixture
def trials(monkeypatch):
    """Trials are stand-ins, which do what `how` says of them."""
    how = {}
    real = scheduler.Sweep

    def sweep(plan, **options):
        one, said = fakes.sweep(plan, how, **options)
        assert isinstance(one, real)
        return one

    monkeypatch.setattr("lenrl.sweeps.scheduler.Sweep", sweep)
    monkeypatch.setattr(fakes, "Sweep", real)
    return how


def test_a_sweep_gives_its_trials(trials, tmp_path):
    trials |= {0: "ok 0.5 50", 1: "ok 0.6 40"}
    swept = lenrl.sweep("grpo", [f"output_dir={tmp_path}", "seed=0,1"], jobs=2)
    assert swept.path == tmp_path
    assert [(t["accuracy"], t["tokens"]) for t in swept.summary["trials"]] == [(0.5, 50.0), (0.6, 40.0)]
    assert swept.summary["front"] == [1]


def test_a_sweep_with_a_crashed_trial_fails_and_names_it(trials, tmp_path):
    trials[1] = "crash"
    with pytest.raises(RunFailed, match="trial 0: finished, trial 1: crashed"):
        lenrl.sweep("grpo", [f"output_dir={tmp_path}", "seed=0,1"])


@pytest.mark.parametrize("options", [{"jobs": 0}, {"trials": True}, {"on_error": "cry"}], ids=str)
def test_bad_options_of_a_sweep_are_named(options, tmp_path):
    with pytest.raises(BadInput, match=next(iter(options))):
        lenrl.sweep("grpo", [f"output_dir={tmp_path}", "seed=0,1"], **options)


def test_models_are_evaluated_and_compared(tmp_path):
    task = {"name": "chain", "test": 4}
    result = lenrl.evaluate("tiny", task, out=tmp_path / "measured", greedy=True, max_new_tokens=64)
    written = json.loads((tmp_path / "measured" / "eval.json").read_text())
    assert written["models"] == result["models"]
    assert [row["model"] for row in written["models"]] == ["tiny"] and written["models"][0]["prompts"] == 4
    compared = lenrl.compare([tmp_path / "measured"], out=tmp_path / "page.html")
    assert len(compared.rows()) == 1 and (tmp_path / "page.html").stat().st_size > 1000


def test_a_summary_that_can_not_be_written_is_made_by_the_same_command_again(
    launched, tmp_path, monkeypatch, capsys
):
    """A disk that fills after the training: nothing is finished before all of it is there."""
    run, calls = tmp_path / "run", []

    def trains(line, processes, **_):
        (run / "model").mkdir(parents=True)
        (run / "training.json").write_text(json.dumps({"steps": 1000}))
        return 0

    def finish(folder, recipe):
        calls.append(folder)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder / "report.html.part"))
        (folder / "report.html").write_text("")
        (folder / "summary.json").write_text(json.dumps({"paths": {"report.html": "elsewhere by now"}}))

    monkeypatch.setattr(supervising, "supervise", trains)
    monkeypatch.setattr("lenrl.report.summary.finish", finish)
    line = ["train", "grpo", *SMALL, f"output_dir={run}"]
    assert main(line) == 1
    said = capsys.readouterr().err
    assert "could not be written: No space left on device" in said and "Traceback" not in said
    assert main(line) == main(line) == 0 and len(calls) == 2
    assert "finished; no step taken. See its report.html." in capsys.readouterr().err
    (run / "report.html").unlink()
    assert main(line) == 0 and len(calls) == 3, "a report that is missing is made again"
