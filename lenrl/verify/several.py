"""Several verifiers as one: each setting has workers of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from lenrl.rollouts import Verdict
from lenrl.verify.claims import AnyVerifier, Claim, PendingVerdicts
from lenrl.verify.pool import Verifier
from lenrl.verify.settings import PartsSettings, VerifierSettings


class Verifiers:
    """Verifiers by their settings, made when they are first asked for, and closed together."""

    def __init__(self) -> None:
        self._known: list[AnyVerifier] = []

    def of(self, settings: VerifierSettings) -> AnyVerifier:
        """The verifier of these settings, always the same one."""
        for verifier in self._known:
            if verifier.settings == settings:
                return verifier
        self._known.append(verifier_of(settings))
        return self._known[-1]

    def close(self) -> None:
        """Kill all workers."""
        for verifier in self._known:
            verifier.close()

    def __enter__(self) -> Verifiers:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class PartsVerifier(AnyVerifier):
    """The verifiers of a mix's parts: a claim goes to that of its part, parts with equal settings share one."""

    def __init__(self, settings: PartsSettings) -> None:
        self.settings = settings
        self._verifiers = Verifiers()
        self._parts = {name: self._verifiers.of(own) for name, own in settings.parts.items()}

    @property
    def counts(self) -> dict[str, int]:
        different = {id(verifier): verifier.counts for verifier in self._parts.values()}.values()
        return {name: sum(counts[name] for counts in different) for name in next(iter(different))}

    def part(self, name: str) -> AnyVerifier:
        return self._parts[name]

    def begin(self) -> PendingParts:
        return PendingParts(self._parts)

    def readable(self, golds: Sequence[str | None]) -> list[bool]:
        raise TypeError("gold answers of a mix are read by the verifier of their part")

    def close(self) -> None:
        self._verifiers.close()


class PendingParts(PendingVerdicts):
    """Claims of several parts that their verifiers judge while more of them come."""

    def __init__(self, parts: Mapping[str, AnyVerifier]) -> None:
        self._of = parts
        self._pending = {verifier: verifier.begin() for verifier in parts.values()}
        self._order: list[int] = []

    def submit(self, claims: Mapping[int, Claim]) -> None:
        divided: dict[AnyVerifier, dict[int, Claim]] = defaultdict(dict)
        for number, claim in claims.items():
            divided[self._of[claim.part]][number] = claim
        self._order += claims
        for verifier, some in divided.items():
            self._pending[verifier].submit(some)

    def verdicts(self) -> dict[int, Verdict]:
        judged = [pending.verdicts() for pending in self._pending.values()]
        found = {number: verdict for verdicts in judged for number, verdict in verdicts.items()}
        return {number: found[number] for number in self._order}


def verifier_of(settings: VerifierSettings) -> AnyVerifier:
    """A new verifier with these settings, which the caller closes."""
    return PartsVerifier(settings) if isinstance(settings, PartsSettings) else Verifier(settings)
