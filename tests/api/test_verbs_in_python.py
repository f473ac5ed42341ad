"""The verbs as functions."""

import json
import subprocess
import sys

import pytest

import lenrl
from lenrl.cli import main
from lenrl.errors import BadInput

ROWS = [
    {"prompt": "q", "length": 400, "correct": True, "mean_logp": -0.5},
    {"prompt": "q", "length": 900, "correct": True, "mean_logp": -0.6},
    {"prompt": "q", "length": 300, "correct": False, "mean_logp": -0.7},
]


@pytest.mark.parametrize("name", ["drpo", "grpo_lambda", "kimi"])
def test_scores_are_the_command_lines(name, tmp_path, capsys):
    file = tmp_path / "batch.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert main(["score", name, str(file)]) == 0
    assert lenrl.score(name, ROWS) == [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_slots_and_options_change_the_scores():
    kimi = lenrl.score("kimi", ROWS)
    assert lenrl.score({"reward": "kimi"}, ROWS) == kimi != lenrl.score("kimi", ROWS, weight=0.1)
    assert lenrl.score(lenrl.compose("kimi").method, ROWS) == kimi != lenrl.score("grpo", ROWS)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no rows"),
        ([{"prompt": "q"}], "row 1: field 'length' is missing"),
        ([{"a": {1}}], "no plain value"),
    ],
)
def test_bad_rows_are_named(rows, said):
    with pytest.raises(BadInput, match=said):
        lenrl.score("kimi", rows)


def test_importing_lenrl_loads_nothing_heavy_and_scoring_only_what_other_trainers_have():
    code = (
        "import sys, lenrl; print({'torch', 'pydantic', 'hydra'} & set(sys.modules), lenrl.__all__)\n"
        f"assert lenrl.score('kimi', {ROWS})\n"
        "with_lenrl = {'trl', 'transformers', 'accelerate', 'datasets', 'peft', 'pandas', 'pyarrow', 'scipy', "
        "'pebble', 'math_verify', 'sympy', 'psutil', 'rich', 'safetensors', 'argcomplete', 'wandb'}\n"
        "assert not with_lenrl & set(sys.modules), with_lenrl & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("set()") and "LenrlTrainer" in done.stdout
