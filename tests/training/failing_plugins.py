"""Run by every process of a launch: plug-ins that fail on the second one, from recipes and from a script.

Usage: failing_plugins.py OUT_DIR
"""

import json
import os
import sys
from pathlib import Path

from lenrl import LenrlTrainer, plugins
from lenrl.errors import LenrlError
from tests.api.data import config, rows
from tests.training.runs import small_run

TEXT = """
import os
from typing import ClassVar
from lenrl.strategies.rewards.correctness import Correctness
from lenrl.verify.base import VerifierPlugin


class Fails(VerifierPlugin):
    name = "fails_on_one"

    def judge(self, text, answer, gold, columns):
        if os.environ["RANK"] == "1":
            raise ConnectionError("the judge's server is gone")
        return answer == gold


class StrategyOfOne(Correctness):
    "Its state differs: only the second process's raises."
    name: ClassVar[str] = "strategy_of_one"

    def __call__(self, rollouts):
        if os.environ["RANK"] == "1":
            raise IndexError("a table of my own")
        return super().__call__(rollouts)

    def observe(self, rollouts, reward):
        if os.environ["RANK"] == "1":
            raise OverflowError("an average of my own")


class ObservesOnOne(StrategyOfOne):
    "Raises after the rewards."
    name: ClassVar[str] = "observes_on_one"

    def __call__(self, rollouts):
        return Correctness.__call__(self, rollouts)


def fails_on_one(completions, **columns):
    if os.environ["RANK"] == "1":
        raise KeyError("scale")
    return [0.0 for _ in completions]


def verdict_of_one(completions, **columns):
    return [0.5 if os.environ["RANK"] == "1" else 1 for _ in completions]


def wide_on_one(completions, **columns):
    return [float("nan") if os.environ["RANK"] == "1" else 0.0 for _ in completions]
"""

CASES = {
    "verifier": ["verifier.kind=fails_on_one"],
    "evaluation": ["verifier.kind=fails_on_one", "trainer.eval_steps=1"],
    "strategy": ["reward=strategy_of_one"],
    "observation": ["reward=observes_on_one"],
    "function": ["reward_functions.fails_on_one=1"],
    "verdict": ["reward_functions={verdict_of_one: {verdict: true}}"],
    "nan": ["reward_functions.wide_on_one=1"],
}


def script(folder: Path, **given) -> None:
    """A script's run of one step, with the verifier that its name says."""
    LenrlTrainer(
        "tiny",
        args=config(folder, max_steps=1, report_to="tensorboard"),
        train_dataset=rows(8),
        guard={"truncated_share": 1.0},
        plugins=[folder.parent / "failing.py"],
        **given,
    ).train()


def main(out: Path) -> None:
    path = out / "failing.py"
    if os.environ["RANK"] == "0":
        path.write_text(TEXT)
    from accelerate import PartialState

    PartialState(cpu=True).wait_for_everyone()
    function = plugins.load(path).objects["reward_function"]["fails_on_one"]

    def recipe(case: str) -> None:
        trainer, verifier = small_run("grpo", out / case, *CASES[case])
        with verifier:
            trainer.train()

    runs = {
        **{case: lambda case=case: recipe(case) for case in CASES},
        "script": lambda: script(out / "script", method="kimi"),
        "script's function": lambda: script(out / "other", reward_funcs=function, verifier="math"),
        "script's verifier": lambda: script(out / "third", verifier="fails_on_one"),
        "another script": lambda: script(out / "script", method="grpo_lambda"),
    }
    found = {}
    for case, run in runs.items():
        try:
            run()
            found[case] = "finished"
        except LenrlError as fault:
            found[case] = f"{type(fault).__name__}: {fault}"
    (out / f"rank{os.environ['RANK']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
