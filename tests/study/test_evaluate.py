"""Evaluations from end to end on the embedded model: figures, pairs, files, refusals."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from lenrl.errors import BadInput
from lenrl.models import TINY
from lenrl.study import models
from lenrl.study.evaluate import evaluate
from lenrl.study.summary import show
from lenrl.tasks.chain import ChainTask
from lenrl.tasks.chain import evaluate as value_of

FIELDS = """model accuracy accuracy_ci95 tokens_mean tokens_mean_ci95 tokens_p50 tokens_p95 truncated_share
tokens_correct tokens_wrong samples prompts decoding task by_difficulty""".split()  # noqa: SIM905
PAIR_FIELDS = "base model accuracy_diff accuracy_diff_ci95 tokens_ratio tokens_ratio_ci95 aes".split()  # noqa: SIM905
EXACT = {"kind": "exact"}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Two models (the same one twice), both decodings, on a file."""
    folder = tmp_path_factory.mktemp("eval")
    problems = ChainTask().problems("dev", 24)
    rows = [{"prompt": p.prompt, "answer": p.answer, "difficulty": p.difficulty} for p in problems]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copytree(TINY, folder / "run" / "model")
    result = evaluate(
        ["tiny", str(folder / "run")],
        str(folder / "rows.jsonl"),
        decodings=("sampled", "greedy"),
        samples=2,
        max_new_tokens=120,
        out_dir=folder / "out",
        verifier_settings=EXACT,
    )
    return folder, rows, result


def test_the_result_has_the_promised_fields(done):
    _, _, result = done
    assert [(e["decoding"], e["samples"], e["prompts"]) for e in result["models"]] == [
        ("sampled", 2, 24),
        ("greedy", 1, 24),
    ] * 2
    for entry in result["models"]:
        assert not [field for field in FIELDS if field not in entry]
    for pair in result["pairs"]:
        assert not [field for field in PAIR_FIELDS if field not in pair]
        assert pair["aes_weights"] == {"rise": 3.0, "fall": 5.0}


def test_figures_follow_from_the_completions(done):
    folder, rows, result = done
    for entry in result["models"]:
        found = pq.read_table(folder / "out" / entry["completions"]).to_pylist()
        assert len(found) == 24 * entry["samples"]
        right = [
            row["completion"].rstrip().endswith(f"\\boxed{{{value_of(row['prompt'])}}}") for row in found
        ]
        assert [row["verdict"] for row in found] == right
        assert entry["accuracy"] == pytest.approx(sum(right) / len(right))
        assert entry["tokens_mean"] == pytest.approx(sum(row["tokens"] for row in found) / len(found))
        assert entry["truncated_share"] == sum(row["truncated"] for row in found) / len(found)
        assert sum(grade["prompts"] for grade in entry["by_difficulty"].values()) == 24
        assert list(entry["by_difficulty"]) == [str(n) for n in range(2, 9)]
        assert {row["prompt"] for row in found} == {row["prompt"] for row in rows}


def test_a_model_equals_itself(done):
    _, _, result = done
    assert [pair["decoding"] for pair in result["pairs"]] == ["sampled", "greedy"]
    for pair in result["pairs"]:
        assert (pair["accuracy_diff"], pair["tokens_ratio"], pair["aes"]) == (0, 1, 0)
        assert pair["accuracy_diff_ci95"][0] < 0 < pair["accuracy_diff_ci95"][1]
    sampled = [entry for entry in result["models"] if entry["decoding"] == "sampled"]
    assert sampled[0]["fingerprint"] == sampled[1]["fingerprint"]


def test_eval_json_is_what_was_returned(done):
    folder, _, result = done
    assert json.loads((folder / "out" / "eval.json").read_text()) == result


def test_the_fingerprint_follows_what_moves_the_figures(done):
    folder, _, result = done
    base = result["models"][1]["fingerprint"]["hash"]
    options = {"greedy": True, "max_new_tokens": 120, "verifier_settings": EXACT}
    path = str(folder / "rows.jsonl")
    assert evaluate(["tiny"], path, **options)["models"][0]["fingerprint"]["hash"] == base
    changed = [
        options | {"max_new_tokens": 119},
        options | {"verifier_settings": {"kind": "exact", "max_digits": 9 * 9}},
    ]
    for other in changed:
        assert evaluate(["tiny"], path, **other)["models"][0]["fingerprint"]["hash"] != base


def test_few_prompts_and_cut_completions_are_warned_of(done):
    folder, _, _ = done
    path = str(folder / "rows.jsonl")
    entry = evaluate(["tiny"], path, max_new_tokens=8, verifier_settings=EXACT)["models"][0]
    assert any("24 prompts are few" in warning for warning in entry["warnings"])
    assert any("cut at the cap" in warning for warning in entry["warnings"])
    capped = evaluate(["tiny"], {"name": "chain", "test": 1}, greedy=True, verifier_settings=EXACT)["models"][
        0
    ]
    assert any("lowered from 4096" in warning for warning in capped["warnings"])
    assert capped["tokens_mean_ci95"] == [0.0, None]  # one prompt says nothing of others


def test_show_prints_figures_and_no_markup(done):
    _, _, result = done
    hostile = json.loads(json.dumps(result))
    hostile["models"][0]["model"] = "[red]tiny[/nonsense]"
    console = Console(record=True, width=100, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    show(hostile, console)
    text = console.export_text()
    assert "[red]tiny[/nonsense]" in text
    assert "24 test problems" in text
    assert f"{100 * result['models'][0]['accuracy']:.1f}%" in text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "no such folder"),
        ("/nowhere/at/all", "no such folder"),
        ("not a name", "no such folder"),
        ("a/b/c", "no such folder"),
    ],
)
def test_models_that_don_t_exist(name, message):
    with pytest.raises(BadInput, match=message):
        evaluate(["tiny", name], {"name": "chain", "test": 1}, verifier_settings=EXACT)


def test_folders_without_a_model_and_an_unreachable_hub(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="neither config.json"):
        models.find(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadInput, match="could not be loaded"):
        models.load(str(tmp_path))

    def unreachable(*args, **options):
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr(models.AutoTokenizer, "from_pretrained", unreachable)
    with pytest.raises(BadInput, match=r"org/name.*couldn't connect.*network"):
        models.load("org/name")


def test_an_adapter_is_loaded_on_its_base(tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(TINY)
    base.config._name_or_path = str(TINY)
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(TINY).save_pretrained(tmp_path)
    options = {"greedy": True, "max_new_tokens": 192, "verifier_settings": EXACT}
    plain, changed = evaluate(["tiny", str(tmp_path)], {"name": "chain", "test": 20}, **options)["models"]
    assert changed["tokens_mean"] != plain["tokens_mean"] or changed["accuracy"] != plain["accuracy"]


@pytest.mark.parametrize(
    "options",
    [{"samples": 0}, {"temperature": 0}, {"top_p": 1.5}, {"max_new_tokens": 0}, {"decodings": ["beam"]}],
)
def test_bad_options_are_refused_before_anything_loads(options):
    with pytest.raises(BadInput, match=str(next(iter(options.values()))).strip("[]")):
        evaluate(["tiny"], "chain", **options)
