"""Base of verifiers of one's own. A worker imports this module: no torch."""

import abc
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import ConfigDict

from lenrl.options import Options
from lenrl.verdicts import StepScore, Verdict

__all__ = ["StepScore", "Verdict", "VerifierPlugin"]


class VerifierPlugin(Options, abc.ABC):
    """A kind of verifier, chosen by `verifier.kind=NAME`; its fields are the options of the recipe's `verifier` key.

    It defines `judge` or, for many completions at once, `judge_batch`; either may be `async def`. Its judgement of a
    completion is a bool, a number from 0 to 1 (right from `verifier.threshold` on), None where nobody can say, or a
    `Verdict`. Workers call it, each with an instance of its own, under the limits `verifier.timeout_s`
    and `verifier.memory_mib`. The time is CPU seconds, of an async one seconds by the clock.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    # Of the data, and `prompt`; no others are sent to the workers
    reads_columns: ClassVar[tuple[str, ...]] = ()
    needs_gold: ClassVar[bool] = True  # False: judges problems without a gold answer too
    timeout_s: ClassVar[float | None] = None  # default of `verifier.timeout_s`
    memory_mib: ClassVar[int | None] = None  # default of `verifier.memory_mib`
    concurrency: ClassVar[int] = 8  # completions that an async one has in hand at once, a worker

    def set_up(self) -> None:  # noqa: B027
        """Load what judging needs: once a worker, before its memory is limited."""

    def judge(self, text: str, answer: str | None, gold: str | None, columns: Mapping[str, Any]) -> Any:
        """The judgement of one completion.

        Args:
            text: the completion.
            answer: what `verifier.format` finds in it; None: nothing.
            gold: the problem's answer; None: there is none.
            columns: `reads_columns` of the problem; plain JSON values, None where the row has none. `prompt` is the
                problem's text, of messages the last one's, without template and hint.
        """
        raise NotImplementedError

    def judge_batch(
        self,
        texts: Sequence[str],
        answers: Sequence[str | None],
        golds: Sequence[str | None],
        columns: Sequence[Mapping[str, Any]],
    ) -> Any:
        """The judgements of several completions, in order."""
        raise NotImplementedError

    def readable(self, gold: str) -> bool:
        """A gold answer can be held against completions; problems whose answer can not are dropped before a run."""
        return bool(gold.strip())

    @classmethod
    def batched(cls) -> bool:
        """It defines `judge_batch`."""
        return cls.judge_batch is not VerifierPlugin.judge_batch

    @classmethod
    def awaits(cls) -> bool:
        """It is async."""
        return inspect.iscoroutinefunction(cls.judge_batch if cls.batched() else cls.judge)

    @classmethod
    def faults(cls) -> list[str]:
        """Reasons why the class cannot judge."""
        if not cls.batched() and cls.judge is VerifierPlugin.judge:
            return ["it defines neither judge nor judge_batch"]
        method = cls.judge_batch if cls.batched() else cls.judge
        try:
            inspect.signature(method).bind(*range(5))
        except TypeError as error:
            names = "texts, answers, golds, columns" if cls.batched() else "text, answer, gold, columns"
            return [f"its {method.__name__} must take (self, {names}): {error}"]
        return []
