"""Bad recipes, bad data and hostile strategies, each through the command line: one message, exit code 2, no model."""

import itertools
import json
import logging
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lenrl.cli import eval as eval_verb
from lenrl.cli import main
from lenrl.config import compose
from lenrl.config import pins as pins_module
from lenrl.errors import BadInput
from lenrl.launch import supervise as launch_run
from lenrl.run_process import main as rank
from lenrl.training import build as build_module
from lenrl.training.batching import BatchLayout, batch_faults
from lenrl.training.prepare import prepare
from tests.training.runs import SMALL

SIZES = ["trainer.per_device_train_batch_size=16", "trainer.num_generations=4", "verifier.workers=1"]


class Launched(Exception):
    """A refused recipe came as far as to start processes, or to load a model."""


@pytest.fixture
def ask(monkeypatch, capsys, tmp_path):
    """A verb of the command line, or `rank`: a training process up to where its model would load."""
    monkeypatch.chdir(tmp_path)

    def reached(*_, **__):
        raise Launched

    monkeypatch.setattr(launch_run, "supervise", reached)
    monkeypatch.setattr(build_module, "SlottedGRPO", reached)

    def run(verb, *arguments):
        arguments = [str(argument) for argument in arguments]
        code = rank(["--config-name", *arguments]) if verb == "rank" else main([verb, *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def refusal(ask, verb, *arguments):
    """The one message of a refusal."""
    code, out, err = ask(verb, *arguments)
    assert code == 2, err
    assert err.startswith("error: ") and err.count("error: ") == 1
    assert "Traceback" not in err and len(err) < 1500
    return err.removeprefix("error: ").rstrip("\n")


# --- recipes: refused by `lenrl train` before it makes a folder or starts a process


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        # unknown keys, with the nearest one
        (["tariner.max_steps=3"], ["tariner", "Did you mean trainer?"]),
        (["trainer.max_stpes=3"], ["trainer.max_stpes=3", "Did you mean trainer.max_steps?"]),
        (["trainer.foo.bar=3"], ["trainer.foo={'bar': 3}"]),
        (["guard.nonfinit=drop"], ["guard.nonfinit='drop'", "Did you mean guard.nonfinite?"]),
        (["reward=kimi", "reward.wieght=3"], ["reward.wieght=3", "Did you mean reward.weight?"]),
        (["task.trian=3"], ["task.trian=3", "Did you mean task.train?"]),
        (["verifier.timeout=3"], ["verifier.timeout=3", "Did you mean verifier.timeout_s?"]),
        (["model.peft={lora_alhpa: 3}"], ["model.peft.lora_alhpa=3", "Did you mean model.peft.lora_alpha?"]),
        *(
            (["launch=cpu2", f"launch.{k}={v}"], [f"launch.{k}={v!r}", "whole number of at least 1"])
            for k, v in (
                ("num_machines", "x"),
                ("num_processes", 0),
                ("num_processes", "b"),
            )
        ),
        (["launch.num_proceses=2"], ["launch.num_proceses=2", "Did you mean launch.num_processes?"]),
        # options of a strategy that is not selected
        (["reward=kimi", "reward.alpha=1"], ["reward.alpha=1", "'kimi'", "weight"]),
        (["advantage.lam=3"], ["advantage.lam=3", "'grpo'", "takes none"]),
        (["reward=[kimi]"], ["reward=['kimi']", "name"]),
        # types and bounds of TRL's and peft's fields
        (["trainer.learning_rate=high"], ["trainer.learning_rate='high'", "number"]),
        (["trainer.learning_rate=-1"], ["trainer.learning_rate=-1", "greater than 0"]),
        (["trainer.bf16=yes"], ["trainer.bf16='yes'", "boolean"]),
        (["trainer.num_generations=eight"], ["trainer.num_generations='eight'", "integer"]),
        (["trainer.num_generations=2.5"], ["trainer.num_generations=2.5", "integer"]),
        (["trainer.num_iterations=0"], ["trainer.num_iterations=0", "at least 1|or equal to 1"]),
        (["trainer.steps_per_generation=0"], ["trainer.steps_per_generation=0", "or equal to 1"]),
        (
            ["trainer.max_completion_length=1" + "0" * 22],
            ["max_completion_length=10000", "or equal to 2147483647"],
        ),
        (["trainer.max_completion_length=1e22"], ["trainer.max_completion_length=1e+22", "integer"]),
        (["trainer.num_generations=1000000000"], ["which 1000000000 completions a prompt do not divide"]),
        (
            ["trainer.num_generations=1", "trainer.per_device_train_batch_size=1000000000"],
            ["at most 1048576"],
        ),
        (["trainer.num_generations=" + "9" * 30], ["trainer.num_generations=999", "or equal to 2147483647"]),
        (["trainer.gradient_accumulation_steps=999999937"], ["at most 1048576"]),
        (["trainer.max_steps=null"], ["trainer.max_steps=None"]),
        (["~trainer.max_completion_length"], ["trainer.max_completion_length is missing"]),
        (["trainer.top_p=2"], ["trainer.top_p=2", "or equal to 1"]),
        (["trainer.loss_type=grop"], ["trainer.loss_type='grop'", "'grpo'"]),
        (["trainer.lr_scheduler_type=lineer"], ["trainer.lr_scheduler_type='lineer'", "linear"]),
        (["trainer.scale_rewards=group"], ["trainer.scale_rewards='group'", "`advantage` slot"]),
        (["trainer.reward_weights=[1]"], ["trainer.reward_weights=[1]", "`reward` slot"]),
        (["model.peft={r: -1}"], ["model.peft.r=-1", "or equal to 1"]),
        (["model.peft={task_type: foo}"], ["model.peft", "foo", "CAUSAL_LM"]),
        (
            ["model.peft={quantization: {load_in_4bti: true, load_in_4bit: true}}"],
            ["load_in_4bti", "load_in_4bit?"],
        ),
        (
            ["model.peft={quantization: {bnb_4bit_quant_type: nf4}}"],
            ["load_in_4bit: true or load_in_8bit: true"],
        ),
        (["model.path=nowhere/at/all"], ["model.path", "nowhere/at/all", "no such folder"]),
        (["model.tokenizer=/nowhere"], ["model.tokenizer='/nowhere'", "no such folder"]),
        (["model.path=" + "a" * 300], ["model.path", "no such folder"]),
        # strategies' own bounds
        (
            ["budget=curriculum", "budget.start=10", "budget.end=20"],
            ["end=20 is above start=10", "lower end"],
        ),
        (["budget=curriculum", "budget.start=1000"], ["budget.start=1000", "max_completion_length=180"]),
        (["reward=kimi", "reward.weight=-1"], ["reward.weight=-1", "or equal to 0"]),
        (["reward=kimi", "reward.weight=nan"], ["reward.weight=nan", "finite"]),
        (["reward=kimi", "reward.weight=inf"], ["reward.weight=inf", "finite"]),
        (["reward=laser", "reward.target=0"], ["reward.target=0", "greater than 0"]),
        (["truncation=dot"], ["truncation.alpha=3", "G=8", "at least 11"]),
        # names and paths
        (["reward=kimmi"], ["reward=kimmi is unknown", "Did you mean reward=kimi?"]),
        (["reward=canary.Thing"], ["canary.Thing", "never a path to code"]),
        (["task.name=canary.Thing"], ["canary.Thing", "chain"]),
        (["verifier.kind=canary.Thing"], ["canary.Thing", "math"]),
        (["advantage={_target_: canary.Thing}"], ["advantage._target_", "'grpo'"]),
        # what was left open
        (["trainer.max_steps=${trainer.nope}"], ["trainer.max_steps", "trainer.nope"]),
        (["trainer.max_steps=???"], ["trainer.max_steps", "must give"]),
    ],
)
def test_bad_recipes_are_refused_in_one_line(ask, tmp_path, monkeypatch, overrides, words):
    (tmp_path / "canary.py").write_text(f"open({str(tmp_path / 'sang')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    message = refusal(ask, "train", "grpo", *overrides)
    for word in words:
        assert any(part in message for part in word.split("|")), message
    assert len(message.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["canary.py"], "nothing imported, nothing written"


def test_a_recipe_name_that_no_file_can_have_is_refused(ask):
    assert "neither a shipped recipe nor a file" in refusal(ask, "check", "a" * 300)


def test_all_faults_are_named_at_once(ask):
    message = refusal(ask, "train", "grpo", "trainer.max_stpes=3", "trainer.top_p=2", "trainer.seed=1")
    assert all(key in message for key in ("trainer.max_stpes", "trainer.top_p=2", "`seed`"))


@pytest.mark.parametrize(
    ("overrides", "arithmetic", "remedies"),
    [
        (["trainer.num_generations=1"], "has 128 rows", ["trainer.num_generations to 2 or 4"]),
        (
            ["trainer.num_generations=7", "trainer.per_device_train_batch_size=128"],
            "128 a process, processes: 1, micro-batches: 1",
            ["to 4 or 8", "to 126 or 133"],
        ),
        (
            ["trainer.per_device_train_batch_size=3", "launch=cpu2"],
            "6 rows (3 a process, processes: 2, micro-batches: 1)",
            ["trainer.num_generations to 3 or 6", "trainer.per_device_train_batch_size to 4 or 8"],
        ),
        (
            ["trainer.steps_per_generation=3", "trainer.gradient_accumulation_steps=2"],
            "3 x 1 iterations = 3 micro-batches and an optimizer step 2",
            ["trainer.steps_per_generation to 2 or 4"],
        ),
    ],
)
def test_batches_that_do_not_divide_get_the_arithmetic(ask, overrides, arithmetic, remedies):
    message = refusal(ask, "check", "grpo", *overrides)
    assert arithmetic in message and all(remedy in message for remedy in remedies)


def test_every_suggested_number_of_the_batch_arithmetic_is_valid():
    fields = {"per_device_train_batch_size": "rows_per_process"}
    suggested = 0
    for shape in itertools.product((1, 3, 8, 12), (1, 2, 3), (1, 2, 3), (1, 3, 4), (1, 2), (2, 5, 8)):
        layout = BatchLayout(*shape)
        faults = batch_faults(layout)
        assert bool(faults) != layout.valid
        for remedy in faults[0].split(". Set ")[1].rstrip(".").split(", or ") if faults else ():
            key, _, values = remedy.partition(" to ")
            name = key.removeprefix("trainer.")
            for value in values.split(" or "):
                assert replace(layout, **{fields.get(name, name): int(value)}).valid, (layout, remedy)
                suggested += 1
    assert suggested > 500
    assert "to 2 or 3." in batch_faults(BatchLayout(3, 2, 1, 1, 1, 1))[0]
    begun = BatchLayout(1, 8, 4, 4, 2, 8)  # a rollout of 4 prompts for every two optimizer steps
    assert [begun.prompts_sampled(steps) for steps in (1, 2, 3, 4)] == [4, 4, 8, 8]
    assert "to 2, and" in batch_faults(BatchLayout(1, 1, 1, 1, 1, 1))[0]


def test_a_penalty_without_leverage_is_warned_of_once(ask, tmp_path, caplog):
    code, out, _ = ask("check", "kimi", *SIZES, "task.train=8", "task.dev=4", "task.test=4")
    assert code == 0 and out.count("no leverage") == 1
    with caplog.at_level(logging.WARNING), pytest.raises(Launched):
        ask("rank", "kimi", *SIZES, "task.train=8", f"output_dir={tmp_path / 'run'}")
    assert caplog.text.count("no leverage") == 1


def test_the_folder_of_another_recipe_is_refused_with_the_diff(ask, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    import yaml

    (run / "recipe.yaml").write_text(yaml.safe_dump(compose("grpo").resolved()))
    message = refusal(ask, "train", "grpo", "seed=7", f"output_dir={run}")
    assert "- seed: 0" in message and "+ seed: 7" in message and "resume_with_changes=true" in message


def test_two_evaluations_of_one_second_have_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(eval_verb.time, "strftime", lambda _: "now")
    assert [str(eval_verb._new_folder()) for _ in range(3)] == [
        f"outputs/eval-now{n}" for n in ("", "-2", "-3")
    ]


def test_two_recipes_of_one_second_have_two_folders():
    assert compose("grpo").run_dir() != compose("grpo", ["seed=1"]).run_dir()


@pytest.mark.parametrize(
    ("name", "version", "pin"),
    [("antlr4-python3-runtime", "4.13.2", "==4.9.3"), ("omegaconf", "2.4.0", "omegaconf>=2.3,<2.4")],
)
def test_libraries_of_another_version_are_refused_with_the_pin(ask, monkeypatch, name, version, pin):
    right = pins_module.metadata.version
    monkeypatch.setattr(pins_module.metadata, "version", lambda n: version if n == name else right(n))
    message = refusal(ask, "train", "grpo")
    assert f"{name} is {version}" in message and pin in message


# --- data: `lenrl check` and the training process say the same, before the model loads


def table(folder, rows, name="rows.jsonl"):
    path = Path(folder) / name
    path.write_bytes(b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in rows))
    return path


def good(count):
    return [{"prompt": f"{i % 10}+{i // 10}", "answer": str((i % 10 + i // 10) % 10)} for i in range(count)]


def changed(row, **values):
    rows = good(40)
    rows[row] |= values
    return rows


DATA = {
    "empty": ([], [], ["rows.jsonl", "no rows"]),
    "few": (good(3), [], ["gives 3 training prompts, a rollout takes 4", "task.train"]),
    "no prompt column": ([{"question": "q", "answer": "1"}], [], ["line 1", "'prompt'", "task.prompt"]),
    "no answer column": (
        [{"prompt": "q", "anwser": "1"}],
        [],
        ["line 1", "Did you mean task.answer=anwser?", "task.answer=null"],
    ),
    "gold answers": (
        [*good(37), *({"prompt": f"{i}*1", "answer": a} for i, a in enumerate((None, " ", "\\frac{1")))],
        [],
        ["3 of 40", "2 none or blank, 1 unreadable", "line 38: None", "task.max_unreadable=0.05"],
    ),
    "long prompt": (
        changed(7, prompt="1+" * 600 + "1"),
        [],
        ["1 of 40", "longer than 844 tokens", "line 8 with 1204", "task.long_prompts=drop"],
    ),
    "UTF-8": ([*good(5), b'{"prompt": "\xff"}\n'], [], ["line 6", "0xff", "UTF-8"]),
    "NUL": ([*good(5), {"prompt": "a\0b", "answer": "1"}], [], ["line 6", "NUL"]),
    "10 MB": ([*good(5), {"prompt": "a", "answer": "1" * 10**7}], [], ["line 6", "10000000", "1000000"]),
    "no budget column": (
        good(40),
        ["budget=column", "budget.field=tokens"],
        ["['tokens']", "the data has []"],
    ),
    "no room": (good(40), ["trainer.max_completion_length=1024"], ["=1024 leaves no room", "1024 tokens"]),
    "without gold": (
        good(40),
        ["task.answer=null"],
        ["no gold answers", "reward 'correctness'", "surrogate"],
    ),
}


@pytest.mark.parametrize("kind", DATA)
def test_bad_data_are_refused_alike_by_check_and_by_training(ask, tmp_path, kind):
    rows, overrides, words = DATA[kind]
    path = table(tmp_path, rows)
    line = ["grpo", f"task={path}", "task.split=all", *SIZES, *overrides, f"output_dir={tmp_path / 'run'}"]
    message = refusal(ask, "check", *line)
    assert all(word in message for word in words), message
    assert refusal(ask, "rank", *line) == message


def test_what_is_dropped_is_counted_and_said(ask, tmp_path, caplog):
    rows = [
        *changed(7, prompt="1+" * 600 + "1"),
        {"prompt": "9*9", "answer": None},
        {"prompt": "0+0", "answer": "7"},
    ]
    line = [f"task={table(tmp_path, rows)}", "task.split=all", "task.long_prompts=drop", *SIZES]
    code, out, _ = ask("check", "grpo", *line)
    assert code == 0
    said = ["without answer 1, long prompts 1", "conflicts 1", "overlap 40"]
    words = " ".join(out.split())
    assert all(text in words for text in said), words
    with caplog.at_level(logging.WARNING), pytest.raises(Launched):
        ask("rank", "grpo", *line, f"output_dir={tmp_path / 'run'}")
    for text in (
        "1 of 42 train",
        "1 of 41 train prompts are longer",
        "1 train prompts have different gold answers",
        "40 of 40 train",
    ):
        assert caplog.text.count(text) == 1, text


def test_eval_refuses_the_same_data_before_its_model(ask, tmp_path):
    from lenrl.generation import transformers_engine as models

    path = table(tmp_path, DATA["NUL"][0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "load", lambda *_, **__: pytest.fail("the model was loaded"))
        assert "line 6" in refusal(ask, "eval", "tiny", f"task={path}", "verifier.workers=1")
        assert "verifier.timeout_s" in refusal(ask, "eval", "tiny", "task=chain", "verifier.timeout=3")
    assert not (tmp_path / "outputs").exists(), "no empty folder stays"


def test_score_refuses_a_verifier_key_and_a_cap_that_is_none(ask, tmp_path):
    rows = [{"prompt": "a", "length": 3, "text": "\\boxed{1}", "answer": "1"}] * 2
    path = table(tmp_path, rows)
    assert "verifier.timeout_s" in refusal(ask, "score", "grpo", path, "verifier.timeout=3")
    assert "'x'" in refusal(ask, "score", "grpo", path, "trainer.max_completion_length=x")


# --- a hub that is not there


@pytest.fixture(params=["closed", "offline"])
def no_hub(request, monkeypatch):
    """A port where nobody listens, and no waiting between the client's attempts; or a client told to stay offline."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", request.param == "offline")
        monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda _: None, time=time.time))
        yield request.param


def test_a_hub_that_can_not_be_reached_is_one_message(ask, no_hub):
    message = refusal(ask, "train", "grpo", "trainer.learning_rate=1e-5", *SIZES, "model.path=org/none")
    assert "org/none" in message and "could not be loaded" in message
    assert ("unset HF_HUB_OFFLINE" if no_hub == "offline" else "check the name and the network") in message


def test_data_on_a_hub_that_can_not_be_reached_are_one_message(ask, no_hub):
    message = refusal(ask, "train", "grpo", "task=table", "task.path=org/none", *SIZES)
    assert "task.path='org/none' is no local file and could not be loaded from the hub" in message


# --- without gold answers


def test_a_label_free_recipe_takes_a_table_without_answers(ask, tmp_path):
    path = table(tmp_path, [{"prompt": row["prompt"]} for row in good(40)])
    for line in (["task.answer=null"], []):
        task = prepare(compose("surrogate", [f"task={path}", "task.split=all", *SIZES, *line])).task
        assert not task.labelled
    code, out, _ = ask("check", "surrogate", f"task={path}", "task.split=all", *SIZES)
    assert code == 0 and "found 40, kept 40" in out
    assert prepare(compose("surrogate", SIZES)).task.labelled, "answers that are there are used"


def test_format_is_judged_without_a_gold_answer():
    from lenrl.verify.pool import Claim, Verifier
    from lenrl.verify.settings import VerifierSettings

    texts = ["\\boxed{7}", "\\boxed{\\frac{1}{2}}", "7", "\\boxed{}", "\\boxed{\\frac{1}"]
    with Verifier(VerifierSettings(workers=1)) as verifier:
        for gold in (None, " "):
            found = verifier.verify([Claim(text, gold) for text in texts])
            assert [v.formatted for v in found] == [True, True, False, False, False]
            assert all(v.correct is None and v.outcome == "abstained" for v in found)


def test_a_label_free_run_trains_evaluates_and_saves(tmp_path):
    from lenrl.run_process import run

    path = table(tmp_path, [{"prompt": row["prompt"]} for row in good(40)])
    lines = [
        *SMALL,
        f"task={path}",
        "task.split=all",
        "task.train=40",
        "trainer.save_steps=1",
        "trainer.eval_steps=2",
        "trainer.metric_for_best_model=eval_tokens",
    ]
    run(compose("surrogate", [*lines, f"output_dir={tmp_path / 'run'}"]))
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["accuracy"] for row in rows] == [None, None] and rows[0]["groups_with_signal"] > 0
    assert json.loads((tmp_path / "run/dev.jsonl").read_text().splitlines()[-1])["eval_tokens"] > 0
    assert (tmp_path / "run/checkpoint-2/manifest.json").is_file()
    assert json.loads((tmp_path / "run/training.json").read_text())["best_step"] in (0, 2)


# --- strategies of others

PLUGIN = """
import random
from typing import Literal
import torch
from lenrl.rollouts import RewardResult
from lenrl.strategies.base import Reward


class Hostile(Reward):
    \"\"\"Does what it is told to do wrong.\"\"\"

    name = "hostile_of_the_faults"
    how: str = "honest"

    def __call__(self, rollouts):
        paid = rollouts.correct_PG.clone()
        match self.how:
            case "none": return None
            case "list": return paid.tolist()
            case "shape": return paid[:, :1]
            case "unknown": paid[0, 0] = float("nan")
            case "endless": paid[0, 0] = float("inf")
            case "large": paid[0, 0] = 1e7
            case "raises": raise RuntimeError("the strategy's own words")
            case "part": return RewardResult(paid, {"length": paid[0]})
            case "random": return paid + random.random() * torch.rand_like(paid)
            case "edits":
                rollouts.correct_PG.fill_(0.0)
                rollouts.length_PG.fill_(1)
        return paid
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "hostile.py"
    path.write_text(PLUGIN)
    return path


def batch(folder):
    rows = [
        {"prompt": p, "length": 10 * (i + 1), "correct": (i + 1) % 2 == 0} for p in "ab" for i in range(4)
    ]
    return table(folder, rows, "batch.jsonl")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("none", "NoneType, expected a tensor of shape (2, 4)"),
        ("list", "list, expected a tensor"),
        ("shape", "shape (2, 1), expected (2, 4)"),
        ("part", "part 'length'"),
        ("unknown", "paid nan for prompt 'a', completion 0"),
        ("endless", "paid inf for prompt 'a', completion 0"),
        ("large", "paid 10000000.0 for prompt 'a', completion 0"),
        ("raises", "raised RuntimeError: the strategy's own words ("),
    ],
)
def test_a_bad_reward_fails_with_its_name_and_index(ask, plugin, tmp_path, how, words):
    line = ["grpo", batch(tmp_path), "reward=hostile_of_the_faults", f"reward.how={how}", "--plugin", plugin]
    code, out, err = ask("score", *line)
    assert (code, out) == (1, "") and "'hostile_of_the_faults'" in err and words in err
    assert "Traceback" not in err
    if how in ("unknown", "endless", "large"):
        code, out, _ = ask("score", *line, "guard.nonfinite=drop")
        rows = [json.loads(row) for row in out.splitlines()]
        assert code == 0 and (rows[0]["reward"], rows[0]["advantage"]) == (None, 0.0)
        assert any(row["advantage"] for row in rows[1:4])


def test_a_reward_that_edits_its_inputs_changes_nothing_else(ask, plugin, tmp_path):
    line = ["grpo", batch(tmp_path), "reward=hostile_of_the_faults", "--plugin", plugin]
    assert ask("score", *line, "reward.how=edits") == ask("score", *line)


def test_an_unknown_verdict_is_masked(ask, tmp_path):
    path = table(tmp_path, [{"prompt": "a", "length": 5, "correct": c} for c in (True, False, None, True)])
    rows = [json.loads(row) for row in ask("score", "grpo", path)[1].splitlines()]
    assert (rows[2]["reward"], rows[2]["advantage"]) == (None, 0.0) and rows[0]["advantage"] > 0


def test_check_finds_a_reward_that_is_not_deterministic(ask, plugin):
    line = ["grpo", *SIZES, "task.train=8", "task.dev=4", "task.test=4", "--plugin", plugin]
    line.append("reward=hostile_of_the_faults")
    assert "not deterministic" in ask("check", *line, "reward.how=random")[1]
    assert "not deterministic" not in ask("check", *line)[1]


@pytest.mark.parametrize(("how", "code"), [("large", 1), ("shape", 1), ("raises", 1)])
def test_a_bad_reward_ends_the_training_with_its_message(plugin, tmp_path, capsys, how, code):
    run = tmp_path / "run"
    lines = [*SMALL, "reward=hostile_of_the_faults", f"reward.how={how}", f"output_dir={run}"]
    assert rank(["--config-name", "grpo", *lines, "--plugin", str(plugin)]) == code
    assert "error: reward 'hostile_of_the_faults'" in capsys.readouterr().err
    assert not (run / "metrics.jsonl").exists(), "no step was taken"


def test_dropped_rewards_are_counted(plugin, tmp_path):
    run = tmp_path / "run"
    lines = [*SMALL, "reward=hostile_of_the_faults", "reward.how=large", "guard.nonfinite=drop"]
    assert rank(["--config-name", "grpo", *lines, f"output_dir={run}", "--plugin", str(plugin)]) == 0
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["rewards_dropped"] for row in rows] == [1, 1]


# --- real processes


@pytest.mark.slow
def test_a_refusal_inside_two_processes_is_one_message_exit_code_2_and_no_folder(tmp_path):
    path = table(tmp_path, DATA["NUL"][0])
    line = [
        sys.executable,
        "-m",
        "lenrl.cli",
        "train",
        "grpo",
        "launch=cpu2",
        f"task={path}",
        "task.split=all",
    ]
    line += [*SIZES, f"output_dir={tmp_path / 'run'}"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("line 6: field 'prompt' holds a NUL") == 1
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("trainer.chat_template_kwargs={enable_thinking: false}",), "trainer.chat_template_kwargs"),
        (("trainer.generation_kwargs={stop_strings: x}",), "trainer.generation_kwargs"),
        (
            ("sampling=drop_flat", "trainer.gradient_accumulation_steps=4", "trainer.steps_per_generation=1"),
            "trainer.steps_per_generation=4",
        ),
    ],
)
def test_what_the_evaluation_or_the_sampling_could_not_follow_is_refused(ask, overrides, said):
    assert said in refusal(ask, "check", "grpo", *overrides)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.eval_steps=30", "no multiple of trainer.save_steps=20"),
        ("trainer.repetition_penalty=1.1", "evaluations do without it"),
    ],
)
def test_what_does_less_than_it_seems_is_warned_of(override, said):
    found = prepare(compose("grpo", [override])).warnings
    assert any(said in warning for warning in found)
    assert not any(said in warning for warning in prepare(compose("grpo")).warnings)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.push_to_hub=true", "hub.push=true hub.repo="),
        ("trainer.hub_model_id=a/b", "set `hub.push` and `hub.repo`"),
        ("trainer.enable_jit_checkpoint=true", "SIGTERM"),
        ("trainer.deepspeed={zero_optimization: {stage: 3}}", "launch=zero3"),
        ("trainer.fsdp=full_shard", "launch=fsdp2"),
        ("trainer.fsdp_config={}", "launch.fsdp_config"),
        ("trainer.accelerator_config={split_batches: true}", "launch.FIELD"),
        ("trainer.num_train_epochs=2", "trainer.max_steps"),
        ("trainer.label_smoothing_factor=0.1", "no labels"),
    ],
)
def test_what_would_go_past_lenrl_or_do_nothing_is_refused(override, said):
    with pytest.raises(BadInput, match=re.escape(said)):
        prepare(compose("grpo", [override]))
