"""The hooks of docs/with_*.md, run as they stand there on records of the trainers' shapes, without the trainers."""

import asyncio
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

import lenrl

DOCS = Path(__file__).parents[1] / "docs"


def hook(page, monkeypatch, **modules):
    """The names that a page's block defines, with stand-ins for the modules that it imports."""
    for name, attributes in modules.items():
        parts = name.replace("__", ".").split(".")
        for end in range(1, len(parts) + 1):
            path = ".".join(parts[:end])
            if path not in sys.modules:
                monkeypatch.setitem(sys.modules, path, ModuleType(path))
        vars(sys.modules[".".join(parts)]).update(attributes)
    text = (DOCS / f"{page}.md").read_text()
    (block,) = re.findall(r"<!-- hook:begin -->\n```python\n(.*?)```\n<!-- hook:end -->", text, re.DOTALL)
    names: dict = {}
    exec(compile(block, f"{page}.md", "exec"), names)
    return names


def wanted(method, overrides, groups, lengths, right, cap, **more):
    """The advantages of `lenrl.score`, in order."""
    rows = [
        {"prompt": str(g), "length": n, "correct": ok, **{k: v[i] for k, v in more.items()}}
        for i, (g, n, ok) in enumerate(zip(groups, lengths, right, strict=True))
    ]
    scored = lenrl.score(lenrl.compose(method, overrides).method, rows, max_length=cap)
    return [row["advantage"] for row in scored]


def test_verl(monkeypatch):
    registered = {}

    def register_adv_est(name):
        return lambda function: registered.setdefault(name, function)

    module = {"register_adv_est": register_adv_est}
    hook("with_verl", monkeypatch, verl__trainer__ppo__core_algos=module)
    uid = np.array(["b", "a", "a", "b", "a", "b"], dtype=object)  # a balanced batch: groups are not adjacent
    lengths, right = [3, 5, 2, 6, 4, 1], [1, 1, 1, 0, 0, 1]
    response_mask = (torch.arange(6)[None, :] < torch.tensor(lengths)[:, None]).long()
    rewards = torch.zeros(6, 6)
    for i, n in enumerate(lengths):
        rewards[i, n - 1] = right[i]
    advantages, returns = registered["lenrl"](
        token_level_rewards=rewards, response_mask=response_mask, config={}, index=uid
    )
    ours = wanted("grpo_lambda", ["reward.alpha=0.3"], uid, lengths, [ok == 1 for ok in right], 6)
    assert torch.allclose(advantages, torch.tensor(ours)[:, None] * response_mask)
    assert torch.equal(advantages, returns) and advantages.dtype == rewards.dtype
    assert len({round(a, 4) for a in ours}) > 3


@dataclass
class Experience:
    """The fields of OpenRLHF's record that the hook reads and writes."""

    index: list[int]
    rewards: torch.Tensor  # (B,)
    response_length: torch.Tensor  # (B,)
    truncated: torch.Tensor  # (B,)
    action_mask: torch.Tensor  # bool (B, A)
    advantages: torch.Tensor | None = None
    returns: torch.Tensor | None = None


def test_openrlhf(monkeypatch):
    names = hook("with_openrlhf", monkeypatch)
    lengths, right = [3, 5, 2, 6, 4, 1], [True, True, False, False, True, True]
    cut = [n == 6 for n in lengths]

    def experience(index):  # a micro-batch, sorted by length rather than by prompt
        length = torch.tensor([lengths[i] for i in index])
        return Experience(
            index,
            torch.tensor([float(right[i]) for i in index]),
            length,
            torch.tensor([cut[i] for i in index]),
            torch.arange(8)[None, :] < length[:, None],
        )

    experiences = [experience([5, 2]), experience([0, 4]), experience([1, 3])]
    names["set_advantages"](experiences, 3, 6)
    ours = wanted("grpo_lambda", ["reward.alpha=0.3"], [0, 0, 0, 1, 1, 1], lengths, right, 6, truncated=cut)
    for one in experiences:
        expected = torch.tensor([ours[i] for i in one.index])[:, None] * one.action_mask
        assert one.advantages is not None and one.returns is not None
        assert torch.allclose(one.advantages, expected) and torch.equal(one.returns, one.advantages)
    assert len({round(a, 4) for a in ours}) > 3


@dataclass
class Trace:
    """What the hook reads of a trace of prime-rl."""

    reward: float
    num_output_tokens: int
    is_truncated: bool = False
    given: list[float] = field(default_factory=list)


@pytest.fixture
def algorithm(monkeypatch):
    """The page's algorithm, beside stand-ins for what it imports."""

    def iter_trainable_traces(episodes):
        yield from ((episode, trace) for episode in episodes for trace in episode.traces)

    names = hook(
        "with_prime_rl",
        monkeypatch,
        prime_rl__orchestrator__algo__base={
            "Algorithm": object,
            "iter_trainable_traces": iter_trainable_traces,
        },
        prime_rl__orchestrator__algo__routing={
            "assign_advantages": lambda trace, value: trace.given.append(value)
        },
    )
    return names["LenrlAlgorithm"]()


def test_prime_rl(algorithm):
    lengths, right = [300, 100, 900, 200], [1.0, 1.0, 0.0, 1.0]
    traces = [Trace(ok, n) for ok, n in zip(right, lengths, strict=True)]
    asyncio.run(algorithm.score_group([SimpleNamespace(traces=[trace]) for trace in traces]))
    ours = wanted("kimi", ["advantage=dr_grpo"], "gggg", lengths, [ok == 1.0 for ok in right], 4096)
    assert [trace.given for trace in traces] == [[pytest.approx(a)] for a in ours]
    assert ours[1] > ours[3] > ours[0] > ours[2] and sum(ours) == pytest.approx(0, abs=1e-9)


def test_prime_rl_with_one_trace_left(algorithm):
    trace = Trace(1.0, 5)
    asyncio.run(algorithm.score_group([SimpleNamespace(traces=[trace])]))
    assert trace.given == [0.0]
