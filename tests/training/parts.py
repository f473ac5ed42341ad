"""Stand-ins for what the parts of training are given, without a model: one process, a tokenizer of characters."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import torch

from lenrl.config import compose
from lenrl.rollouts import Verdict
from lenrl.strategies.base import RunInfo
from lenrl.strategies.method import Method
from lenrl.tasks.chain import ChainTask
from lenrl.tasks.problem import Problem
from lenrl.training.distributed import ProcessGroup
from lenrl.training.guards import Guards
from lenrl.training.problem_set import ProblemSet
from lenrl.training.rollout import RolloutScoring
from lenrl.training.run_state import StrategyStates
from lenrl.training.selection import PromptCursor
from lenrl.training.signals import StopSignal

END, PAD = 1, 0  # token ids; any other one is a character
L_MAX = 12  # tokens


def one_process() -> ProcessGroup:
    return ProcessGroup(
        SimpleNamespace(
            num_processes=1,
            process_index=0,
            device=torch.device("cpu"),
            gather=lambda value: value,
            reduce=lambda value, reduction: value,
        )
    )


class Characters:
    """A tokenizer whose tokens are characters."""

    pad_token_id = PAD

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(character) for character in text]}

    def decode(self, ids, **_: Any) -> str:
        return "".join(chr(token) for token in ids if token not in (END, PAD))


class Asked:
    """Prompts as text, the budget's words for the system before the problem's and its hint after it."""

    tokenizer = Characters()
    task = ChainTask(name="chain")

    def for_trl(self, problem, budget=None) -> str:
        return ((budget and budget.system) or "") + problem.prompt + ((budget and budget.hint) or "")

    def chat(self, problem, budget=None) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.for_trl(problem, budget)}]

    def text(self, problem, budget=None) -> str:
        return self.for_trl(problem, budget)

    def ids(self, problem, budget=None) -> list[int]:
        return ids(self.for_trl(problem, budget))

    def row(self, problem) -> dict[str, str]:
        return {"prompt_id": problem.id, "prompt": problem.prompt}


class Ends:
    """A verifier to which a completion is right if it ends in its gold answer."""

    def __init__(self) -> None:
        self.counts = Counter(timeouts=0, errors=0, memory=0, abstained=0)
        self.calls: list[list[str]] = []

    def verify(self, claims) -> list[Verdict]:
        self.calls.append([claim.text for claim in claims])
        return [self.verdict(claim.text, claim.answer) for claim in claims]

    def verdict(self, text: str, gold: str) -> Verdict:
        return Verdict(text.endswith(gold), answer=text[-1:])


def ids(text: str) -> list[int]:
    """Tokens of a completion; `.` ends it."""
    return [END if character == "." else ord(character) for character in text]


def scoring(method: Method, monitor: Any, group_size: int = 2, prompts: int = 4) -> RolloutScoring:
    """Problems q0, q1, ... whose answers are 0, 1, ..."""
    problems = {f"q{i}": Problem(f"q{i}", f"{i}?", str(i)) for i in range(prompts)}
    problem_set: Any = ProblemSet(problems, Asked(), Ends(), think_prefilled=False)  # type: ignore[arg-type]
    return RolloutScoring(
        StrategyStates(method),
        RunInfo(num_generations=group_size, max_length=L_MAX),
        problem_set,
        eos_ids=[END],
        group=one_process(),
        monitor=monitor,
        stop=StopSignal(),
        guards=Guards(compose("grpo").guard),
        cursor=PromptCursor({name: {} for name in problems}, seed=0),
    )


def batch_of(completions: list[list[int]]) -> dict[str, Any]:
    """What TRL returns for these completions, one prompt token each, its own advantages 9."""
    width = max(map(len, completions))
    mask = torch.tensor([[int(i < len(row)) for i in range(width)] for row in completions])
    return {
        "prompt_ids": torch.full((len(completions), 1), 7),
        "prompt_mask": torch.ones(len(completions), 1, dtype=torch.int64),
        "completion_ids": torch.tensor([[*row, *[PAD] * (width - len(row))] for row in completions]),
        "completion_mask": mask,
        "advantages": torch.full((len(completions),), 9.0),
        "num_items_in_batch": mask.sum(),
    }
