"""What goes to the hub, and what is refused before a run; up to the network."""

import json
import re

import pytest
import yaml
from huggingface_hub import HfApi, RepoUrl, constants

from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.report import hub
from lenrl.report.card import model_card

SECRET = "hf_a1b2c3d4e5f6"


@pytest.fixture
def run(tmp_path):
    recipe = compose("drpo", ["model.path=org/base", "advantage.lam=0.2"])
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.resolved()))
    (tmp_path / "training.json").write_text(json.dumps({"steps": 60, "best_step": 40}))
    for folder in ("model", "checkpoint-40"):
        (tmp_path / folder).mkdir()
        for name in [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "optimizer.pt",
            "random-0.safetensors",
            "rollout-0.safetensors",
            "training_args.bin",
            "lenrl.json",
            "manifest.json",
            "reference.safetensors",
        ]:
            (tmp_path / folder / name).write_text(folder)
    (tmp_path / "report.html").write_text("<html>")
    entry = {
        "decoding": "sampled",
        "samples": 1,
        "prompts": 9,
        "split": "test",
        "task": "chain",
        "accuracy": 0.5,
        "accuracy_ci95": [0.4, 0.6],
        "tokens_mean": 80.0,
        "tokens_mean_ci95": [70.0, 90.0],
        "truncated_share": 0.0,
    }
    after = entry | {"accuracy": 0.75, "tokens_mean": 40.0}
    (tmp_path / "eval.json").write_text(json.dumps({"models": [entry, after], "pairs": []}))
    return tmp_path


def test_the_card_states_method_source_figures_and_settings(run):
    card = model_card(run)
    data = card.data.to_dict()
    assert data["base_model"] == "org/base" and "lenrl" in data["tags"]
    for words in (
        "arXiv 2510.04474",
        "lam 0.2",
        "75.0% [40.0%, 60.0%]",
        "80.0 [70.0, 90.0]",
        "60 optimizer steps",
    ):
        assert words in card.text, words
    assert "output_dir" not in card.text


def test_the_card_s_difference_is_not_that_under_a_control_or_hint(run):
    found = json.loads((run / "eval.json").read_text())
    plain = {"decoding": found["models"][0]["decoding"], "control": "none"}
    plain |= {"accuracy_diff": 0.1, "accuracy_diff_ci95": [0.05, 0.15]}
    plain |= {"tokens_ratio": 0.5, "tokens_ratio_ci95": [0.4, 0.6]}
    hinted = plain | {"control": "hint@short", "accuracy_diff": -0.3, "accuracy_diff_ci95": [-0.4, -0.2]}
    (run / "eval.json").write_text(json.dumps(found | {"pairs": [plain, hinted]}))
    card = str(model_card(run))
    assert "+10.0 [+5.0, +15.0]" in card and "-30.0" not in card


def test_exactly_the_model_its_card_and_its_report_go(run, monkeypatch):
    sent = {}

    def create(self, repo, **options):
        sent.update(repo=repo, **options)
        return RepoUrl(f"https://huggingface.co/{repo}")

    monkeypatch.setattr(HfApi, "create_repo", create)

    def commit(self, repo, operations, **_):
        sent["files"] = {o.path_in_repo: o.path_or_fileobj for o in operations}
        return type("Commit", (), {"commit_url": "there"})

    monkeypatch.setattr(HfApi, "create_commit", commit)
    assert hub.push(run, "me/model", private=True) == "there"
    assert sent["repo"] == "me/model" and sent["private"] is True
    assert set(sent["files"]) == {
        *("README.md", "config.json", "model.safetensors", "tokenizer.json"),
        *("report.html", "recipe.yaml", "eval.json"),
    }
    assert sent["files"]["model.safetensors"] == str(run / "checkpoint-40" / "model.safetensors")


def test_without_a_best_checkpoint_the_final_model_goes(run):
    (run / "training.json").write_text(json.dumps({"steps": 60, "best_step": None}))
    assert hub.best_folder(run) == run / "model"


def test_a_failed_push_is_said_without_the_secret(run, monkeypatch, caplog):
    monkeypatch.setenv("HF_TOKEN", SECRET)

    def fails(*_, **__):
        raise OSError(f"403 for token {SECRET}")

    monkeypatch.setattr(HfApi, "create_repo", fails)
    assert hub.push(run, "me/model", private=True) is None
    assert "was not pushed" in caplog.text and SECRET not in caplog.text


@pytest.mark.parametrize(
    ("options", "offline", "token", "words"),
    [
        ([], False, SECRET, "needs hub.repo"),
        (["hub.repo='a b'"], False, SECRET, "no repository's name"),
        (["hub.repo=me/model"], True, SECRET, "HF_HUB_OFFLINE"),
        (["hub.repo=me/model"], False, None, "hf auth login"),
    ],
)
def test_what_would_fail_at_the_end_is_refused_at_the_start(monkeypatch, options, offline, token, words):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(hub, "get_token", lambda: token)
    with pytest.raises(BadInput, match=words) as fault:
        hub.check(compose("grpo", ["hub.push=true", *options]))
    assert SECRET not in str(fault.value)


def test_where_a_model_goes_does_not_name_the_run():
    named = [compose("grpo", more).run_dir() for more in ([], ["hub.push=true", "hub.repo=me/model"])]
    assert named[0] == named[1]


def test_the_card_is_words_whatever_the_names_are(run, monkeypatch):
    hostile = "a](http://x) <img src=x onerror=alert(1)>\n# Heading | `code` ```"
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe |= {"recipe": hostile, "task": {"name": "table", "path": "/home/me/secret place/rows.jsonl"}}
    recipe["model"] |= {"path": "/home/me/models/mine", "tokenizer": "outputs/elsewhere/model"}
    recipe["verifier"] = {"kind": "exact", "note": "```\n<script>alert(1)</script>\n# Out of the block"}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    evaluation = json.loads((run / "eval.json").read_text())
    for entry in evaluation["models"]:
        entry["task"] = "/home/me/secret place/rows.jsonl"
    (run / "eval.json").write_text(json.dumps(evaluation))
    card = model_card(run)
    assert card.data.to_dict().get("base_model") is None
    assert (
        "/home" not in card.text and "secret place" not in card.text and "outputs/elsewhere" not in card.text
    )
    assert "rows.jsonl" in card.text and "mine" in card.text
    prose, fence, block = card.text.partition("````")
    assert fence and block.rstrip().endswith("````") and "Out of the block" in block
    assert "<img" not in re.sub("`[^`\n]*`", "", prose).replace("\\<", "") and "\n# Heading" not in prose
    assert "](http" not in re.sub("`[^`\n]*`", "", prose).replace("\\]\\(", "")
