"""An evaluation that was stopped continues, and gives what an uninterrupted one gives."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from lenrl.cli import main
from lenrl.errors import BadInput
from lenrl.evaluation import evaluate as module
from lenrl.evaluation.cache import LOGPS, CompletionCache, source_of
from lenrl.evaluation.evaluate import evaluate
from lenrl.evaluation.settings import EvalSettings
from lenrl.generation.base import Completion
from lenrl.generation.pretrained import TINY

TASK = {"name": "chain", "test": 12}
OPTIONS = {
    "samples": 3,
    "max_new_tokens": 40,
    "batch_size": 5,
    "verifier": {"kind": "exact"},
    "decodings": ("sampled", "greedy"),
}


def figures(result):
    entries = [{k: v for k, v in e.items() if k not in ("seconds", "resumed")} for e in result["models"]]
    return {"models": entries, "pairs": result["pairs"]}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    return folder, evaluate(["tiny"], TASK, EvalSettings(**OPTIONS), out_dir=folder)


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """Stops the evaluation after so many batches of 5; `drawn`: how many completions were sampled."""

    class Counting(CompletionCache):
        drawn = 0
        stop_after = 10**9

        def add(self, completions):
            super().add(completions)
            Counting.drawn += len(completions)
            if Counting.drawn >= 5 * Counting.stop_after:
                raise KeyboardInterrupt

    monkeypatch.setattr(module, "CompletionCache", Counting)
    return Counting


def test_what_was_sampled_is_not_sampled_again(straight, stopped, tmp_path):
    folder, whole = straight
    stopped.stop_after = 4
    with pytest.raises(KeyboardInterrupt):
        evaluate(["tiny"], TASK, EvalSettings(**OPTIONS), out_dir=tmp_path)
    part = tmp_path / "completions-0-sampled.part.jsonl"
    assert len(part.read_text().splitlines()) == 1 + 20 and not (tmp_path / "eval.json").exists()
    with part.open("a") as file:
        file.write("[33, false, [4, 5")  # killed while it wrote

    stopped.drawn, stopped.stop_after = 0, 10**9
    found = evaluate(["tiny"], TASK, EvalSettings(**OPTIONS), out_dir=tmp_path)
    assert stopped.drawn == 36 - 20 + 12
    assert [entry["resumed"] for entry in found["models"]] == [20, 0]
    assert figures(found) == figures(whole)
    for entry in whole["models"]:
        for name in (entry["completions"], entry["by_prompt"]):
            assert pq.read_table(tmp_path / name).equals(pq.read_table(folder / name))
    assert not list(tmp_path.glob("*.part*"))

    stopped.drawn = 0
    again = evaluate(["tiny"], TASK, EvalSettings(**OPTIONS), out_dir=tmp_path)
    assert stopped.drawn == 0 and [entry["resumed"] for entry in again["models"]] == [36, 12]
    assert figures(again) == figures(whole)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samples": 2}, "fingerprint.decoding.samples 3 against 2"),
        ({"seed": 1}, "decoding.seed 0 against 1"),
        ({"verifier": {"kind": "exact", "max_digits": 99}}, "verifier.max_digits"),
        ({"split": "dev"}, 'split "test" against "dev"'),
    ],
)
def test_a_folder_of_other_completions_is_refused_or_replaced(straight, tmp_path, change, words):
    shutil.copytree(straight[0], tmp_path, dirs_exist_ok=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    task = {**TASK, "dev": 12}
    settings = EvalSettings(**{**OPTIONS, **change})
    with pytest.raises(BadInput, match="were sampled otherwise") as fault:
        evaluate(["tiny"], task, settings, out_dir=tmp_path)
    assert words in str(fault.value) and "--out" in str(fault.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    replaced = evaluate(["tiny"], task, settings, out_dir=tmp_path, replace_other=True)
    assert replaced["models"][0]["resumed"] == 0
    assert json.loads((tmp_path / "eval.json").read_text()) == replaced


def test_a_model_that_was_trained_further_is_another_one(tmp_path):
    shutil.copytree(TINY, tmp_path / "model")
    path, settings = tmp_path / "model" / "model.safetensors", EvalSettings(**OPTIONS)
    evaluate([str(tmp_path / "model")], TASK, settings, out_dir=tmp_path / "out")
    tensors = load_file(path)
    first = next(iter(tensors))
    tensors[first] = tensors[first] + torch.full_like(tensors[first], 1e-3)
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(BadInput, match="weights"):
        evaluate([str(tmp_path / "model")], TASK, settings, out_dir=tmp_path / "out")


def test_completions_of_unknown_origin_are_refused(straight, tmp_path):
    table = pq.read_table(straight[0] / "completions-0-sampled.parquet")
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "completions-0-sampled.parquet")
    with pytest.raises(BadInput, match="does not say"):
        evaluate(["tiny"], TASK, EvalSettings(**OPTIONS), out_dir=tmp_path)
    (tmp_path / "completions-0-sampled.parquet").unlink()
    (tmp_path / "completions-0-sampled.part.jsonl").write_text("{}\nnonsense\n")
    with pytest.raises(BadInput, match="damaged"):
        evaluate(["tiny"], TASK, EvalSettings(**OPTIONS), out_dir=tmp_path)


def test_what_is_whole_is_not_written_anew_and_what_is_cut_is_cut_off(tmp_path, monkeypatch):
    cache = CompletionCache(tmp_path, "0-sampled", {"weights": "a"}, False)
    cache.add({row: Completion([row, 4], False) for row in range(2)})

    def refuse(*_, **__):
        raise AssertionError("a kill would lose the completions")

    monkeypatch.setattr(Path, "write_text", refuse)
    part = tmp_path / "completions-0-sampled.part.jsonl"
    whole = part.read_bytes()
    for rest in (b"", b"[2, false, [4"):
        part.write_bytes(whole + rest)
        again = CompletionCache(tmp_path, "0-sampled", {"weights": "a"}, False)
        assert again.done.keys() == {0, 1} and part.read_bytes() == whole
    part.write_bytes(whole + b"[2]\n")
    with pytest.raises(BadInput, match="damaged"):
        CompletionCache(tmp_path, "0-sampled", {"weights": "a"}, False)


def test_log_probs_that_are_asked_for_later_are_kept_when_stopped(straight, tmp_path):
    shutil.copy(straight[0] / "completions-0-sampled.parquet", tmp_path)
    source = source_of(tmp_path / "completions-0-sampled.parquet")

    def opened(logps):
        return CompletionCache(tmp_path, "0-sampled", source, False, logps=logps)

    first, plain = opened(True), opened(False)
    assert not first.done and len(plain.done) == 36
    first.add({3: replace(plain.done[3], confidence=(-0.5,) * len(LOGPS))})
    assert list(opened(True).done) == [3] and opened(False).done.keys() == plain.done.keys()


def test_the_command_continues_and_says_so(stopped, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stopped.stop_after = 1
    words = ["eval", "tiny", "task.test=10", "max_new_tokens=60", "batch_size=5", "verifier.kind=exact"]
    assert main(words) == 130
    said = capsys.readouterr().out
    [folder] = (tmp_path / "outputs").iterdir()
    assert f"--out outputs/{folder.name} continues" in said
    stopped.stop_after = 10**9
    assert main([*words, "--out", str(folder)]) == 0
    assert json.loads((folder / "eval.json").read_text())["models"][0]["resumed"] == 5
    assert main([*words, "seed=3", "--out", str(folder)]) == 2
    assert "decoding.seed 0 against 3" in capsys.readouterr().err
