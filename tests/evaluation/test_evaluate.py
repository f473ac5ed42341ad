"""Evaluations from end to end on the embedded model: figures, pairs, files, refusals."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from transformers import AutoTokenizer

from lenrl import measures
from lenrl.cli import main
from lenrl.errors import BadInput, validated
from lenrl.evaluation.doubts import WIDE, warnings
from lenrl.evaluation.evaluate import evaluate
from lenrl.evaluation.output import plain, write
from lenrl.evaluation.pairs import pairs
from lenrl.evaluation.results import ModelResults, describe
from lenrl.evaluation.settings import EvalSettings
from lenrl.evaluation.tellings import warnings_of
from lenrl.generation import transformers_engine as models
from lenrl.generation.base import Completion, Decoding
from lenrl.generation.pretrained import TINY, ModelOptions, find
from lenrl.generation.transformers_engine import weights_hash
from lenrl.report.compare import Compared
from lenrl.report.sources import read as read_entries
from lenrl.report.summary import show
from lenrl.rollouts import Verdict
from lenrl.tasks.chain import ChainTask
from lenrl.tasks.chain import evaluate as value_of
from lenrl.tasks.problem import Problem

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
        EvalSettings(decodings=("sampled", "greedy"), samples=2, max_new_tokens=120, verifier=EXACT),
        out_dir=folder / "out",
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


def test_further_figures_follow_from_the_completions(done):
    folder, _, result = done
    sampled, greedy = result["models"][:2]
    found = pq.read_table(folder / "out" / sampled["completions"]).to_pylist()
    budgets = list(sampled["accuracy_within"])
    assert budgets == ["16", "32", "64", "120"]
    for budget in budgets:
        right = [r["verdict"] and not r["truncated"] and r["tokens"] <= int(budget) for r in found]
        assert sampled["accuracy_within"][budget] == pytest.approx(sum(right) / len(right))
    assert sampled["area_tokens"] == 120
    area = [r["verdict"] and not r["truncated"] and 1 - r["tokens"] / 120 for r in found]
    assert sampled["area"] == pytest.approx(sum(area) / len(area))
    assert [len(row["ids"]) for row in found] == [row["tokens"] for row in found]
    prompts = pq.read_table(folder / "out" / sampled["by_prompt"]).to_pylist()
    for row, pair in zip(prompts, zip(found[::2], found[1::2], strict=True), strict=True):
        assert {row["prompt_id"]} == {r["prompt_id"] for r in pair}
        lengths = sorted(r["tokens"] for r in pair)
        assert [row["shortest"], row["longest"]] == lengths
        assert row["sd"] == pytest.approx((lengths[1] - lengths[0]) / 2**0.5)
        assert row["correct_share"] == sum(r["verdict"] for r in pair) / 2
    assert sampled["lengths"]["sd"] == pytest.approx(sum(row["sd"] for row in prompts) / 24)
    assert greedy["lengths"]["sd"] is None and sampled["vote"] is None  # two samples are no vote
    assert all(entry["on_front"] for entry in result["models"])  # of equals all are


def test_votes_and_budgets_answer_to_their_options(tmp_path):
    task = {"name": "chain", "test": 20}
    options = {"samples": 5, "max_new_tokens": 100, "temperature": 1.4, "verifier": EXACT}
    settings = EvalSettings(budget=50, **options)
    entry = evaluate(["tiny"], task, settings, out_dir=tmp_path)["models"][0]
    rows = pq.read_table(tmp_path / entry["completions"]).to_pylist()
    majority = []
    for first in range(0, 100, 5):
        answers = [row["answer"] for row in rows[first : first + 5]]
        given = [a for a in answers if a is not None]
        majority.append(bool(given) and max(given, key=given.count) == rows[first]["gold"])  # first of equals
    assert entry["vote"]["majority"] == pytest.approx(sum(majority) / 20)
    assert entry["vote"]["width_steps"] == 2
    assert (entry["area_tokens"], list(entry["accuracy_within"])[-1]) == (50, "50")
    wide = evaluate(["tiny"], task, EvalSettings(vote_width=1000, **options), out_dir=tmp_path)["models"][0]
    assert wide["vote"]["length_filtered"] == wide["vote"]["majority"] != entry["vote"]["length_filtered"]
    with pytest.raises(BadInput, match="vote_width=0"):
        validated(EvalSettings, {"vote_width": 0})


def test_eval_json_is_what_was_returned(done):
    folder, _, result = done
    assert json.loads((folder / "out" / "eval.json").read_text()) == result


def test_the_fingerprint_follows_what_moves_the_figures(done):
    folder, _, result = done
    base = result["models"][1]["fingerprint"]["hash"]
    options = {"greedy": True, "max_new_tokens": 120, "verifier": EXACT}
    path = str(folder / "rows.jsonl")
    assert evaluate(["tiny"], path, EvalSettings(**options))["models"][0]["fingerprint"]["hash"] == base
    changed = [
        options | {"max_new_tokens": 119},
        options | {"verifier": {"kind": "exact", "max_digits": 9 * 9}},
    ]
    for other in changed:
        assert evaluate(["tiny"], path, EvalSettings(**other))["models"][0]["fingerprint"]["hash"] != base


def test_pairs_say_where_their_models_were_not_measured_alike(done, tmp_path):
    folder, _, result = done
    assert all(pair["differs"] == [] for pair in result["pairs"])
    shutil.copytree(TINY, tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    config["max_position_embeddings"] //= 8  # a shorter context lowers the cap
    (tmp_path / "other" / "config.json").write_text(json.dumps(config))
    template = tmp_path / "other" / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|assistant|>", "<|assistant|>"[:-1] + " |>"))
    models = ["tiny", str(tmp_path / "other")]
    options = {"greedy": True, "max_new_tokens": 400, "verifier": EXACT}
    unlike = evaluate(models, {"name": "chain", "test": 3}, EvalSettings(**options))
    [pair] = unlike["pairs"]
    said = "; ".join(pair["differs"])
    assert (
        "decoding.max_new_tokens 400 against" in said and "chat_template" in said and "prompt_tokens" in said
    )
    assert "versions" not in said and "verifier" not in said
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    show(unlike, console)
    assert "were not measured alike: prompt_tokens" in console.export_text()


def test_weights_are_told_apart(done):
    _, _, result = done
    assert len({entry["weights"] for entry in result["models"]}) == 1
    loaded = models.load("tiny")
    before = weights_hash(loaded.model)
    assert before == result["models"][0]["weights"]
    config = loaded.model.config
    config.rope_parameters["rope_theta"] = 5e5
    assert weights_hash(loaded.model) != before, "as a model of another configuration is"
    config.rope_parameters["rope_theta"], config.name_or_path, config.dtype = 10000.0, "moved", torch.bfloat16
    assert weights_hash(loaded.model) == before
    with torch.no_grad():
        next(loaded.model.parameters())[3, 5] += 1e-4
    assert weights_hash(loaded.model) != before


def test_few_prompts_and_cut_completions_are_warned_of(done):
    folder, _, _ = done
    path = str(folder / "rows.jsonl")
    entry = evaluate(["tiny"], path, EvalSettings(max_new_tokens=8, verifier=EXACT))["models"][0]
    [few] = [warning for warning in entry["warnings"] if "24 prompts are few" in warning]
    half = max(abs(end - entry["accuracy"]) for end in entry["accuracy_ci95"])
    assert f"known to {100 * half:.1f} points" in few and half > WIDE
    assert any("cut at the cap" in warning for warning in entry["warnings"])
    greedy = EvalSettings(greedy=True, verifier=EXACT)
    [capped] = evaluate(["tiny"], {"name": "chain", "test": 1}, greedy)["models"]
    assert any("lowered from 4096" in warning for warning in capped["warnings"])
    assert capped["tokens_mean_ci95"] == [0.0, None]  # one prompt says nothing of others


def test_narrow_intervals_are_not_warned_of():
    entry = {"accuracy": 0.9, "accuracy_ci95": [0.86, 0.94], "truncated_share": 0.0, "unknown": 0}
    assert warnings(entry | {"prompts": 300}) == []
    wide = warnings(entry | {"prompts": 300, "accuracy_ci95": [0.8, 0.95]})
    assert wide == ["300 prompts are few: the accuracy is known to 10.0 points; for 5 give about 1200"]


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
        evaluate(["tiny", name], {"name": "chain", "test": 1}, EvalSettings(verifier=EXACT))


def test_folders_without_a_model_and_an_unreachable_hub(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="neither config.json"):
        find(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadInput, match="could not be loaded"):
        models.load(str(tmp_path))

    def unreachable(*args, **options):
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", unreachable)
    with pytest.raises(BadInput, match=r"org/name.*couldn't connect.*network"):
        models.load("org/name")


def test_an_adapter_is_loaded_on_its_base(tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(TINY)
    base.config._name_or_path = str(TINY)
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(TINY).save_pretrained(tmp_path)
    options = {"greedy": True, "max_new_tokens": 192, "verifier": EXACT}
    task, settings = {"name": "chain", "test": 20}, EvalSettings(**options)
    plain, changed = evaluate(["tiny", str(tmp_path)], task, settings)["models"]
    assert changed["tokens_mean"] != plain["tokens_mean"] or changed["accuracy"] != plain["accuracy"]


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_loses_nothing_when_it_is_loaded_and_when_it_is_merged(tmp_path, dora):
    """transformers' own loading leaves DoRA's magnitudes behind."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base: Any = AutoModelForCausalLM.from_pretrained(TINY)
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, use_dora=dora)
    adapted = get_peft_model(base, config)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in adapted.named_parameters():
            if "lora_" in name:
                tensor.add_(torch.randn_like(tensor), alpha=0.05)
    adapted.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(TINY).save_pretrained(tmp_path / "model")
    ids = torch.arange(10)[None]
    with torch.no_grad():
        expected = adapted.eval()(ids).logits
        assert torch.equal(models.load(str(tmp_path), ModelOptions(device="cpu")).model(ids).logits, expected)
        assert main(["merge", str(tmp_path)]) == 0
        merged: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
        assert (merged(ids).logits - expected).abs().max() < 1e-4
    assert not any("lora" in name for name, _ in merged.named_parameters())
    assert main(["merge", str(tmp_path)]) == 2, "it would overwrite"


@pytest.mark.parametrize(
    "options",
    [
        *[{"samples": 0}, {"temperature": 0}, {"top_p": 1.5}, {"max_new_tokens": 0}, {"decodings": ["beam"]}],
        *[{"batch_size": 0}, {"budget": 0}],
    ],
)
def test_bad_options_are_refused_before_anything_loads(options):
    with pytest.raises(BadInput, match=str(next(iter(options.values()))).strip("[]")):
        validated(EvalSettings, options)


def test_the_documented_fields_are_there(done):
    _, _, result = done
    text = Path("docs/measures.md").read_text()
    for title, found in (("One model", result["models"][0]), ("A model against another", result["pairs"][0])):
        section = text.split(f"## {title}\n")[1].split("\n## ")[0]
        rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
        names = {name for cell in rows for name in re.findall(r"`(\w+)`", cell)} - {"reach"}  # of some tasks
        assert len(names) > 3 and not [name for name in names if name not in found]


def test_accuracy_by_length_from_four_samples_on(done, tmp_path):
    _, _, two = done
    assert two["models"][0]["by_length"] is None
    settings = EvalSettings(samples=4, max_new_tokens=120, verifier=EXACT)
    (entry,) = evaluate(["tiny"], {"name": "chain", "test": 28}, settings, out_dir=tmp_path)["models"]
    curve = entry["by_length"]["all"]
    assert sum(b["completions"] for b in curve["bins"]) + curve["left_out"] == 4 * 28
    assert curve["optimum"] in [b["tokens"] for b in curve["bins"]]
    assert set(entry["by_length"]["by_difficulty"]) == set(entry["by_difficulty"])
    assert entry["by_length"]["r_length_ci95"] and entry["by_length"]["icr"] > 0
    traces = {t["name"]: t for t in Compared(read_entries([tmp_path])).figures()["by_length"]["data"]}
    assert traces["tiny"]["y"] == [b["accuracy"] for b in curve["bins"]]
    assert traces["tiny, best"]["x"] == [curve["optimum"]]
    assert len(traces["tiny, intervals"]["error_y"]["array"]) == len(curve["bins"])
    rank = entry["by_length"]["optimum_by_difficulty"]
    assert rank is None or -1 <= rank <= 1


def told_results(right_BR):
    """Results of problems that are told in rounds, by their verdicts."""
    B, R = np.shape(right_BR)
    told = [
        Problem(f"{b}:{r}", "?", "7", columns={"base": b, "round": r}) for r in range(R) for b in range(B)
    ]
    verdicts = [Verdict(bool(right_BR[p.columns["base"]][p.columns["round"]]), "7") for p in told]
    done = [Completion([3] * (4 + p.columns["base"]), False) for p in told]
    once = [""] * len(told)
    return ModelResults("m", Decoding(), told, done, once, verdicts, {}, once, [1] * len(told))


def test_intervals_are_over_problems_not_over_their_tellings():
    right_BR, tokens_BR = np.repeat(np.arange(20) % 2, 5).reshape(20, 5), np.arange(20.0)[:, None] + [4] * 5
    results = told_results(right_BR)
    entry = describe(results, 64)
    assert entry["accuracy_ci95"] == measures.accuracy(right_BR).ci95 == entry["accuracy_within_ci95"]["64"]
    assert entry["tokens_mean_ci95"] == measures.mean_tokens(tokens_BR).ci95
    other = told_results(1 - right_BR)
    entries = [{**describe(each, 64), "fingerprint": {}} for each in (results, other)]
    [pair] = pairs([(results, entries[0]), (other, entries[1])], 0)
    expected = measures.compare(right_BR, tokens_BR, 1 - right_BR, tokens_BR, 0)
    assert pair["accuracy_diff_ci95"] == expected.accuracy_diff.ci95
    assert not warnings_of(results.problems) and warnings_of(results.problems[:-1])
    assert not warnings_of(results.problems[:20]), "told once"
    again = results.answers.in_order_of(other.answers)
    assert again is not None and again.by_base.correct_PS.tolist() == right_BR.tolist()


def test_options_of_a_judge_do_nothing_without_one():
    with pytest.raises(BadInput, match="judge_prompts: nothing without structure=judge"):
        validated(EvalSettings, {"judge_prompts": 5, "structure": "cues"})


def test_two_parts_of_a_mix_may_number_their_problems_alike(tmp_path):
    problems = [
        replace(p, id=f"{part}:{p.id}", part=part)
        for part in "ab"
        for p in told_results([[1, 0]] * 3).problems
    ]
    once = [""] * len(problems)
    verdicts = [Verdict(problem.part == "a", "7") for problem in problems]
    done = [Completion([3], False) for _ in problems]
    results = ModelResults("m", Decoding(), problems, done, once, verdicts, {}, once, [1] * len(problems))
    entry = {**describe(results, 64), "fingerprint": {}, "weights": ""}
    assert (
        entry["rounds"]["problems"] == 6
        and entry["rounds"]["left_out"] == 0
        and entry["rounds"]["coleg_e"] == 0.5
    )
    assert entry["accuracy_ci95"] == measures.accuracy([[1, 1]] * 3 + [[0, 0]] * 3).ci95
    write(tmp_path, plain({"models": [entry], "pairs": []}), [results])
    columns = pq.read_table(tmp_path / "completions-0-sampled.parquet").to_pydict()
    assert columns["base"] == [f"{p.part}:{p.columns['base']}:0" for p in problems]


def test_a_table_with_rounds_is_measured_by_them(tmp_path):
    """Three problems in two rounds; one has no second round."""
    rows = [
        {"prompt": p.prompt, "answer": p.answer, "base": number, "round": told}
        for number, p in enumerate(ChainTask().problems("dev", 3))
        for told in (0, 1)
    ][:-1]
    (tmp_path / "told.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copytree(TINY, tmp_path / "model")
    task = {"name": "table", "path": str(tmp_path / "told.jsonl"), "split": "all"}
    settings = EvalSettings(greedy=True, max_new_tokens=120, verifier=EXACT)
    result = evaluate(["tiny", str(tmp_path / "model")], task, settings)
    found = result["models"][0]["rounds"]
    assert (found["problems"], found["left_out"], len(found["accuracy"])) == (2, 1, 2)
    assert found["coleg_e"] == found["accuracy"][1] and found["drop"] == 0, "the same prompt twice"
    assert any("take tellings for problems" in warning for warning in result["models"][0]["warnings"])
    assert result["pairs"][0]["rounds"]["coleg_e_diff"] == 0
    assert result["pairs"][0]["rounds"]["tokens_growth"] == [1, 1]
