"""The verifier of `scripts/soak.py`, a plug-in: right or wrong in a worker, and slow while a file says so."""

import os
import time
from collections.abc import Mapping

from lenrl.verify.base import VerifierPlugin

SLOW = "LENRL_SOAK_SLOW"  # environment variable: the file
SLOW_S = 0.2  # of a completion


class Soaked(VerifierPlugin):
    """Right where the answer is the gold answer, letter by letter."""

    name = "soaked"

    def judge(self, text: str, answer: str | None, gold: str | None, columns: Mapping[str, object]) -> bool:
        if os.path.exists(os.environ.get(SLOW, "")):
            time.sleep(SLOW_S)
        return answer == gold
