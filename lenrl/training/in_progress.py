"""A generation batch on its way from budgets to advantages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lenrl.rollouts import Verdict
from lenrl.strategies.base import PromptBudget
from lenrl.strategies.scoring import Scored
from lenrl.training.forced import ForcedTokens
from lenrl.training.reward_calls import RewardCalls
from lenrl.training.trl_batch import TrlRow
from lenrl.verify.claims import PendingVerdicts


@dataclass(frozen=True)
class InProgress:
    """A generation batch between `begin` and `finish`; rows, texts and verdicts are this process's."""

    step: int  # completed optimizer steps
    number: int  # rollouts before this one since the run began
    rows: Sequence[TrlRow]
    prompt_budgets: Sequence[PromptBudget]
    cap: int  # tokens, the largest of the whole generation batch
    counts: Mapping[str, int]  # of the verifier, before this batch
    factor: float  # prompts sampled over prompts kept, as the sampling strategy has it
    prompts: int  # that the update takes, over all processes
    keys: Sequence[int]  # of the rows' sampling noise
    forced: ForcedTokens  # that the rows' completions begin with
    pending: PendingVerdicts | None = None  # of completions that were judged as they ended
    texts: Sequence[str] = ()  # as they were judged last
    verdicts: Sequence[Verdict] = ()
    calls: RewardCalls | None = None
    scored: Scored | None = None  # of the whole generation batch
