"""Cascades in an evaluation and in a comparison: a short thinker first, its base where it is unsure."""

import json
import math

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from lenrl.errors import BadInput
from lenrl.evaluation.cache import LOGPS
from lenrl.evaluation.evaluate import evaluate
from lenrl.evaluation.settings import EvalSettings
from lenrl.generation.transformers_engine import TransformersEngine
from lenrl.measures import deferral
from lenrl.report import page as report
from lenrl.report import sources
from lenrl.report.compare import Compared
from lenrl.report.summary import show
from tests.report.conftest import opened

TASK = {"name": "chain", "test": 24}
OPTIONS = {"samples": 3, "max_new_tokens": 120, "temperature": 0.8, "verifier": {"kind": "exact"}}
CONTROLS = {"controls": ("stop@3", "force@24"), "control": {"answer": "\n\\boxed{"}}


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deferral, "RESAMPLES", 60)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cascade")
    result = evaluate(["tiny"], TASK, EvalSettings(logps=True, **CONTROLS, **OPTIONS), out_dir=folder)
    return folder, result


def rows(folder, result, number):
    return pq.read_table(folder / result["models"][number]["completions"]).to_pylist()


def test_summaries_are_of_the_models_own_log_probs(done, monkeypatch):
    """Batches of one as a reference: the mean at temperature 1 of what was drawn at 0.8."""
    import torch

    from lenrl.generation.transformers_engine import load

    folder, result = done
    engine = load("tiny")
    row = rows(folder, result, 0)[0]
    prompt = engine.info.tokenizer(row["rendered"], add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logp_TV = engine.model(torch.tensor([[*prompt, *row["ids"]]])).logits[0].log_softmax(-1)
    places = range(len(prompt) - 1, len(prompt) + len(row["ids"]) - 1)
    logps = [float(logp_TV[place, token]) for place, token in zip(places, row["ids"], strict=True)]
    assert row["logp_mean"] == pytest.approx(sum(logps) / len(logps), abs=1e-4)
    assert row["logp_q0"] == pytest.approx(min(logps), abs=1e-3)
    answer = logps[row["ids"].index(262) + 1 :] if 262 in row["ids"] else logps  # </think>
    assert row["logp_answer"] == pytest.approx(sum(answer) / len(answer), abs=1e-4)
    assert LOGPS[0] not in rows(folder, result, 2)[0], "force is put together of stages"


def test_a_pair_has_a_cascade(done):
    _, result = done
    stop, force = result["pairs"]
    assert force["cascade"] is None
    found = stop["cascade"]
    assert (found["prompts"], found["completions"]) == (24, 72)
    assert found["first"] == {
        "accuracy": pytest.approx(result["models"][1]["accuracy"]),
        "tokens": pytest.approx(result["models"][1]["tokens_mean"]),
    }
    assert {"sum", "mean", "q0", "q50", "answer", "length", "vote", "oracle"} <= found["scores"].keys()
    for score in found["scores"].values():
        assert score["accuracy"][0] == pytest.approx(found["first"]["accuracy"])
        assert score["accuracy"][-1] == pytest.approx(found["base"]["accuracy"])
        assert score["auc_ci95"][0] <= score["auc"] <= score["auc_ci95"][1]
    console = Console(record=True, width=150)
    show(result, console)
    assert "tiny, stop@3 (sampled)" in console.export_text()


def test_the_completions_are_those_without_log_probs_and_a_folder_without_them_is_sampled_again(
    done, tmp_path
):
    folder, result = done
    plain = evaluate(["tiny"], TASK, EvalSettings(**OPTIONS), out_dir=tmp_path)
    assert plain["models"][0]["fingerprint"] == result["models"][0]["fingerprint"]
    before = rows(tmp_path, plain, 0)
    assert [row["ids"] for row in before] == [row["ids"] for row in rows(folder, result, 0)]
    assert not set(LOGPS) & set(before[0])
    again = evaluate(["tiny"], TASK, EvalSettings(logps=True, **OPTIONS), out_dir=tmp_path)
    assert again["models"][0]["resumed"] == 0
    assert rows(tmp_path, again, 0) == rows(folder, result, 0)


def test_a_stopped_evaluation_keeps_its_summaries(done, tmp_path, monkeypatch):
    folder, result = done
    real = TransformersEngine.sample

    def dies(self, prompts, decoding, batches):
        real(self, prompts[:36], decoding, batches)
        raise KeyboardInterrupt

    settings = EvalSettings(logps=True, batch_size=36, **OPTIONS)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TransformersEngine, "sample", dies)
        evaluate(["tiny"], TASK, settings, out_dir=tmp_path)
    found = evaluate(["tiny"], TASK, settings, out_dir=tmp_path)
    assert found["models"][0]["resumed"] == 36
    for row, other in zip(rows(tmp_path, found, 0), rows(folder, result, 0), strict=True):
        assert row["ids"] == other["ids"] and row["logp_sum"] == pytest.approx(other["logp_sum"], abs=1e-3)
    whole = evaluate(["tiny"], TASK, settings, out_dir=tmp_path)
    assert whole["models"][0]["resumed"] == 72


def test_a_model_that_gives_no_log_probs_is_refused_before_anything_is_sampled(monkeypatch):
    monkeypatch.setattr(TransformersEngine, "no_logps", lambda self: "no cache")
    monkeypatch.setattr(TransformersEngine, "sample", lambda *_: pytest.fail("sampled"))
    with pytest.raises(BadInput, match="logps=true.*no cache"):
        evaluate(["tiny"], TASK, EvalSettings(logps=True, **OPTIONS))


def test_a_comparison_finds_the_figures_of_the_evaluation(done):
    folder, result = done
    compared = Compared(sources.read([folder]))
    (found,) = compared.cascades
    assert (found.name, found.base) == ("tiny, stop@3", "tiny")
    there = result["pairs"][0]["cascade"]["scores"]
    for name, score in found.figures["scores"].items():
        assert score["auc"] == pytest.approx(there[name]["auc"]), name
        assert score["auc_ci95"] == pytest.approx(there[name]["auc_ci95"]), name
    names = [trace["name"] for trace in compared.figures()["cascades"]["data"]]
    assert {"at random", "mean", "vote", "oracle", "base alone"} <= set(names) and len(names) < 12


def test_columns_of_words_are_refused(done, tmp_path):
    folder, _ = done
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "completions-1-sampled-stop@3.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("logp_mean")
    words = table.column("completion").combine_chunks()
    pq.write_table(table.set_column(place, "logp_mean", words), path)
    with pytest.raises(BadInput, match="logp_mean"):
        Compared(sources.read([tmp_path]))


def test_the_page_draws_and_lists_cascades(done, browser, tmp_path):
    path = report.write(Compared(sources.read([done[0]])), tmp_path / "report.html")
    with opened(browser, path, "light", "Runs compared") as page:
        assert page.locator("#cascades .main-svg path").count() > 8
        assert page.get_by_role("region", name="Cascades").locator("tbody tr").count() > 5
    assert not math.isnan(json.loads((done[0] / "eval.json").read_text())["models"][0]["accuracy"])
