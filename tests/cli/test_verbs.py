"""The verbs as a user types them."""

import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from lenrl.cli import VERBS, main
from lenrl.cli import eval as eval_verb
from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.evaluation.settings import EvalSettings


def run(*arguments, **options):
    line = [sys.executable, "-m", "lenrl.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, **options)


def rows(path, count=4):
    lines = [{"prompt": "a", "length": 10 * (i + 1), "correct": i % 2 == 0} for i in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("verb", VERBS)
def test_help_ends_with_examples_and_loads_nothing_heavy(verb):
    code = (
        "import sys\nfrom lenrl.cli import main\n"
        f"try: main([{verb!r}, '--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'hydra', 'pydantic', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"  lenrl {verb}" in done.stdout.split("examples:")[1]


def test_an_evaluation_begins_without_what_trains():
    code = (
        "import sys, lenrl.evaluation.evaluate, lenrl.report.summary\n"
        "heavy = {'trl', 'peft', 'accelerate', 'transformers.trainer_callback', 'torch._dynamo', 'scipy.stats', "
        "'torch.distributed.tensor', 'pandas', 'datasets', 'sympy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_80_columns_and_breaks_no_option(verb, capsys, monkeypatch):
    shown = {}
    for columns in ("80", "400"):
        monkeypatch.setenv("COLUMNS", columns)
        with suppress(SystemExit):
            main(["help", *filter(None, [verb])])
        shown[columns] = capsys.readouterr().out
    told, _ = shown["80"].split("examples:")  # those are there to be copied
    assert max(map(len, told.splitlines())) <= 80
    words = set(re.findall(r"--[a-z-]+|[A-Z/.a-z_]+=\S+", shown["400"].split("examples:")[0]))
    assert [word for word in words if word not in told] == []


def test_help_answers_within_a_second():
    began = os.times()
    assert run("--help").returncode == 0
    ended = os.times()  # of a core's work: other work on the machine is not the point
    assert ended.children_user + ended.children_system - began.children_user - began.children_system < 1


def test_an_unknown_verb_is_refused_with_the_nearest(capsys):
    assert main(["trian"]) == 2
    assert "Did you mean 'train'?" in capsys.readouterr().err


def test_bad_input_is_one_message_on_stderr_and_exit_code_2(tmp_path):
    done = run("train", "grpo", "reward=nope", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
    traced = run("train", "grpo", "reward=nope", cwd=tmp_path, env={"LENRL_DEBUG": "1", "PATH": "/usr/bin"})
    assert "Traceback" in traced.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "RECIPE"),
        (["train", "grpo", "-m", "seed=1"], "lenrl sweep"),
        (["train", "grpo", "seed=1", "--plugin", "nowhere.py"], "nowhere.py"),
        (["train", "grpo", "--nope"], "--nope"),
        (["train", "grpo", "trainer.seed=1"], "top-level `seed`"),
        (["train", "grpo", "trainer.num_generations=1"], "at least 2"),
        (["check", "grpo", "launch.num_process=2"], "num_processes"),
        (["score", "grpo", "nowhere.jsonl"], "nowhere.jsonl"),
        (["eval", "task=chain"], "no model"),
        (["eval", "tiny", "sampels=3"], "samples"),
        (["eval", "tiny", "samples=many"], "samples"),
        (["eval", "tiny", "greedy=1"], "true or false"),
        (["eval", "tiny", "controls=force@512,stop@2"], "several values. For a list write [a,b]"),
        (["eval", "tiny", f"task.sytem_prompt='{'think ' * 60}'", "task=chain"], "task.system_prompt"),
        (["eval", "~samples"], "no such folder"),
        (["train", "~nobody-of-this-name"], "neither a shipped recipe nor a file"),
        (["attack", "kimi", "trainer.num_generation=4"], "Did you mean trainer.num_generations?"),
        (["ls", "--schema", "reward"], "leave out reward"),
        (["ls", "rewards"], "reward"),
        (["cp", "dprro", "x.yaml"], "drpo"),
    ],
)
def test_bad_lines_are_refused_readably(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert words in err and out == ""
    assert not list(tmp_path.iterdir())


def test_ls_lists_recipes_and_strategies_with_descriptions(capsys, monkeypatch):
    monkeypatch.setattr("lenrl.plugins.of_files", lambda *_: {})  # other tests' plug-ins, in this process
    assert main(["ls", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "base" not in found["recipes"] and found["recipes"]["drpo"].startswith("DRPO")
    assert {"drpo", "grpo"} <= set(found["advantage"])
    assert all(text for names in found.values() for text in names.values())
    assert main(["ls", "reward"]) == 0
    text = capsys.readouterr().out
    assert "kimi" in text and "advantage" not in text.splitlines()


def test_cp_gives_a_recipe_that_works_anywhere_and_overwrites_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["cp", "drpo", "mine.yaml"]) == 0
    assert "defaults: [base, _self_]" in Path("mine.yaml").read_text()
    assert compose("mine.yaml").digest() == compose("drpo").digest()
    Path("mine.yaml").write_text("mine")
    assert main(["cp", "drpo", "mine.yaml"]) == 2
    assert Path("mine.yaml").read_text() == "mine"
    assert main(["cp", "drpo", "."]) == 0 and Path("drpo.yaml").exists()
    Path("latin.yaml").write_bytes(b"seed: 1 # \xe9\n")
    assert main(["cp", "latin.yaml", "copy.yaml"]) == 2 and "can't decode" in capsys.readouterr().err
    assert main(["cp", "drpo", "x" * 300]) == 2 and "too long" in capsys.readouterr().err
    assert not Path("copy.yaml").exists()


def test_score_prints_a_row_for_each_line(tmp_path, capsys):
    assert main(["score", "grpo", str(rows(tmp_path / "b.jsonl")), "advantage=dr_grpo"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["advantage"] for row in found] == [0.5, -0.5, 0.5, -0.5]


def test_score_takes_the_cap_from_the_command_line_only(tmp_path, capsys):
    path = rows(tmp_path / "b.jsonl")
    rewards = {}
    lines = {cap: f"trainer.max_completion_length={cap}" for cap in (4096, 1000)}
    for cap, line in {None: "seed=1", **lines, "mapping": "trainer={max_completion_length: 1000}"}.items():
        extra = [line]
        assert main(["score", "length_penalty", str(path), *extra]) == 0
        rewards[cap] = [json.loads(line)["reward"] for line in capsys.readouterr().out.splitlines()]
    assert rewards[None] == rewards[4096]
    assert rewards[1000][0] == pytest.approx(1 - 10 / 1000) and rewards["mapping"] == rewards[1000]
    for typo in ("trainer.max_completion_lenght=1000", "trainer={max_completion_lenght: 1000}"):
        assert main(["score", "length_penalty", str(path), typo]) == 2
        assert "Did you mean trainer.max_completion_length?" in capsys.readouterr().err


def test_score_writes_nothing_when_a_line_is_bad(tmp_path, capsys):
    path = rows(tmp_path / "b.jsonl")
    path.write_text(path.read_text() + '{"prompt": "a", "length": -1}\n')
    assert main(["score", "grpo", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "5" in err and "length" in err


def test_flags_may_stand_between_overrides(tmp_path, capsys):
    path = str(rows(tmp_path / "b.jsonl"))
    assert main(["score", "grpo", path, "seed=1", "--step", "3", "advantage=rloo"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_eval_divides_models_from_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lr=1").mkdir()  # a run's folder may look like a setting
    models, task, settings = eval_verb.divide(
        [
            "tiny",
            "lr=1",
            "task=a file.jsonl",
            "samples=4",
            "greedy=true",
            "temperature=1",
            "verifier.workers=1",
        ]
    )
    assert (models, task) == (["tiny", "lr=1"], "a file.jsonl")
    assert settings == EvalSettings(samples=4, greedy=True, temperature=1.0, verifier={"workers": 1})
    assert eval_verb.divide(["tiny", "task=chain", "task.test=5"])[1] == {"name": "chain", "test": 5}
    assert eval_verb.divide(["tiny", "task.max_operands=5"])[1] == {"name": "chain", "max_operands": 5}
    with pytest.raises(BadInput, match="top_p"):
        eval_verb.divide(["tiny", "top_p=high"])


def test_eval_names_every_setting_in_its_help():
    fields = EvalSettings.model_fields.keys() - {"decodings"}  # which `greedy` chooses from
    assert {*eval_verb.OPTIONS, *eval_verb.SECTIONS} - {"task"} == fields


def test_check_prints_the_resolved_recipe_and_what_was_found(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["check", "drpo", "task.train=64", "task.dev=8", "task.test=8"]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if len(line) > 80 and not line.startswith("warning: ")] == []
    for words in (
        "lam: 0.1",
        "prompts per rollout",
        "found 64, kept 64",
        "verdicts per second",
        "penalty leverage",
    ):
        assert words in text
    assert not list(tmp_path.iterdir())
