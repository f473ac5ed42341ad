"""Run by every process of a launch: plug-ins that fail on the second one. Usage: failing_plugins.py OUT_DIR"""

import json
import os
import sys
from pathlib import Path

from lenrl import plugins
from lenrl.errors import LenrlError
from tests.training.runs import small_run

TEXT = """
import os
from lenrl.verify.base import VerifierPlugin


class Fails(VerifierPlugin):
    name = "fails_on_one"

    def judge(self, text, answer, gold, columns):
        if os.environ["RANK"] == "1":
            raise ConnectionError("the judge's server is gone")
        return answer == gold


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
    "function": ["reward_functions.fails_on_one=1"],
    "verdict": ["reward_functions={verdict_of_one: {verdict: true}}"],
    "nan": ["reward_functions.wide_on_one=1"],
}


def main(out: Path) -> None:
    path = out / "failing.py"
    if os.environ["RANK"] == "0":
        path.write_text(TEXT)
    from accelerate import PartialState

    PartialState(cpu=True).wait_for_everyone()
    plugins.load(path)
    found = {}
    for case, overrides in CASES.items():
        trainer, verifier = small_run("grpo", out / case, *overrides)
        try:
            with verifier:
                trainer.train()
        except LenrlError as fault:
            found[case] = f"{type(fault).__name__}: {fault}"
    (out / f"rank{os.environ['RANK']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
