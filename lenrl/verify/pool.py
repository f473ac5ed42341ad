"""Verdicts on completions from a pool of killable workers."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from typing import Any

from lenrl.errors import BadInput
from lenrl.rollouts import Verdict
from lenrl.verify.extract import extract_answer, tag_report
from lenrl.verify.kinds import KINDS, NO_GOLD, Outcome, Result
from lenrl.verify.limits import Limits, costly
from lenrl.verify.processes import new_pool, stop
from lenrl.verify.settings import VerifierSettings
from lenrl.verify.worker import Pair, judge_chunk, judge_golds

_COUNTERS = dict(timeout="timeouts", memory="memory", limit="limits", error="errors", abstained="abstained")
_LOGGED_CHARS = 200
_CHUNK = 16  # pairs a task; a failing chunk is judged again pair by pair
_MEMORY_EXITS = (-6,)  # abort(): what a C library does when it cannot allocate


@dataclass(frozen=True)
class Claim:
    """A completion and the gold answer it is held against (None: there is none, only the format is judged)."""

    text: str
    answer: str | None
    think_prefilled: bool = False


class Verifier:
    """Verifies claims in worker processes, started with the first claim that needs one.

    A claim may cost `timeout_s` CPU seconds; a worker that one call hogs is killed after twice that plus
    1 s of wall-clock time. Other claims are not affected. `counts` adds up over all calls.
    """

    def __init__(self, settings: VerifierSettings) -> None:
        kind = KINDS[settings.kind]
        if kind.package and importlib.util.find_spec(kind.package) is None:
            raise BadInput(
                f"verifier.kind={settings.kind!r} needs {kind.package}, which is not installed; "
                f"pip install '{kind.installed_by}', or choose another verifier.kind"
            )
        self.settings = settings
        self.counts: dict[str, int] = dict.fromkeys(("claims", *_COUNTERS.values(), "restarts"), 0)
        self._kind = kind(Limits(**{name: getattr(settings, name) for name in Limits.__dataclass_fields__}))
        self._pool: Any = None
        self._owner = 0  # process id of the pool's owner: a forked child must not use it

    def verify(self, claims: Sequence[Claim]) -> list[Verdict]:
        """One verdict a claim, in order. No text makes it raise; equal claims are judged once."""
        pairs = [(self._extract(claim), _gold(claim)) for claim in claims]
        results = [self._kind.by_text(*pair) for pair in pairs]
        judged = self._judge(list(dict.fromkeys(p for p, r in zip(pairs, results, strict=True) if r is None)))
        return [
            self._verdict(claim, pair[0], result or judged[pair])
            for claim, pair, result in zip(claims, pairs, results, strict=True)
        ]

    __call__ = verify

    def readable(self, golds: Sequence[str | None]) -> list[bool]:
        """For each gold answer: it parses within the limits and verifies against itself."""
        texts = [gold for gold in dict.fromkeys(golds) if gold and gold.strip()]
        if self._kind.in_worker:
            known = self._in_chunks(texts, judge_golds, lambda gold, outcome: False)
        else:
            known = {gold: self._kind.readable(gold) for gold in texts}
        return [gold is not None and known.get(gold, False) for gold in golds]

    def close(self) -> None:
        """Kill the workers. The verifier may be used again: it starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None and self._owner == os.getpid():
            stop(pool)

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _extract(self, claim: Claim) -> str | None:
        return extract_answer(claim.text, format=self.settings.format, think_prefilled=claim.think_prefilled)

    def _verdict(self, claim: Claim, answer: str | None, result: Result) -> Verdict:
        correct, formatted, outcome = result
        if not (claim.answer and claim.answer.strip()):
            correct, outcome = None, "abstained" if outcome == "ok" else outcome
        self.counts["claims"] += 1
        if outcome != "ok":
            self.counts[_COUNTERS[outcome]] += 1
        think, tags = tag_report(
            claim.text, format=self.settings.format, think_prefilled=claim.think_prefilled
        )
        if answer is not None and len(answer) > _LOGGED_CHARS:
            answer = answer[: _LOGGED_CHARS - 1] + "…"
        return Verdict(correct, answer, formatted, think, tags, outcome)

    def _judge(self, pairs: list[Pair]) -> dict[Pair, Result]:
        def alone(pair: Pair, outcome: Outcome) -> Result:
            if outcome == "error":
                return None, False, "error"
            if pair[0] is not None and not self.readable([pair[1]])[0]:
                return None, False, "abstained"
            return False, False, outcome

        return self._in_chunks(pairs, judge_chunk, alone)

    def _in_chunks(self, items: list, work: Callable[..., list], alone: Callable[[Any, Any], Any]) -> dict:
        """Run `work` on chunks of items; `alone` decides for a single item that a worker did not survive."""
        results: dict[Any, Any] = {}
        waiting = list(reversed(self._chunks(items)))
        running: dict[Future, list] = {}
        retried: set[Any] = set()
        timeout_s = self.settings.timeout_s
        while waiting or running:
            while waiting and len(running) < 2 * self.settings.workers:
                chunk = waiting.pop()
                running[self._submit(work, (chunk, timeout_s), 2 * timeout_s + 1)] = chunk
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                chunk = running.pop(future)
                outcome = _outcome(future)
                if outcome == "ok":
                    judged = future.result()
                    results.update(zip(chunk, judged, strict=False))
                    if len(judged) < len(chunk):
                        waiting.append(chunk[len(judged) :])
                    continue
                self.counts["restarts"] += 1
                if outcome == "broken":
                    self.close()
                if len(chunk) > 1:
                    waiting.extend([item] for item in reversed(chunk))
                elif outcome in ("error", "broken") and chunk[0] not in retried:
                    retried.add(chunk[0])
                    waiting.append(chunk)
                else:
                    results[chunk[0]] = alone(chunk[0], "error" if outcome == "broken" else outcome)
        return results

    def _chunks(self, items: list) -> list[list]:
        """Costly looking items by themselves, first; the others in even chunks."""
        risky = [[x] for x in items if costly(" ".join(filter(None, x)) if isinstance(x, tuple) else x)]
        single = {id(chunk[0]) for chunk in risky}
        plain = [x for x in items if id(x) not in single]
        size = max(1, min(_CHUNK, math.ceil(len(plain) / (2 * self.settings.workers))))
        return risky + [plain[i : i + size] for i in range(0, len(plain), size)]

    def _submit(self, work: Callable, args: tuple, timeout_s: float) -> Future:
        if self._pool is not None and self._owner != os.getpid():
            self._pool = None
        if self._pool is None:
            settings, limits = self.settings, asdict(self._kind.limits)
            self._pool = new_pool(settings.workers, settings.kind, settings.memory_mib, limits)
            self._owner = os.getpid()
        try:
            return self._pool.schedule(work, args=args, timeout=timeout_s)
        except RuntimeError as error:  # the pool broke between two tasks
            failed: Future = Future()
            failed.set_exception(BrokenProcessPool(str(error)))
            return failed


def _gold(claim: Claim) -> str:
    return claim.answer if claim.answer and claim.answer.strip() else NO_GOLD


def _outcome(future: Future) -> str:
    """Outcome of a task: ok, timeout, memory, error (its worker died) or broken (the pool did)."""
    error = future.exception()
    if error is None:
        return "ok"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, MemoryError) or getattr(error, "exitcode", None) in _MEMORY_EXITS:
        return "memory"
    return "broken" if isinstance(error, (BrokenProcessPool, RuntimeError)) else "error"
