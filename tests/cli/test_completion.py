"""What a shell offers after a tab, asked of a real bash; and the words against the classes that they stand for."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lenrl.cli import VERBS, main, option_words
from lenrl.strategies import registry
from lenrl.tasks import TASKS
from lenrl.training.trl_fields import GRPO_FIELDS, OWNED
from lenrl.verify.settings import VerifierSettings

ASKS = """
eval "$(lenrl completion bash)"
complete -p lenrl | grep -q python_argcomplete || exit 3
while IFS= read -r line; do
    COMP_LINE="$line" COMP_POINT=${#line} COMP_TYPE=9 COMPREPLY=()
    IFS=$'\\n' _python_argcomplete lenrl
    echo "${COMPREPLY[*]}" | tr '\\n' ' ' && echo
done
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_verbs_recipes_keys_and_values(tmp_path):
    (tmp_path / "mine.yaml").touch()
    offered = {
        "lenrl tr": {"train"},
        "lenrl help ch": {"check"},
        "lenrl train dr": {"drpo"},
        "lenrl check mi": {"mine.yaml"},
        "lenrl train drpo laun": {"launch=", "launch."},
        "lenrl train drpo launch=ze": {"zero2", "zero3"},  # bash itself takes `launch=` for a word
        "lenrl train grpo reward=ki": {"kimi"},
        "lenrl train kimi reward.": {"reward.weight="},
        "lenrl train grpo reward=kimi reward.": {"reward.weight="},
        "lenrl sweep drpo trainer.learning_r": {"trainer.learning_rate="},
        "lenrl check drpo --plug": {"--plugin"},
        "lenrl edit tiny probe gam": {"gamma="},
        "lenrl eval tiny max_n": {"max_new_tokens="},
        "lenrl eval tiny task=gsm8": {"gsm8k"},
    }
    folder = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", ASKS],
        input="\n".join(offered) + "\n",
        env={"PATH": f"{folder}:/usr/bin:/bin", "PYTHONSAFEPATH": "1"},
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=True,
    )
    answers = [set(line.split()) for line in done.stdout.splitlines()]
    assert dict(zip(offered, answers, strict=True)) == offered


def test_nothing_heavy_is_loaded_for_the_words():
    code = (
        "import sys; from lenrl.cli import option_words as o\n"
        "for p in ('', 'trainer.', 'reward.', 'reward=', 'task.', 'verifier.', 'launch.'): list(o.words(p))\n"
        "assert not {'torch', 'transformers', 'trl', 'hydra', 'pydantic', 'numpy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("slot", option_words.SLOTS)
def test_the_strategies_and_their_options_are_those_of_the_classes(slot):
    classes = registry.built_in(slot)
    assert option_words.strategies(slot) == {name: list(kind.model_fields) for name, kind in classes.items()}


def test_the_fields_are_those_of_the_classes():
    assert set(option_words.trainer_fields()) == set(GRPO_FIELDS)
    offered = {word.removeprefix("trainer.")[:-1] for word in option_words.words("trainer.")}
    assert set(GRPO_FIELDS) - set(OWNED) <= offered and not offered & set(OWNED)
    of_tasks = {name for task in TASKS.values() for name in task.model_fields} - {"name"}
    assert of_tasks <= {word[5:-1] for word in option_words.words("task.")}
    of_verifier = {word.removeprefix("verifier.")[:-1] for word in option_words.words("verifier.")}
    assert set(VerifierSettings.model_fields) <= of_verifier


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "lenrl" in capsys.readouterr().out
    assert main(["completion", "csh"]) == 2
    assert "completion" in VERBS
