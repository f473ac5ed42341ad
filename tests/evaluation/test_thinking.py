"""`structure=` of an evaluation: the embedded model read exactly, by cues and by a judge on a server."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from lenrl.errors import BadInput, RunFailed, validated
from lenrl.evaluation.evaluate import evaluate
from lenrl.evaluation.settings import EvalSettings
from lenrl.evaluation.structured import check_structure
from lenrl.generation import openai_engine
from lenrl.report.summary import show
from lenrl.tasks.chain import ChainTask

TASK = {"name": "chain", "test": 24}
OPTIONS = {"samples": 6, "max_new_tokens": 160, "verifier": {"kind": "exact"}}


def figures(folder, **options):
    (entry,) = evaluate(["tiny"], TASK, validated(EvalSettings, OPTIONS | options), out_dir=folder)["models"]
    return entry


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("structure")
    return folder, figures(folder, structure="exact")


def test_exact(exact):
    folder, entry = exact
    found = entry["structure"]
    rows = pq.read_table(folder / entry["completions"]).to_pylist()
    known = [row for row in rows if row["failed"] is not None]
    assert found["failed_share"] == pytest.approx(sum(row["failed"] for row in known) / len(known))
    assert found["review_share"] == pytest.approx(sum(row["review"] for row in known) / len(known))
    assert found["steps_mean"] == pytest.approx(sum(row["steps"] for row in rows) / len(rows))
    assert sum(found["tokens_by"].values()) == pytest.approx(entry["tokens_mean"])
    assert all(value > 0 for value in found["tokens_by"].values())
    picked, r = found["selection"], found["correlation"]
    assert picked["random"] == pytest.approx(entry["accuracy"])
    assert picked["least_failed"] > picked["random"] > picked["shortest"]
    assert r["failed"] < -0.7 and r["failed_ci95"][0] < r["failed"] < r["failed_ci95"][1]
    assert r["length"] == entry["by_length"]["r_length"]


def test_the_table_fits_a_terminal(exact):
    _, entry = exact
    console = Console(width=80, file=io.StringIO())
    show({"models": [entry], "pairs": []}, console)
    text = console.file.getvalue()
    assert (
        "Structure of the thinking" in text and f"{entry['structure']['correlation']['failed']:+.2f}" in text
    )


def test_cues_and_nothing_read_the_same_completions(exact):
    folder, _ = exact
    entry = figures(folder, structure="cues")
    found = entry["structure"]
    assert entry["resumed"] == 24 * 6, "nothing is sampled again"
    assert found["by"] == "cues" and found["failed_share"] is None and found["review_share"] > 0
    assert found["switches_per_1000"] == 0 and "least_failed" not in found["selection"]
    off = figures(folder, structure="off")
    assert "structure" not in off and "failed" not in pq.read_schema(folder / off["completions"]).names


class Judge(ThreadingHTTPServer):
    """Finds the first step of each thinking failed, and the second paragraph a review."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.faults, self.keys = [], [], []
        self.reply = "review: 2\n```dot\ndigraph { a [fillcolor=lightpink]; b [fillcolor=lightblue] }\n```"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        own = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        own.asked.append((self.path, body))
        own.keys.append(self.headers.get("Authorization"))
        status = own.faults.pop() if own.faults else 200
        found = json.dumps({"choices": [{"message": {"content": own.reply}}]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)


@pytest.fixture
def judge(monkeypatch):
    monkeypatch.setattr(openai_engine.time, "sleep", lambda _: None)
    server = Judge()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.options = {
        "structure": "judge",
        "judge_url": f"http://127.0.0.1:{server.server_port}/v1",
        "judge_model": "reader",
        "judge_prompts": 5,
        "judge_samples": 2,
    }
    yield server
    server.shutdown()
    server.server_close()


def test_a_judge_reads_some_completions_once(exact, judge, monkeypatch):
    folder, _ = exact
    monkeypatch.setenv("JUDGE_API_KEY", "sk-judge-0123456789")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other-0123456789")
    judge.faults = [503]  # tried again
    entry = figures(folder, **judge.options)
    found = entry["structure"]
    rows = pq.read_table(folder / entry["completions"]).to_pylist()
    assert [row["failed"] for row in rows] == [0.5 if n < 30 and n % 6 < 2 else None for n in range(144)]
    assert found["failed_share"] == 0.5 and found["judged"] == 10 and found["unknown"] == 0
    some = [row["verdict"] for row in rows if row["failed"] is not None]
    assert found["selection"]["random"] == pytest.approx(sum(some) / 10)
    asked = [body for _, body in judge.asked]
    assert {path for path, _ in judge.asked} == {"/v1/chat/completions"}
    assert set(judge.keys) == {"Bearer sk-judge-0123456789"}
    assert {(body["model"], body["temperature"]) for body in asked} == {("reader", 0.0)}
    text = asked[0]["messages"][0]["content"]
    assert "[1] " in text and "boxed" not in text, "neither answer nor verdict"
    calls = len(judge.asked)
    with (folder / "judge.jsonl").open("a") as file:
        file.write('\n["cut')
    assert figures(folder, **judge.options)["structure"] == found and len(judge.asked) == calls
    figures(folder, **judge.options | {"judge_prompts": 6})
    assert len(judge.asked) in range(calls + 1, calls + 3)
    judge.reply = "I can not draw this."
    other = figures(folder, **judge.options | {"judge_model": "another"})
    assert other["structure"]["unknown"] == 10 and other["structure"]["failed_share"] is None
    assert any("10 of the judge's 10 replies have no graph" in line for line in other["warnings"])


def test_a_judge_that_costs_too_much_refuses_or_is_silent_is_one_message(exact, judge):
    folder, _ = exact
    with pytest.raises(BadInput, match=r"about 1[0-9],\d{3} tokens in \d+ calls, judge_tokens allows 9,999"):
        figures(folder, **judge.options | {"judge_model": "dear", "judge_tokens": 9999})
    assert judge.asked == []
    judge.reply = None
    assert figures(folder, **judge.options | {"judge_model": "mute"})["structure"]["unknown"] == 10
    judge.faults = [500] * 1000
    with pytest.raises(RunFailed, match="does not answer after 6 tries .*the same command continues"):
        figures(folder, **judge.options | {"judge_model": "down"})


def test_what_can_not_be_read_is_refused_before_anything_is_sampled(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "1+1", "answer": "2"}\n')
    with pytest.raises(BadInput, match="structure=exact reads thinking of one known form"):
        evaluate(["tiny"], str(rows), EvalSettings(structure="exact"))
    for options in (
        {"structure": "judge"},
        {"judge_url": "http://x", "judge_model": "m"},
        {"structure": "judge", "judge_url": "http://x"},
    ):
        with pytest.raises(BadInput, match="structure=judge needs judge_url and judge_model"):
            validated(EvalSettings, options)
    with pytest.raises(BadInput, match="judge_url='x' is no address"):
        check_structure(EvalSettings(structure="judge", judge_url="x", judge_model="m"), ChainTask())
