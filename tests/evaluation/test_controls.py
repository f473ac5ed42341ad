"""Controls at decoding on the embedded model: what they keep, what they pay, what they refuse."""

import json
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.evaluation.evaluate import evaluate
from lenrl.evaluation.settings import EvalSettings
from lenrl.generation.base import Completion
from lenrl.generation.controls import CONTROLS, Control, ControlOptions, Thinking, read
from lenrl.generation.controls.base import ControlledRow
from lenrl.generation.pretrained import TINY, ModelOptions, load_tokenizer_info
from lenrl.generation.transformers_engine import TransformersEngine
from lenrl.report.compare import Compared
from lenrl.report.sources import read as read_entries
from lenrl.training.prepare import prepare

TASK = {"name": "chain", "test": 24}
WORDS = {"answer": "\n\\boxed{", "trial": "\\boxed{", "text": ""}
OPTIONS = {"max_new_tokens": 160, "verifier": {"kind": "exact"}}
ALL = (
    "force@8",
    "force@24",
    "stop@0",
    "stop@4",
    "stop@-3",
    "brake@0",
    "brake@5",
    "exit@0.5",
    "wait@1",
    "wait@2",
    "nothink",
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Every control of ids on sampled completions; rows by control, and entries."""
    folder = tmp_path_factory.mktemp("controls")
    settings = EvalSettings(controls=ALL, control=WORDS, **OPTIONS)
    result = evaluate(["tiny"], TASK, settings, out_dir=folder)
    entries = {entry["control"]: entry for entry in result["models"]}
    rows = {name: pq.read_table(folder / e["completions"]).to_pylist() for name, e in entries.items()}
    return SimpleNamespace(rows=rows, entries=entries, result=result, folder=folder, settings=settings)


@pytest.fixture(scope="module")
def thinking():
    return Thinking(load_tokenizer_info("tiny", ModelOptions()), "<think>", "</think>", "boxed")


def ids(done, name):
    return [row["ids"] for row in done.rows[name]]


@pytest.mark.parametrize("name", ["stop@0", "brake@0"])
def test_a_dial_of_nothing_is_no_control_bit_for_bit(done, name):
    assert ids(done, name) == ids(done, "none")
    assert "never acted" in " ".join(done.entries[name]["warnings"])


@pytest.mark.parametrize("budget", [8, 24])
def test_forced_rows_begin_with_the_models_own_tokens_and_pay_the_forced_ones(done, budget):
    close, forced_rows = 262, 0
    for free, row in zip(done.rows["none"], done.rows[f"force@{budget}"], strict=True):
        inside = free["ids"].index(close) - 1 if close in free["ids"] else len(free["ids"])
        if inside <= budget or 261 not in free["ids"]:
            assert row["ids"] == free["ids"] and row["forced"] == 0
            continue
        forced_rows += 1
        kept = 1 + budget  # <think> is the first token
        assert row["ids"][:kept] == free["ids"][:kept]
        assert close in row["ids"][kept : kept + 2] and row["forced"] in (3, 4)
        assert row["tokens"] == len(row["ids"]), "forced tokens are paid, and nothing was thrown away"
    assert forced_rows > 10


def test_dials_move_lengths_the_way_they_say(done):
    mean = {name: entry["tokens_mean"] for name, entry in done.entries.items()}
    assert mean["force@8"] < mean["force@24"] < mean["none"]
    assert mean["stop@4"] < mean["none"] < mean["stop@-3"]
    assert mean["brake@5"] > 20, "the first line is no place to stop"
    assert mean["exit@0.5"] < mean["none"] < mean["wait@1"] <= mean["wait@2"]
    assert (
        mean["nothink"] < 12
        and done.entries["nothink"]["prompt_tokens_mean"] > done.entries["none"]["prompt_tokens_mean"]
    )


def test_ends_that_were_waited_away_and_trials_are_paid(done):
    for name, most in (("wait@1", 1), ("wait@2", 2)):
        thrown = [row["tokens"] - len(row["ids"]) for row in done.rows[name]]
        assert max(thrown) == most
        assert all(
            row["forced"] == extra for row, extra in zip(done.rows[name], thrown, strict=True)
        )  # Wait: a token
    entry = done.entries["exit@0.5"]
    assert entry["tokens_mean"] > entry["tokens_kept_mean"]
    assert any(row["tokens"] > len(row["ids"]) for row in done.rows["exit@0.5"])


def test_a_closed_prefill_leaves_an_answer_to_judge(done):
    assert all(row["answer"] for row in done.rows["nothink"] if "boxed" in row["completion"])
    assert sum("boxed" in row["completion"] for row in done.rows["nothink"]) > 12


def test_no_control_costs_and_changes_nothing(done, tmp_path):
    (entry,) = evaluate(["tiny"], TASK, EvalSettings(**OPTIONS), out_dir=tmp_path)["models"]
    none = done.entries["none"]
    assert entry["fingerprint"] == none["fingerprint"] and "control" not in entry["fingerprint"]
    assert pq.read_table(tmp_path / entry["completions"]).to_pylist() == done.rows["none"]
    assert done.entries["force@8"]["fingerprint"]["control"]["answer"] == "\n\\boxed{"


def test_pairs_are_against_the_model_without_a_control(done):
    assert [pair["control"] for pair in done.result["pairs"]] == list(ALL)
    (pair,) = [pair for pair in done.result["pairs"] if pair["control"] == "stop@0"]
    assert (pair["accuracy_diff"], pair["tokens_ratio"]) == (0, 1)
    assert all(pair["over_controls"] is None for pair in done.result["pairs"])


def test_a_trained_models_lead_over_the_controls_of_its_base(tmp_path):
    shutil.copytree(TINY, tmp_path / "trained")
    settings = EvalSettings(controls=("stop@0", "force@24"), max_new_tokens=100, verifier={"kind": "exact"})
    result = evaluate(["tiny", str(tmp_path / "trained")], TASK, settings, out_dir=tmp_path / "out")
    assert [(e["model"] == "tiny", e["control"]) for e in result["models"]] == [
        (True, "none"), (True, "stop@0"), (True, "force@24"), (False, "none"),
    ]  # fmt: skip
    lead = result["pairs"][-1]
    assert lead["over_controls"] <= 0, "a copy of the base is among the points that it is measured by"
    assert lead["over_controls_ci95"][0] < 0 <= lead["over_controls_ci95"][1]
    compared = Compared(read_entries([tmp_path / "out"]))
    (said,) = compared.leads
    assert said.startswith("trained (sampled), over_controls: ") and "mixture of tiny's controls" in said
    assert f"{100 * lead['over_controls']:+.1f} [" in said
    traces = {trace["name"]: trace for trace in compared.figures()["front"]["data"]}
    line = traces["tiny's controls, mixed"]
    assert line["line"]["color"] == "before" and line["y"] == sorted(line["y"])
    tokens, accuracy = (result["models"][2][key] for key in ("tokens_mean", "accuracy"))
    assert line["y"][line["x"].index(tokens)] >= accuracy - 1e-9, "no point lies above it"
    both = EvalSettings(controls=("force@24",), control={"on": "all"}, max_new_tokens=100)
    entries = evaluate(["tiny", str(tmp_path / "trained")], {"name": "chain", "test": 3}, both)["models"]
    assert [entry["control"] for entry in entries] == ["none", "force@24"] * 2


def test_an_evaluation_stopped_inside_a_control_continues_to_the_same_files(done, tmp_path, monkeypatch):
    """Batches of 5 rows: the third batch of `wait@2` dies in its second stage."""
    stages, real = list[int](), TransformersEngine.extend

    def dies(self, *arguments):
        stages.append(1)
        if len(stages) == 8:
            raise KeyboardInterrupt
        return real(self, *arguments)

    settings = EvalSettings(controls=("wait@2",), batch_size=5, **OPTIONS)
    monkeypatch.setattr(TransformersEngine, "extend", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate(["tiny"], TASK, settings, out_dir=tmp_path)
    kept = len((tmp_path / "completions-1-sampled-wait@2.part.jsonl").read_text().splitlines()) - 1
    assert 0 < kept < 24
    monkeypatch.setattr(TransformersEngine, "extend", real)
    result = evaluate(["tiny"], TASK, settings, out_dir=tmp_path)
    assert result["models"][1]["resumed"] == kept
    rows = pq.read_table(tmp_path / result["models"][1]["completions"]).to_pylist()
    assert [(r["ids"], r["tokens"], r["forced"]) for r in rows] == [
        (r["ids"], r["tokens"], r["forced"]) for r in done.rows["wait@2"]
    ], "nor does the size of a batch matter"
    again = evaluate(["tiny"], TASK, settings, out_dir=tmp_path)
    assert (
        again["models"][1]["resumed"] == 24
        and again["models"][1]["tokens_mean"] == result["models"][1]["tokens_mean"]
    )


def completed(stages, *answers):
    """The completion of a control's stages that are answered so, and the stages."""
    asked, given = [], iter(answers)
    try:
        asked.append(next(stages))
        while True:
            asked.append(stages.send(next(given)))
    except StopIteration as end:
        return end.value, asked


def row_of(thinking, text, cap=256):
    return ControlledRow(Completion([*thinking.ids(text), *thinking.info.eos_ids[:1]], False), cap)


def test_force_at_a_step_waits_for_the_next_line(thinking):
    row = row_of(thinking, "<think>\n3+4=7\n7-2=5\n</think>\n\\boxed{5}")
    (control,) = read(["force@4"], {"at": "step", "answer": "\n\\boxed{"})
    found, (stage,) = completed(control.stages(thinking, row), Completion(thinking.ids("7}"), False))
    assert thinking.text(stage.ids) == "<think>\n3+4=7\n</think>\n\\boxed{"
    assert found.forced == 3 and found.paid == len(found.ids)


def test_force_takes_end_of_text_inside_the_thinking_for_its_end(thinking):
    row = row_of(thinking, "<think>\n3+4=7\n")
    (control,) = read(["force@50"], {"answer": ""})
    found, (stage,) = completed(control.stages(thinking, row), Completion([1], False))
    assert thinking.text(stage.ids) == "<think>\n3+4=7\n</think>" and found.forced == 1


def test_force_leaves_a_completion_alone_that_opens_no_thinking(thinking):
    row = row_of(thinking, "\\boxed{5}")
    (control,) = read(["force@1"], {})
    assert completed(control.stages(thinking, row)) == (row.free, [])


def test_a_trial_is_judged_by_the_tokens_inside_of_its_box(thinking):
    row = row_of(thinking, "<think>\n3+4=7\nWait\n3+4=7\n</think>\n\\boxed{7}")
    trial = Completion(thinking.ids("70}"), False, [math.log(0.9), math.log(0.5), math.log(0.01)])
    answers = (trial, Completion([*thinking.ids("\\boxed{7}"), 1], False))
    for dial, exits in (("0.69", True), ("0.71", False)):
        (control,) = read([f"exit@{dial}"], {"trial": "\\boxed{"})
        found, asked = completed(control.stages(thinking, row), *answers)
        assert (
            thinking.text(asked[0].ids) == "<think>\n3+4=7\n\\boxed{" and asked[0].greedy and asked[0].logps
        )
        assert len(asked) == (2 if exits else 1)
        assert found.paid - len(found.ids) == 4, "one token of the trial's words, and three that were decoded"
    (geometric,) = read(["exit@0.69"], {"trial": "\\boxed{", "mean": "geometric"})
    assert len(completed(geometric.stages(thinking, row), *answers)[1]) == 1


def test_a_trial_in_tags_is_judged_by_the_tokens_before_the_closing_one(thinking):
    tagged = replace(thinking, answer_format="answer_tag")
    row = row_of(tagged, "<think>\n3+4=7\nWait\n3+4=7\n</think>\n<answer>7</answer>")
    end = tagged.ids("</answer>")
    trial = Completion([*tagged.ids("7"), *end], False, [math.log(0.9)] + [math.log(0.01)] * len(end))
    (control,) = read(["exit@0.85"], {})
    found, asked = completed(control.stages(tagged, row), trial, Completion([1], False))
    assert thinking.text(asked[0].ids).endswith("<answer>") and len(asked) == 2
    assert asked[0].stops == tagged.brackets and trial.ids[-1] in tagged.brackets
    more = Completion(tagged.ids("7>"), False, [math.log(0.9)] * 2), Completion(end, False, [-9.0] * len(end))
    assert len(completed(control.stages(tagged, row), *more, Completion([1], False))[1]) == 3, (
        "not yet closed"
    )


def test_no_wait_is_followed_by_an_end_at_once(thinking):
    row, close = row_of(thinking, "<think>\n3\n</think>\n\\boxed{7}"), thinking.ids("</think>")
    (control,) = read(["wait@2"], {})
    more = Completion([*thinking.ids("4"), *close], False)
    found, asked = completed(control.stages(thinking, row), more, more, Completion([1], False))
    assert [(stage.stops, stage.goes_on) for stage in asked] == [({*close}, True)] * 2 + [(set(), False)]
    assert thinking.text(found.ids) == "<think>\n3\nWait4Wait4</think>" and found.paid == len(found.ids) + 2


def test_a_trial_that_never_closes_and_one_that_is_empty(thinking):
    row = row_of(thinking, "<think>\n3+4=7\nWait\n3+4=7\n</think>\n\\boxed{7}")
    (control,) = read(["exit@0.5"], {"trial": "\\boxed{", "trial_tokens": 2})
    endless = Completion(thinking.ids("77"), True, [math.log(0.9)] * 2)
    assert len(completed(control.stages(thinking, row), endless, Completion([1], False))[1]) == 2
    nothing = Completion([1], False, [0.0])
    assert len(completed(control.stages(thinking, row), nothing)[1]) == 1


def test_dividing_a_logit_depends_on_where_zero_lies(thinking):
    """Logits 2, 1, -1 with the end last: T = 0.5 makes it less likely; shifted by 3 it makes it more likely."""
    (control,) = read(["stop@0.5"], {"by": "scale"})

    def chance(*logits):
        return float(control.changed(torch.tensor([logits]), 2).softmax(-1)[0, 2])

    assert [round(chance(2.0, 1.0, -1.0), 3), round(chance(5.0, 4.0, 2.0), 3)] == [0.013, 0.212]
    (bias,) = read(["stop@2"], {})
    assert bias.changed(torch.tensor([[2.0, 1.0, -1.0]]), 2).tolist() == [[2.0, 1.0, 1.0]]


def test_words_stand_in_the_prompt(thinking):
    tokenizer, chat = thinking.info.tokenizer, [{"role": "user", "content": "1+1"}]
    (words,) = read(["words@50"], {"text": "At most {n} tokens."})
    assert words.chat(chat, tokenizer)[0] == {"role": "system", "content": "At most 50 tokens."}
    (draft,) = read(["draft"], {})
    assert "draft" in draft.chat(chat, tokenizer)[0]["content"]

    def template(chat, **_):
        return "fine" if chat[0]["role"] == "user" else 1 / 0

    no_system = SimpleNamespace(chat_template="x", name_or_path="x", apply_chat_template=template)
    assert words.chat(chat, no_system) == [{"role": "user", "content": "1+1\n\nAt most 50 tokens."}]


def test_examples_of_drafts_are_turns_before_the_problem(thinking, tmp_path):
    path = tmp_path / "shots.jsonl"
    path.write_text(json.dumps({"prompt": "2+2", "completion": "4"}) + "\n")
    (draft,) = read(["draft"], {"shots": str(path)})
    chat = draft.chat([{"role": "user", "content": "1+1"}], thinking.info.tokenizer)
    assert [m["role"] for m in chat] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("controls", "control", "message"),
    [
        (["farce@3"], {}, "Did you mean force"),
        (["force"], {}, "force@DIAL"),
        (["force@0"], {}, "from 1"),
        (["force@1.5"], {}, "whole number"),
        (["exit@1"], {}, "between 0 and 1"),
        (["nothink@3"], {}, "no dial"),
        (["force@8"], {"word": "Hmm"}, "wait, exit would read it"),
        (["words@8"], {}, "{n}"),
        (["steer@1"], {}, "control.steer=FOLDER"),
        (["force@160"], {}, "comes first"),
        (["stop@0"], {"by": "scale"}, "above 0"),
        (["stop@1"], {"close": "so,"}, "3 tokens of this model; stop@1 needs one: give the words' first tokens as "
         "control.open and control.close (of this: 's')"),
        (["force@8"], {"onn": "all"}, "onn"),
    ],
)  # fmt: skip
def test_refusals(controls, control, message):
    settings = EvalSettings(controls=controls, control=control, **OPTIONS)
    with pytest.raises(BadInput) as refused:
        evaluate(["tiny"], {"name": "chain", "test": 2}, settings)
    assert message in str(refused.value)


def test_trials_without_log_probs_are_refused_before_anything_is_sampled(thinking):
    (control,) = read(["exit@0.5"], {})
    engine = SimpleNamespace(name="m", no_logps=lambda: "a state of its own")
    with pytest.raises(BadInput, match="exit@0.5 needs log-probs, and 'm' gives none: a state of its own"):
        control.check(thinking, 10, engine)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["eval.controls=[farce@3]"], "eval.controls: there is no 'farce'"),
        (["eval.controls=[words@5]"], "words@5 needs words"),
        (
            ["eval.controls=[steer@1]", "eval.control={steer:nowhere}"],
            "eval.control.steer=nowhere: no directions",
        ),
    ],
)
def test_a_recipe_is_refused_before_it_trains(options, words):
    with pytest.raises(BadInput, match=words):
        prepare(compose("grpo", options))


@pytest.mark.parametrize("option", ["open", "close", "word"])
def test_words_that_are_looked_for_are_not_empty(option):
    with pytest.raises(BadInput, match=f"control.{option}="):
        read(["exit@0.5"], {option: ""})


def test_ids_that_the_tokenizer_does_not_know_end_no_line(thinking):
    config = thinking.info.config
    more = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=config.vocab_size + 3))
    padded = replace(thinking, info=replace(thinking.info, config=more)).ends_line_V
    assert len(padded) == config.vocab_size + 3 and not padded[-3:].any()
    assert padded.sum() == thinking.ends_line_V.sum() > 0


def test_sft_takes_no_controls(tmp_path):
    with pytest.raises(BadInput, match="--sft"):
        evaluate(["tiny"], TASK, EvalSettings(controls=("force@8",), **OPTIONS), sft=tmp_path / "new.jsonl")


def test_every_control_says_what_it_is_and_acts():
    for kind in CONTROLS.values():
        assert kind.__doc__ and kind.knows <= ControlOptions.model_fields.keys()
        assert kind.whole or kind.stages is not Control.stages or kind.logits is not Control.logits
    assert np.isnan(read(["nothink"], {})[0].dial)


def test_a_comparison_shows_controls_beside_the_model(done):
    entries = read_entries([done.folder])
    assert [entry.name for entry in entries] == ["tiny", *(f"tiny, {name}" for name in ALL)]
    compared = Compared(entries)
    assert compared.warnings == [] and not compared.standings
    rows = {row[0].shown: row for row in compared.rows()}
    assert rows["tiny, stop@4"][2].value == done.entries["stop@4"]["accuracy"]
    assert all(compared.pairs[number] for number in range(1, len(entries)))
