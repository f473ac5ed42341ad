"""Several verifiers as one: each setting has workers of its own."""

from __future__ import annotations

from lenrl.verify.pool import Verifier
from lenrl.verify.settings import VerifierSettings


class Verifiers:
    """Verifiers by their settings, made when they are first asked for, and closed together."""

    def __init__(self) -> None:
        self._known: list[Verifier] = []

    def of(self, settings: VerifierSettings) -> Verifier:
        """The verifier of these settings, always the same one."""
        for verifier in self._known:
            if verifier.settings == settings:
                return verifier
        self._known.append(Verifier(settings))
        return self._known[-1]

    def close(self) -> None:
        """Kill all workers."""
        for verifier in self._known:
            verifier.close()

    def __enter__(self) -> Verifiers:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
