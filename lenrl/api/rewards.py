"""TRL's `reward_funcs` in a method: one gives the verdict, the others are named parts of the reward.

The rule, which does not depend on what the functions return:

- with `verifier=` the verifier gives the verdict and every function is a part;
- without, where the method reads verdicts: the function marked by `verdict`, or else one that TRL ships for judging
  (`KNOWN`), or else the only function of data without gold answers gives the verdict; what is left open is refused;
- without functions the gold answers are verified;
- without a method the reward is TRL's: the weighted sum of the functions.
"""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lenrl.errors import BadInput
from lenrl.strategies import registry
from lenrl.strategies.functions import RewardFunction
from lenrl.strategies.method import Method

KNOWN = {"accuracy_reward", "reasoning_accuracy_reward"}
"""Functions of `trl.rewards` that return 1, 0 or None for right, wrong or nobody can say."""
SCALES: dict[Any, str] = {"group": "grpo", True: "grpo", "none": "dr_grpo", False: "dr_grpo"}
"""The advantage that is TRL's `scale_rewards`."""
_MARK = "gives_verdict"

Function = Callable[..., Any]


def verdict(function: Function) -> Function:
    """Mark a reward function as the one that gives the verdict: 1 right, 0 wrong, None where nobody can say.

    >>> judge = verdict(lambda completions, **columns: [1.0 for _ in completions])
    >>> judge(completions=["42"])
    [1.0]
    """
    marked = functools.partial(function)
    functools.update_wrapper(marked, function)
    setattr(marked, _MARK, True)
    return marked


@dataclass(frozen=True)
class Judged:
    """A method with its functions, and where its verdicts come from."""

    method: Method
    by_answers: bool  # the verifier judges, by the gold answers

    def __str__(self) -> str:
        judge, parts = self.method.judge, self.method.added
        source = "the verifier, by the gold answers" if self.by_answers else judge.name if judge else "nobody"
        added = ", ".join(f"{f.weight:g} x {f.name}" for f in parts) or "no function"
        return f"verdicts come from {source}; added to reward {self.method.reward.name!r}: {added}"


def functions_of(
    reward_funcs: Function | Sequence[Function] | None, weights: Sequence[float] | None
) -> list[RewardFunction]:
    """TRL's `reward_funcs` with `args.reward_weights`, none of them the verdict; a second `f` is named `f_2`.

    Raises:
        BadInput: a reward model, or not one weight a function.
    """
    one: list[Any] = [] if reward_funcs is None else [reward_funcs]
    given = list(reward_funcs) if isinstance(reward_funcs, list | tuple) else one
    for function in given:
        if isinstance(function, str) or not callable(function) or hasattr(function, "forward"):
            name = function if isinstance(function, str) else type(function).__name__
            raise BadInput(
                f"reward_funcs: {name} is a reward model; "
                "LenrlTrainer takes functions. Write one that calls the model: def score(completions, **columns): ..."
            )
    if weights is not None and len(weights) != len(given):
        raise BadInput(
            f"args.reward_weights has {len(weights)} weights and there are {len(given)} reward_funcs: give one each, "
            "or leave it out. The weights of a method's own rewards are its options (reward=weighted)."
        )
    bare = [f.func if isinstance(f, functools.partial) and not hasattr(f, "__name__") else f for f in given]
    names = [getattr(function, "__name__", type(function).__name__) for function in bare]
    before = [names[:place].count(name) for place, name in enumerate(names)]
    names = [f"{name}_{count + 1}" if count else name for name, count in zip(names, before, strict=True)]
    return [
        RewardFunction(name, function, float(weight))
        for name, function, weight in zip(names, given, weights or [1.0] * len(given), strict=True)
    ]


def plain(
    method: Method, functions: Sequence[RewardFunction], scale_rewards: Any, *, verified: bool
) -> Method:
    """Plain GRPO: with functions TRL's own reward, else the verdict; advantages by TRL's `scale_rewards`.

    `verified`: a verifier is asked for, whose verdict counts beside the functions.

    Raises:
        BadInput: a `scale_rewards` that no advantage here is equal to.
    """
    if scale_rewards not in SCALES:
        raise BadInput(
            f"args.scale_rewards={scale_rewards!r}: without a method it is 'group' or 'none'. For the standard "
            "deviation of the batch give method={'advantage': 'batch_whitened'}."
        )
    slots: dict[str, Any] = {"advantage": registry.build("advantage", {"name": SCALES[scale_rewards]})}
    if functions and not verified:
        slots["reward"] = registry.build("reward", {"name": "none"})
    return replace(method, **slots)


def assign(
    method: Method, functions: Sequence[RewardFunction], *, has_answers: bool, verified: bool
) -> Judged:
    """The method with the functions as its verdict or its parts, by this module's rule.

    Args:
        method: what the caller chose, or `plain`.
        functions: of `functions_of`.
        has_answers: the data has a column of gold answers.
        verified: the caller asks for a verifier.

    Raises:
        BadInput: it is open which function gives the verdict.
    """
    judge = None if verified or not method.reads_verdicts else _judge(functions, has_answers)
    kept = tuple(replace(f, verdict=True) if f is judge else f for f in functions)
    if judge is not None and judge.weight != 1.0:
        raise BadInput(
            f"args.reward_weights gives {judge} the weight {judge.weight:g}, and it is the verdict, which the method "
            "weighs itself: give it 1."
        )
    by_answers = judge is None and (verified or not functions or method.reads_verdicts) and has_answers
    return Judged(replace(method, functions=kept), by_answers)


def _judge(functions: Sequence[RewardFunction], has_answers: bool) -> RewardFunction | None:
    if not functions:
        return None
    marked = [f for f in functions if getattr(f.function, _MARK, False)]
    known = [f for f in functions if f.name in KNOWN and _module(f.function).startswith("trl.rewards")]
    for chosen in (marked, known):
        if len(chosen) == 1:
            return chosen[0]
    if not marked and not known and len(functions) == 1 and not has_answers:
        return functions[0]
    names = ", ".join(f.name for f in marked or known or functions)
    several = "are several that are marked" if len(marked) > 1 else "are several"
    which = (
        several if len(marked or known or functions) > 1 else "is one, and the data has gold answers as well"
    )
    raise BadInput(
        f"reward_funcs: the method reads verdicts, and of what could give them, {names} {which}. Say which: "
        "lenrl.verdict(function) for the one that returns 1 for right and 0 for wrong, or verifier='math' to have the "
        "answers verified and every function added to the reward."
    )


def _module(function: Function) -> str:
    return str(getattr(inspect.unwrap(function), "__module__", ""))


def code_of(functions: Sequence[RewardFunction]) -> dict[str, Any]:
    """Names, weights and a hash of the source of functions: what a resumed run must agree with."""
    if not functions:
        return {}
    return {
        "functions": {
            f.name: {"weight": f.weight, "verdict": f.verdict, "code": _digest(f.function)} for f in functions
        }
    }


def _digest(function: Function) -> str:
    """Eight hex digits of a function's source, or byte code, and of plain values from a factory or `partial`."""
    bare, given = function, []
    while isinstance(bare, functools.partial):
        given.append([bare.args, bare.keywords])
        bare = bare.func
    bare = inspect.unwrap(bare)
    if inspect.isfunction(bare):
        given.append(dict(inspect.getclosurevars(bare).nonlocals))
    try:
        text = inspect.getsource(bare if inspect.isroutine(bare) else type(bare)).encode()
    except (OSError, TypeError):
        code = getattr(bare, "__code__", None)
        text = repr(bare).encode() if code is None else code.co_code + repr(code.co_consts).encode()
    if any(part not in ({}, [(), {}]) for part in given):
        text += json.dumps(given, default=lambda value: type(value).__name__, skipkeys=True).encode()
    return hashlib.blake2b(text, digest_size=4).hexdigest()
