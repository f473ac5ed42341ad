"""Verdicts on completions from a pool of killable workers."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from typing import Any

from lenrl import plugins
from lenrl.errors import BadInput, PluginFailed
from lenrl.rollouts import Verdict
from lenrl.verify.chunked_work import ChunkedWork
from lenrl.verify.claims import AnyVerifier, Claim, PendingVerdicts
from lenrl.verify.extract import extract_answer, tag_report
from lenrl.verify.kinds import KINDS, Kind, Outcome, Result
from lenrl.verify.limits import Limits
from lenrl.verify.plugged import Failure, Plugged, Spec, verdict
from lenrl.verify.processes import new_pool, stop
from lenrl.verify.settings import PluginSettings, VerifierSettings
from lenrl.verify.worker import Pair, judge_chunk, judge_golds, judge_plugged

log = logging.getLogger("lenrl")

_COUNTERS = dict(timeout="timeouts", memory="memory", limit="limits", error="errors", abstained="abstained")
_LOGGED_CHARS = 200
_MANY = 8  # completions on all of which a plug-in raises: it is not theirs to blame


class Verifier(AnyVerifier):
    """Verifies claims in worker processes, started with the first claim that needs one.

    A claim may cost `timeout_s` CPU seconds; a worker that one call hogs is killed after twice that plus
    1 s of wall-clock time. Other claims are not affected. `counts` adds up over all calls.
    """

    def __init__(self, settings: VerifierSettings) -> None:
        self.settings = settings
        self._counts: dict[str, int] = dict.fromkeys(("claims", *_COUNTERS.values(), "restarts"), 0)
        self._kind = _kind(settings)
        self._warned = False
        self._pool: Any = None
        self._owner = 0  # process id of the pool's owner: a forked child must not use it

    @property
    def counts(self) -> dict[str, int]:
        return self._counts

    def part(self, name: str) -> Verifier:
        return self

    def begin(self) -> PendingVerdicts:
        return PendingVerdicts(self._pair, self._kind.by_text, self._judging(), self._verdicts)

    def readable(self, golds: Sequence[str | None]) -> list[bool]:
        texts = [gold for gold in dict.fromkeys(golds) if gold and gold.strip()]
        if self._kind.in_worker:
            known = {gold: True for gold in texts if self._kind.plain(gold)}
            others = [gold for gold in texts if gold not in known]
            known |= self._in_chunks(others, judge_golds, lambda gold, outcome: False)
        else:
            known = {gold: self._kind.readable(gold) for gold in texts}
        return [gold is not None and known.get(gold, False) for gold in golds]

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None and self._owner == os.getpid():
            stop(pool)

    def _extract(self, claim: Claim) -> str | None:
        return extract_answer(claim.text, **self._reading(claim))

    def _reading(self, claim: Claim) -> dict[str, Any]:
        """Arguments of the functions that find the answer in a claim's text."""
        return {
            "format": self.settings.format,
            "think_prefilled": claim.think_prefilled,
            "read_unfinished": self.settings.unfinished == "read",
        }

    def _pair(self, claim: Claim) -> Pair:
        """The part of a claim that is judged."""
        return self._kind.item(claim.text, self._extract(claim), claim.answer, claim.columns)

    def _verdicts(self, pairs: Sequence[tuple[Claim, Pair]], results: Mapping[Pair, Result]) -> list[Verdict]:
        """Verdicts of claims from the results of their pairs."""
        if isinstance(self._kind, Plugged):
            self._refuse_faults(list(results.values()))
        return [self._verdict(claim, pair[0], results[pair]) for claim, pair in pairs]

    def _verdict(self, claim: Claim, answer: str | None, result: Result) -> Verdict:
        correct, formatted, outcome = result
        plugged = self._kind if isinstance(self._kind, Plugged) else None
        if not (claim.answer and claim.answer.strip()) and (plugged is None or plugged.plugin.needs_gold):
            correct, outcome = None, "abstained" if outcome == "ok" else outcome
        given = None if plugged is None else verdict(correct, answer, outcome, self._threshold)
        if given is not None:
            answer, outcome = given.answer, given.outcome
        self._counts["claims"] += 1
        if outcome != "ok":
            self._counts[_COUNTERS[outcome]] += 1
        think, tags = tag_report(claim.text, **self._reading(claim))
        if answer is not None and len(answer) > _LOGGED_CHARS:
            answer = answer[: _LOGGED_CHARS - 1] + "…"
        if given is not None:
            return replace(given, answer=answer, think_tags=think, answer_tags=tags)
        return Verdict(correct, answer, formatted, think, tags, outcome)

    @property
    def _threshold(self) -> float:
        return self.settings.threshold if isinstance(self.settings, PluginSettings) else 1.0

    def _refuse_faults(self, results: Sequence[Result]) -> None:
        """Refuse a plug-in with a fault, or that does nothing but raise; another exception makes its verdict unknown.

        Raises:
            PluginFailed: with the plug-in's file and line.
        """
        failures = [value for value, *_ in results if isinstance(value, Failure)]
        if not failures:
            return
        where, first = f"verifier {self.settings.kind!r}", failures[0]
        fatal = next((failure for failure in failures if failure.fatal), None)
        if fatal is not None:
            raise PluginFailed(f"{where} {fatal.message}; repair it")
        never = self._counts["claims"] == self._counts["errors"]
        if len(failures) == len(results) and (never or len(results) >= _MANY):
            raise PluginFailed(f"{where} {first.message}, on each of {len(results)} completions; repair it")
        if not self._warned:
            log.warning("%s %s: the verdict is unknown, and counted among its errors", where, first.message)
        self._warned = True

    def _judging(self) -> ChunkedWork:
        kind = self._kind
        if isinstance(kind, Plugged):
            return self._chunked(judge_plugged, lambda pair, outcome: kind.killed(outcome))

        def alone(pair: Pair, outcome: Outcome) -> Result:
            if outcome == "error":
                return None, False, "error"
            if pair[0] is not None and not self.readable([pair[1]])[0]:
                return None, False, "abstained"
            return False, False, outcome

        return self._chunked(judge_chunk, alone)

    def _in_chunks(self, items: list, work: Callable[..., list], alone: Callable[[Any, Any], Any]) -> dict:
        """Run `work` on chunks of items; `alone` decides for a single item that a worker did not survive."""
        chunked = self._chunked(work, alone)
        chunked.add(items)
        return chunked.results()

    def _chunked(self, work: Callable[..., list], alone: Callable[[Any, Any], Any]) -> ChunkedWork:
        """Run `work` on chunks of items that are still to come."""
        timeout_s, pools = self.settings.timeout_s, {}

        def start(chunk: list) -> Future:
            future = self._submit(work, (chunk, timeout_s), self._kind.seconds(timeout_s, len(chunk)))
            pools[future] = self._pool
            return future

        def failed(future: Future, broken: bool) -> None:
            self._counts["restarts"] += 1
            if broken and pools[future] is self._pool:  # else another's task closed it before
                self.close()

        return ChunkedWork(self.settings.workers, self._kind.chunk, start, failed, alone)

    def _submit(self, work: Callable, args: tuple, timeout_s: float) -> Future:
        if self._pool is not None and self._owner != os.getpid():
            self._pool = None
        if self._pool is None:
            settings, limits = self.settings, asdict(self._kind.limits)
            travels = self._kind.spec if isinstance(self._kind, Plugged) else settings.kind
            self._pool = new_pool(settings.workers, travels, settings.memory_mib, limits)
            self._owner = os.getpid()
        try:
            return self._pool.schedule(work, args=args, timeout=timeout_s)
        except RuntimeError as error:  # the pool broke between two tasks
            failed: Future = Future()
            failed.set_exception(BrokenProcessPool(str(error)))
            return failed


def _kind(settings: VerifierSettings) -> Kind:
    limits = Limits(**{name: getattr(settings, name) for name in Limits.__dataclass_fields__})
    if isinstance(settings, PluginSettings):
        found = plugins.find("verifier", settings.kind, {})
        return Plugged(limits, Spec.of(settings.kind, found, settings.options))
    kind = KINDS[settings.kind]
    if kind.package and importlib.util.find_spec(kind.package) is None:
        raise BadInput(
            f"verifier.kind={settings.kind!r} needs {kind.package}, which is not installed; "
            f"pip install '{kind.installed_by}', or choose another verifier.kind"
        )
    return kind(limits)
