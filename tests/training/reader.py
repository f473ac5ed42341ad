"""A plug-in whose strategies read all that is carried, so that processes which differ in any of it show."""

from zlib import crc32

from lenrl.rollouts import RewardResult, StepScore, Verdict
from lenrl.strategies.advantages.process import Process
from lenrl.strategies.base import Advantage, Reward, Truncation
from lenrl.strategies.columns import step_rewards
from lenrl.verify.base import VerifierPlugin

KEPT = 40  # tokens


class Lines(VerifierPlugin):
    """A step a line, whose score depends on where it stands."""

    name = "lines"

    def judge(self, text, answer, gold, columns):
        ends = [place + 1 for place, character in enumerate(text) if character == "\n"]
        return Verdict(answer == gold, answer, steps=tuple(StepScore(end % 5 / 4, end) for end in ends))


class Short(Truncation):
    """Cuts what is long."""

    name = "short"

    def __call__(self, rollouts):
        return rollouts.length_PG.clamp(max=KEPT)


class ReadsAll(Reward):
    """Step scores, and a number that depends on everything else that is read, at the last token."""

    name = "reads_all"
    reads = ("prompt", "gold", "text", "token_ids", "answer", "steps")
    rewards_tokens = True

    def __call__(self, rollouts):
        rewards_PGT = step_rewards(rollouts)
        parts = rollouts.text_PG, rollouts.token_ids_PG, rollouts.answer_PG
        for p, (prompt, gold) in enumerate(zip(rollouts.prompt_P, rollouts.gold_P, strict=True)):
            for g in range(rollouts.G):
                read = repr((prompt, gold, *(part[p][g] for part in parts)))
                rewards_PGT[p, g, int(rollouts.length_PG[p, g]) - 1] = crc32(read.encode()) / 2**32
        return RewardResult.of_tokens(rewards_PGT)


class WeighsTokens(Advantage):
    """Process supervision, where unlikely tokens count more."""

    name = "weighs_tokens"
    reads = ("logps",)
    reads_token_rewards = True

    def __call__(self, reward, rollouts):
        advantage_PGT = Process()(reward, rollouts)
        return advantage_PGT * (1 - rollouts.logp_PGT.nan_to_num().double())
