"""Guards on a run whose sampler, rewards and verifier really go wrong, one after the other, through plug-ins."""

from collections import Counter
from dataclasses import replace

from lenrl import plugins
from tests.training.runs import lines_of, small_run

TEXT = """
import pathlib
from typing import ClassVar
from lenrl.strategies.advantages.grpo import Grpo
from lenrl.verify.base import VerifierPlugin


class Informed(Grpo):
    name: ClassVar[str] = "informed"
    needs_logp = True


class Overloaded(VerifierPlugin):
    name = "overloaded"

    def judge(self, text, answer, gold, columns):
        if pathlib.Path(__file__).with_name("down").exists() and len(text) % 4:
            raise ConnectionError("the judge's server is gone")
        return answer == gold


def bonus(completion_ids, **_):
    return [len(tokens) / 30 for tokens in completion_ids]


def fine(completion_ids, **_):
    return [-len(tokens) / 10 for tokens in completion_ids]
"""
GUARDS = ("parts_cancel", "logps_apart", "verifier_fails")
CALM, HOT = 2, 5  # rollouts that are sampled as they should be; and with another temperature


def test_each_speaks_once_and_when_it_has_lasted(tmp_path, caplog):
    (tmp_path / "wrong.py").write_text(TEXT)
    plugins.load(tmp_path / "wrong.py")
    trainer, verifier = small_run(
        "grpo", tmp_path / "run", "verifier.kind=overloaded", "advantage=informed", "reward_functions.bonus=3",
        "reward_functions.fine=1", "task.operands=[2,3]", "task.dev=0", "task.test=0", "update.per_rollout=2",
        "trainer.max_steps=16", "trainer.max_completion_length=64", "trainer.temperature=0.7",
    )  # fmt: skip
    begin, rule = trainer.rollout.begin, trainer._token_rule

    def begun(rows, *, step, number):
        hot = CALM <= number < HOT
        trainer.__dict__["_token_rule"] = replace(rule, temperature=4.0 if hot else rule.temperature)
        if number == HOT:
            (tmp_path / "down").touch()
        return begin(rows, step=step, number=number)

    trainer.rollout.begin = begun
    with verifier:
        trainer.train()
    lines = lines_of(tmp_path / "run")[1::2]  # of the rollouts
    counts = {name: [line[f"guard_{name}"] for line in lines] for name in GUARDS}
    assert counts["parts_cancel"][:HOT] == [1, 2, 3, 4, 5], "to rounding: 3/30 - 1/10 of the tokens"
    assert counts["logps_apart"] == [0, 0, 1, 2, 3, 0, 0, 0]
    assert counts["verifier_fails"] == [0, 0, 0, 0, 0, 1, 2, 3]
    said = [record.getMessage().split(":")[0] for record in caplog.records if "guard." in record.getMessage()]
    assert Counter(said) == {f"guard.{name}": 1 for name in GUARDS}
    assert all(line["sampler_logp_gap"] < 1e-5 for line in lines[:CALM] + lines[HOT:])
