"""A process reward: a verifier scores each reasoning step, and the tokens of each step are rewarded for it.

The task is the built-in `chain`, `3+4*2` from left to right modulo 10, worked line by line: `3+4=7`, `7*2=4`.
`StepChecker` scores each line, 1 where it is true and 0 where it is not; a process reward model would stand in its
place. `StepsAndAnswer` puts each score at its line's last token and the verdict at the completion's end;
`advantage: process` gives every token the normalised rewards from it on. Each true line earns something: watch
`tokens_mean`, or let a length reward work against it.

    lenrl check process_reward.yaml --plugin process_reward.py
    lenrl train process_reward.yaml --plugin process_reward.py
"""

import re

from pydantic import Field

from lenrl.rollouts import RewardResult, StepScore, Verdict
from lenrl.strategies.base import Reward
from lenrl.strategies.columns import step_rewards
from lenrl.tasks.chain import evaluate
from lenrl.verify.base import VerifierPlugin

LINE = re.compile(r"^([0-9](?:[-+*][0-9])+)=([0-9])$", re.MULTILINE)


class StepChecker(VerifierPlugin):
    """The answer as it is written, and each line of the form `3+4*2=4`."""

    name = "step_checker"

    def judge(self, text, answer, gold, columns):
        steps = (StepScore(float(str(evaluate(m[1])) == m[2]), m.end()) for m in LINE.finditer(text))
        return Verdict(answer == gold, answer, formatted=answer is not None, steps=tuple(steps))


class StepsAndAnswer(Reward):
    """`weight` times its score at each step's last token, and the verdict at the completion's last token.

    >>> from lenrl.strategies.examples import groups, show
    >>> steps = (StepScore(1.0, 2), StepScore(0.0, 3)), ()
    >>> result = StepsAndAnswer()(groups([[4, 1]], [[1, 0]], carried={"steps": (steps,)}))
    >>> show(result.total_PG), show(result.token_PGT.nan_to_num(-1))
    ([[1.5, 0.0]], [[[-1.0, 0.5, 0.0, 1.0], [0.0, -1.0, -1.0, -1.0]]])
    """

    name = "steps_and_answer"
    reads = ("steps",)
    rewards_tokens = True

    weight: float = Field(default=0.5, ge=0, le=1)  # of a step, against 1 for the answer

    def __call__(self, rollouts):
        rewards_PGT = self.weight * step_rewards(rollouts)
        p, g = (rollouts.length_PG > 0).nonzero(as_tuple=True)
        last = rollouts.length_PG[p, g] - 1
        rewards_PGT[p, g, last] = rewards_PGT[p, g, last].nan_to_num() + rollouts.correct_PG[p, g]
        return RewardResult.of_tokens(rewards_PGT)
