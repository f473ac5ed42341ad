"""A verifier of one's own as a kind of the pool: what travels to a worker, the judging there, the verdict of it."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from lenrl import code_places, plugins
from lenrl.verdicts import Verdict
from lenrl.verify.base import VerifierPlugin
from lenrl.verify.kinds import Kind, Outcome, Result
from lenrl.verify.limits import Limits

Item = tuple[str | None, str | None, str, str]  # answer, gold, text, columns as JSON
Guarded = Callable[[Callable[[], tuple[Any, bool]], float], Result]  # runs under the worker's limits
CHUNK = 16  # completions a task of a worker


@dataclass(frozen=True)
class Spec:
    """A plug-in as it travels to a worker, which imports the file's text as it was."""

    name: str
    options: dict[str, Any]
    path: str | None  # None: an installed package's
    source: bytes | None
    beside: Mapping[str, bytes] | None = None  # modules beside it

    @classmethod
    def of(cls, name: str, kind: type[VerifierPlugin], options: Mapping[str, Any]) -> "Spec":
        file = plugins.file_of(kind)
        if file is None:
            return cls(name, dict(options), None, None)
        return cls(name, dict(options), str(file.path), file.source, dict(file.beside))

    def build(self) -> VerifierPlugin:
        """An instance, in whatever process."""
        if self.path is not None:
            plugins.load(self.path, self.source, self.beside)
        return plugins.find("verifier", self.name, {})(**self.options)


@dataclass(frozen=True)
class Failure:
    """In place of a judgement: an exception in the plug-in's code or, `fatal`, a fault of the plug-in itself."""

    message: str
    fatal: bool = False


class Plugged(Kind):
    """A `VerifierPlugin`, judged in workers alone."""

    def __init__(self, limits: Limits, spec: Spec) -> None:
        super().__init__(limits)
        self.spec = spec
        self.plugin = spec.build()
        self.batched, self.awaits = self.plugin.batched(), self.plugin.awaits()
        self.in_worker = type(self.plugin).readable is not VerifierPlugin.readable
        self.together = self.batched or self.awaits
        self.chunk = self.plugin.concurrency if self.awaits and not self.batched else CHUNK

    def item(self, text: str, answer: str | None, gold: str | None, columns: Mapping[str, Any]) -> Item:
        """The part of a claim that is sent to a worker; columns in JSON, values unknown to JSON as text."""
        read = {name: columns.get(name) for name in self.plugin.reads_columns}
        return answer, gold, text, json.dumps(read, default=str, sort_keys=True)

    def warm_up(self) -> None:
        self.plugin.set_up()

    def compare(self, answer: str, gold: str) -> tuple[bool | None, bool]:
        raise AssertionError("never called: claims are judged by `judge`")

    def readable(self, gold: str) -> bool:
        return bool(self.plugin.readable(gold))

    def killed(self, outcome: Outcome) -> Result:
        """The result of a completion that no worker survived: wrong, or unknown where a server may have been slow."""
        unknown = self.awaits or outcome == "error"
        return None if unknown else False, False, outcome

    def seconds(self, timeout_s: float, count: int) -> float:
        """Seconds by the clock after which a worker with so many completions is killed."""
        return 2 * timeout_s * (count if self.batched and not self.awaits else 1) + 1

    def one(self, item: Item) -> tuple[Any, bool]:
        """A judgement in a worker, under its limits."""
        return self._caught(lambda: _checked(self.plugin.judge(*_arguments(item)))), True

    def many(self, items: Sequence[Item], timeout_s: float, guarded: Guarded) -> list[Result]:
        """Results in a worker of completions that are judged together, in order.

        Raises:
            TimeoutError, MemoryError: the caller sends them one by one.
        """
        if self.awaits:
            return asyncio.run(self._awaited(items, timeout_s))
        values, formatted, outcome = guarded(lambda: (self._batch(items), True), timeout_s * len(items))
        if outcome == "ok":
            return [_result(value) for value in cast(list[Any], values)]
        if len(items) > 1:
            raise MemoryError if outcome == "memory" else TimeoutError
        return [(values, formatted, outcome)]

    def _batch(self, items: Sequence[Item]) -> list[Any]:
        values = self._caught(lambda: self.plugin.judge_batch(*_columns_of(items)))
        return self._all(values, len(items))

    def _all(self, values: Any, count: int) -> list[Any]:
        if isinstance(values, Failure):
            return [values] * count
        try:
            values = list(values)
        except TypeError:
            values = [values]
        if len(values) != count:
            place = code_places.place_of(self.plugin)
            return [Failure(f"gave {len(values)} judgements for {count} completions ({place})", True)] * count
        return [self._caught(lambda value=value: _checked(value)) for value in values]

    async def _awaited(self, items: Sequence[Item], timeout_s: float) -> list[Result]:
        async def within(call: Any) -> Any:
            try:
                return await asyncio.wait_for(call, timeout_s)
            except TimeoutError:
                return TimeoutError
            except Exception as error:
                return self._failure(error)

        if self.batched:
            values = await within(self.plugin.judge_batch(*_columns_of(items)))
            many = [values] * len(items) if values is TimeoutError else self._all(values, len(items))
        else:
            many = await asyncio.gather(*(within(self.plugin.judge(*_arguments(item))) for item in items))
            many = [
                v if v is TimeoutError or isinstance(v, Failure) else self._caught(lambda v=v: _checked(v))
                for v in many
            ]
        return [(None, False, "timeout") if value is TimeoutError else _result(value) for value in many]

    def _caught(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (MemoryError, RecursionError):
            raise
        except Exception as error:
            return self._failure(error)

    def _failure(self, error: Exception) -> Failure:
        if isinstance(error, WrongJudgement):
            return Failure(f"{error} ({code_places.place_of(self.plugin)})", fatal=True)
        return Failure(f"raised {code_places.raised(error, self.plugin)}")


class Unusable(Kind):
    """Stands in a worker for a plug-in that could not be set up there."""

    def __init__(self, limits: Limits, name: str, error: Exception) -> None:
        super().__init__(limits)
        self.failure = Failure(
            f"cannot be set up: {code_places.raised(error, plugins.find('verifier', name, {}))}", True
        )

    def compare(self, answer: str, gold: str) -> tuple[bool | None, bool]:
        raise AssertionError("never called")

    def readable(self, gold: str) -> bool:
        return True


def in_worker(limits: Limits, spec: Spec) -> Kind:
    """The plug-in, ready to judge."""
    try:
        kind = Plugged(limits, spec)
        kind.warm_up()
        return kind
    except Exception as error:
        return Unusable(limits, spec.name, error)


class WrongJudgement(Exception):
    """A value that is no judgement."""


def _arguments(item: Item) -> tuple[str, str | None, str | None, dict[str, Any]]:
    answer, gold, text, columns = item
    return text, answer, gold, json.loads(columns)


def _columns_of(items: Sequence[Item]) -> tuple[list[Any], ...]:
    return tuple(map(list, zip(*map(_arguments, items), strict=True)))


def _checked(value: Any) -> Any:
    """A judgement as it travels back: bool, float, None or a Verdict."""
    if isinstance(value, Verdict) and not (
        isinstance(value.correct, bool | None) and isinstance(value.answer, str | None)
    ):
        raise WrongJudgement(
            f"gave {value!r:.200}: correct of a Verdict is True, False or None, answer a text or None"
        )
    if value is None or isinstance(value, bool | Verdict):
        return value
    try:
        number = float("text" if isinstance(value, str) else value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 <= number <= 1:
        raise WrongJudgement(
            f"gave {value!r:.200}: a judgement is True or False, a number from 0 to 1, None where nobody can say, or a "
            "Verdict"
        )
    return bool(value) if type(value).__name__ in ("bool_", "bool") else number


def _result(value: Any) -> Result:
    outcome = "error" if isinstance(value, Failure) else "abstained" if value is None else "ok"
    return value, True, outcome


def verdict(value: Any, answer: str | None, outcome: Outcome, threshold: float) -> Verdict:
    """A `Verdict` of a worker's result; its tags are for the caller to fill in."""
    if isinstance(value, Verdict):
        return replace(value, answer=value.answer or answer)
    if value is None or isinstance(value, Failure | str):
        return Verdict(None, answer, False, outcome=outcome if value is None else "error")
    correct = value if isinstance(value, bool) else value >= threshold
    score = None if isinstance(value, bool) else float(value)
    return Verdict(correct, answer, answer is not None or correct, outcome=outcome, score=score)
