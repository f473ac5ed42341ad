"""The report as a file: whole, self-contained, and harmless whatever the model wrote."""

import builtins
import itertools
import json
import math
import re
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from lenrl.config import compose
from lenrl.config.settings import FinalEvaluation
from lenrl.errors import PluginFailed
from lenrl.generation.pretrained import TINY
from lenrl.report import figures, multiples, summary
from lenrl.report import page as report
from lenrl.report.entries import Entry, Training
from lenrl.report.panels import in_words
from lenrl.strategies.functions import RewardFunction

HOSTILE = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m&lt; \ud800 {{7*7}}"


def entry(model, decoding, tokens):
    return {
        "model": model,
        "decoding": decoding,
        "accuracy": 0.875,
        "accuracy_ci95": [0.8, 0.95],
        "tokens_mean": tokens,
        "tokens_mean_ci95": [tokens - 5.0, None],
        "tokens_p95": 99.0,
        "tokens_correct": tokens,
        "tokens_wrong": None,
        "truncated_share": 0.0,
        "samples": 1,
        "prompts": 3,
        "task": HOSTILE.encode("utf-8", "replace").decode(),
        "split": "test",
        "by_difficulty": {"2": {"prompts": 3, "accuracy": 0.875, "tokens_mean": tokens}},
        "completions": f"completions-{model}.parquet",
        "fingerprint": {"hash": "abc"},
        "warnings": [],
    }


@pytest.fixture
def run(tmp_path):
    text = HOSTILE.encode("utf-8", "replace").decode()
    for model, lengths in (("base", [50, 60, 70]), ("after", [20, 30, 90])):
        columns = {
            "prompt_id": ["a", "b", "c"],
            "prompt": [text, "q2", "q3"],
            "completion": [text, "x" * 20_000, ""],
            "verdict": [True, False, None],
            "tokens": lengths,
            "truncated": [False, True, False],
        }
        pq.write_table(pa.table(columns), tmp_path / f"completions-{model}.parquet")
    entries = [entry("base", "sampled", 60.0), entry("after", "sampled", 30.0)]
    (tmp_path / "eval.json").write_text(json.dumps({"models": entries, "pairs": []}))
    lines = [{"step": i, "accuracy": 0.8, "tokens_mean": 60.0 - i, "reward": None} for i in range(1, 9)]
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9, '
    )
    (tmp_path / "recipe.yaml").write_text(f"recipe: drpo # {text}\n")
    return tmp_path


class Tags(HTMLParser):
    """Collects elements, attributes and what is still open."""

    def __init__(self):
        super().__init__()
        self.seen, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(path):
    tags = Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    assert not tags.open
    return tags.seen


def test_hostile_text_makes_no_element(run):
    pytest.importorskip("plotly")
    seen = parsed(report.write_run(run))
    assert [tag for tag, _ in seen].count("script") == 3  # data, plotly, the page's own
    assert not [tag for tag, _ in seen if tag in ("img", "iframe", "link", "object")]
    assert not [attrs for _, attrs in seen if any(name.startswith("on") for name in attrs)]
    assert "alert(1)</script>" not in (run / "report.html").read_text()


def test_a_hostile_name_ends_no_script(run):
    pytest.importorskip("plotly")
    result = json.loads((run / "eval.json").read_text())
    result["models"][0]["model"] = name = HOSTILE.encode("utf-8", "replace").decode()
    (run / "eval.json").write_text(json.dumps(result))
    path = report.write_run(run)
    assert [tag for tag, _ in parsed(path)].count("script") == 3
    drawn = re.search(r'id="figures">(.*?)</script>', path.read_text(), re.S)[1]  # type: ignore[index]
    names = {trace["name"] for trace in json.loads(drawn)["front"]["data"]}
    assert name.replace("<", "&lt;") in names


def test_nothing_is_loaded_from_elsewhere_and_the_page_is_small(run):
    path = report.write_run(run)
    assert path.stat().st_size < 10_000_000
    seen = parsed(path)
    assert not [attrs for _, attrs in seen if "src" in attrs or "href" in attrs]
    policy = next(a["content"] for t, a in seen if t == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_the_page_says_what_it_knows(run):
    text = report.write_run(run).read_text()
    assert "87.5% <small>[80.0%, 95.0%]" in text
    assert "60.0 <small>[55.0, ?]" in text
    assert "50 → 20 tokens" in text
    assert "characters left out" in text
    assert "light-dark(" in text and "prefers-color-scheme: dark" in text
    drawn = json.loads(re.search(r'id="figures">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    assert {"front", "budgets", "lengths", "curves"} <= set(drawn)
    assert all(f'id="{name}"' in text for name in drawn)


def test_without_plotly_the_page_says_so(run, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name.startswith("plotly"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    text = report.write_run(run).read_text()
    assert "they need plotly" in text
    assert 'id="figures"' not in text and 'class="plot"' not in text
    assert "87.5%" in text


def test_a_plug_in_that_fails_on_other_data_is_said_and_ends_nothing(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise PluginFailed("mine.py:3 gives no verdict")

    monkeypatch.setattr(summary, "evaluate", fails)
    recipe = compose("grpo", ["evals=[{name: more, task: {use: chain, test: 9}}]"])
    said = summary._evaluate_other(tmp_path, recipe, recipe.evals[0], Console())
    assert said == "mine.py:3 gives no verdict"


def test_an_empty_folder_gives_a_page(tmp_path):
    assert "Not evaluated" in report.write_run(tmp_path).read_text()


def test_histograms_count_every_completion():
    columns = {"tokens": [1, 5, 5, 40, 41], "verdict": [True, True, False, None, True]}
    entries = [Entry(name, {"decoding": "sampled"}, None) for name in ("before", "after")]
    for one in entries:
        one.__dict__["columns"] = columns
    palette = figures.colours(["before", "after"])
    [(label, pairs)] = figures.by_decoding(entries, [None, entries[0]], lambda entry: True)
    figure = multiples.lengths(label, pairs, palette)
    assert sum(sum(trace["y"]) for trace in figure["data"]) == pytest.approx(2)  # shares of each
    assert [trace["line"]["dash"] for trace in figure["data"]] == ["solid", "dot", "dash"] * 2
    assert figures.by_decoding([], [], lambda entry: True) == []


def test_long_curves_are_thinned():
    lines = [{"step": i, "accuracy": 0.5} for i in range(10_000)]
    (figure,) = multiples.curves({"a": Training({}, "", lines, [])}, {"a": "after"})
    assert len(figure["data"][0]["x"]) <= multiples.MAX_POINTS


def test_development_problems_are_drawn_by_the_names_that_a_run_writes():
    lines = [{"step": i, "accuracy": 0.5, "tokens_mean": 9.0} for i in range(1, 5)]
    dev = [{"step": 0, "eval_accuracy": 0.4, "eval_tokens": 11.0}, {"step": 4, "eval_accuracy": math.nan}]
    (figure,) = multiples.curves({"a": Training({}, "", lines, dev)}, {"a": "after"})
    diamonds = [trace for trace in figure["data"] if trace["mode"] == "markers"]
    assert [(trace["x"], trace["y"]) for trace in diamonds] == [([0], [0.4]), ([0], [11.0])]


def test_a_figure_is_told_in_words():
    lines = [{"step": i, "accuracy": i / 10} for i in range(1, 5)]
    (figure,) = multiples.curves({"a": Training({}, "", lines, [])}, {"a": "after"})
    assert in_words(figure) == "a, accuracy: 0.1 at 1 to 0.4 at 4"


def test_control_characters_become_visible(run):
    text = report.write_run(run).read_text()
    assert "␛[31m" in text and "\x1b" not in text


def test_headings_are_in_order_and_tables_have_headers(run):
    seen = parsed(report.write_run(run))
    levels = [int(tag[1]) for tag, _ in seen if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all("scope" in attrs for tag, attrs in seen if tag == "th")
    assert all(attrs["aria-label"] for _, attrs in seen if attrs.get("role") == "img")


@pytest.fixture
def recipe():
    def ends(completions, **columns):
        return [float("boxed" in completion[0]["content"]) for completion in completions]

    judge = RewardFunction("ends", ends, verdict=True)
    return SimpleNamespace(
        recipe="drpo",
        seed=0,
        task={"name": "chain", "test": 6},
        verifier={"kind": "exact"},
        method=SimpleNamespace(reads_verdicts=True, needs_gold=True, judge=judge),
        evals=(),
        eval=FinalEvaluation(),
        logging=SimpleNamespace(report_to=(), project="lenrl", entity=None),
        trainer={"max_completion_length": 100, "temperature": 1.0},
        model=SimpleNamespace(
            path="tiny",
            dtype="float32",
            revision=None,
            tokenizer=None,
            chat_template=None,
            think_prefilled=None,
            trust_remote_code=False,
        ),
    )


def test_a_finished_run_gets_its_summary(tmp_path, recipe):
    (tmp_path / "model").symlink_to(TINY)
    (tmp_path / "training.json").write_text('{"steps": 60, "seconds": 132.0}')
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    found = summary.finish(tmp_path, recipe, console)
    assert found == json.loads((tmp_path / "summary.json").read_text())
    assert (found["status"], found["steps"], found["seconds"]) == ("finished", 60, 132.0)
    evaluated = json.loads((tmp_path / "eval.json").read_text())["models"]
    assert [e["decoding"] for e in evaluated] == ["sampled", "greedy"] * 2
    assert found["before"]["accuracy"] == evaluated[0]["accuracy"]
    rows = pq.read_table(tmp_path / evaluated[0]["completions"]).to_pylist()
    assert [row["verdict"] for row in rows] == ["boxed" in row["completion"] for row in rows], (
        "the function's"
    )
    assert evaluated[0]["fingerprint"]["judge"] == "ends"
    assert found["after"]["greedy"]["tokens"] == evaluated[3]["tokens_mean"]
    text = console.export_text()
    assert "60 steps in 132 s" in text
    assert "lenrl eval tiny" in text
    assert (tmp_path / "report.html").exists()


def test_a_run_without_jinja_finishes_without_its_page(tmp_path, recipe, monkeypatch):
    recipe.task = {"name": "chain", "test": 0}
    (tmp_path / "model").symlink_to(TINY)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    assert summary.finish(tmp_path, recipe, console)["status"] == "finished"
    assert "No report: the page needs jinja2" in console.export_text()
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    "task", [{"name": "chain", "test": 0}, {"name": "table", "files": {"train": "a.jsonl"}}]
)
def test_without_test_problems_the_run_still_finishes(tmp_path, recipe, task):
    recipe.task = task
    (tmp_path / "model").symlink_to(TINY)
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    found = summary.finish(tmp_path, recipe, console)
    assert (found["status"], found["before"]) == ("finished", None)
    assert "Not evaluated: task" in console.export_text()
    assert not (tmp_path / "eval.json").exists()
