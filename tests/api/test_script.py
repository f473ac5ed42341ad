"""Scripts as users have them: TRL's example in two changed lines, and one that is killed and continued."""

import json
import re
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.forks import Forks

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("script")]

ROOT = Path(__file__).resolve().parents[2]
LOCAL = """
import sys; sys.path.insert(0, {root!r})
import datasets
from tests.api.data import SMALL, rows
from lenrl.api import trl_arguments
from trl import GRPOConfig
datasets.load_dataset = lambda name, split: rows(8, answer="solution")
trl_arguments.default_config = lambda model: GRPOConfig("example", **{{**SMALL, "max_steps": 1}})
"""
KILLED = """
import os, signal, sys; sys.path.insert(0, {root!r})
from peft import LoraConfig
from transformers import TrainerCallback
from lenrl import LenrlTrainer
from tests.api.data import config, right, rows, shorter

class Seen(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

LenrlTrainer("tiny", [right, shorter], config(sys.argv[1], max_steps=4, save_steps=2, reward_weights=[1.0, 0.5]),
    rows(), peft_config=LoraConfig(r=4, target_modules="all-linear"), callbacks=[Seen()], verifier="math",
    method="grpo_lambda", guard={{"truncated_share": 1.0}}).train(resume_from_checkpoint=True)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with Forks(tmp_path_factory.mktemp("said")) as forks:
        yield lambda code, folder, *words: forks.run(
            folder, "-c", code.format(root=str(ROOT)), *map(str, words)
        )


def test_trls_example_in_two_changed_lines(run, tmp_path):
    """The text of docs/python.md, with local data and the embedded model."""
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    script = re.search(r"<!-- two-lines:begin -->\n```python\n(.*?)```", page, re.DOTALL)[1]
    script = script.replace("Qwen/Qwen2-0.5B-Instruct", "tiny").replace("{", "{{").replace("}", "}}")
    done = run(LOCAL + script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "example" / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_killed_script_continues_bit_for_bit(run, tmp_path):
    """LoRA, a callback, reward functions and data in memory: killed at step 3, from the checkpoint of step 2."""
    whole = run(KILLED, tmp_path, "whole", 0)
    assert whole.returncode == 0, whole.stderr
    assert run(KILLED, tmp_path, "parts", 3).returncode == -signal.SIGKILL
    assert (tmp_path / "parts" / "checkpoint-2").is_dir() and not (tmp_path / "parts" / "model").exists()
    again = run(KILLED, tmp_path, "parts", 0)
    assert again.returncode == 0, again.stderr
    first, second = (
        load_file(tmp_path / name / "model" / "adapter_model.safetensors") for name in ("whole", "parts")
    )
    assert first.keys() == second.keys() and all((first[key] == second[key]).all() for key in first)
    lines = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    for one, other in zip(*lines, strict=True):
        kept = [name for name in one if not name.startswith("time_") and not name.endswith("_per_s")]
        assert {name: one[name] for name in kept} == {name: other[name] for name in kept}
