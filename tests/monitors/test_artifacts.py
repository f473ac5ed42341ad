"""The report reaches the trackers, and a tracker that fails or blocks costs a run nothing."""

import json
import shutil
import socket
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from lenrl.config import compose
from lenrl.monitors import artifacts as tracked

SECRET = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "report.html").write_text("<html>the report</html>")
    (folder / "completions").mkdir()
    for step in (1, 2, 3):
        row = {"step": step, "prompt": "1+1", "completion": f"answer {step}", "verdict": True, "tokens": 3}
        rows = [row | {"reward": 1.0, "advantage": 0.5}]
        pq.write_table(pa.Table.from_pylist(rows), folder / "completions" / f"step{step:06d}-0.parquet")
    (folder / "summary.json").write_text(json.dumps({"accuracy": 0.75}))
    return folder


def recipe(tracker, run):
    found = compose("grpo", [f"logging.report_to={tracker}", "logging.project=mine", f"output_dir={run}"])
    (run / "recipe.yaml").write_text(yaml.safe_dump(found.resolved()))
    return found


@pytest.fixture
def anew():
    """wandb reads its environment once; here it does so before the test and after it."""
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()


@pytest.mark.usefixtures("anew")
def test_wandb_gets_an_artifact_of_the_same_run(run, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    given = recipe("wandb", run)
    (run / "trackers.json").write_text(json.dumps({"wandb": "abcd1234"}))
    tracked.hand_over(run, given)
    assert not [record for record in caplog.records if record.name == "lenrl"]
    (written,) = tmp_path.rglob("run-abcd1234.wandb")
    deadline = time.monotonic() + 30  # wandb's own process writes the file
    while b"report-abcd1234" not in written.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.2)
    content = written.read_bytes()
    assert b"report-abcd1234" in content and b"report.html" in content
    (written_table,) = tmp_path.rglob("completions*.table.json")
    rows = json.loads(written_table.read_text())["data"]
    assert [row[2] for row in rows] == ["answer 1", "answer 3"], "the first rollout and the last"


def test_trackio_gets_an_artifact(run, tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    seen, tables = [], []
    import trackio

    log_artifact, log = trackio.log_artifact, trackio.log

    def watched(artifact, **options):
        seen.append(log_artifact(artifact, **options))
        return seen[-1]

    def logged(found, **more):
        tables.append(found["completions"])
        return log(found, **more)

    monkeypatch.setattr(trackio, "log_artifact", watched)
    monkeypatch.setattr(trackio, "log", logged)
    assert (
        tracked.main(str(run), json.dumps({"project": "mine", "entity": None, "name": "x"}), "trackio") == 0
    )
    assert seen and "report.html" in str(seen[0].manifest)
    assert [row["completion"] for row in tables[0].data] == ["answer 1", "answer 3"]


def test_tensorboard_shows_the_figures(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracked.hand_over(run, recipe("tensorboard", run))
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    (tag,) = [tag for tag in events.Tags()["tensors"] if "summary.json" in tag]
    assert len(events.Tensors(next(t for t in events.Tags()["tensors"] if t.startswith("completions")))) == 2
    assert b"0.75" in events.Tensors(tag)[0].tensor_proto.string_val[0]


def test_a_tracker_that_fails_is_said_without_the_secret(run, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    (run / "trackers.json").write_text(json.dumps({"wandb": f"{SECRET}/no/id"}))
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracked.hand_over(run, recipe("wandb", run))
    assert "wandb did not take the report (" in caplog.text and SECRET not in caplog.text


def test_a_tracker_whose_process_is_killed_is_said(run, monkeypatch, caplog):
    monkeypatch.setattr(tracked.sys, "executable", shutil.which("false"))
    tracked.hand_over(run, recipe("tensorboard", run))
    assert "tensorboard did not take the report (it ended with 1)" in caplog.text


@pytest.fixture
def silent_server():
    """Takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_tracker_that_blocks_is_left_behind(run, tmp_path, monkeypatch, caplog, silent_server):
    monkeypatch.setattr(tracked, "PATIENCE_S", 6.0)
    for name, value in {"BASE_URL": silent_server, "API_KEY": SECRET, "DIR": str(tmp_path)}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    given = recipe("wandb", run)
    began = time.monotonic()
    tracked.hand_over(run, given)
    assert time.monotonic() - began < 40 and "no answer within 6 s" in caplog.text
    (run / "trackers.json").write_text(json.dumps({"silent": ["wandb"]}))
    caplog.clear()
    tracked.hand_over(run, given)
    assert not caplog.records, "in training it did not answer either"
