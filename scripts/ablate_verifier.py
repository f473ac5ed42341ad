"""Golden verdicts that change when a part of the mathematical verifier is switched off, file by file.

The rows are those of `tests/verify/golden_verdicts.jsonl` that attack nothing: nothing here can be killed.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import math_verify

from lenrl.verify import worker
from lenrl.verify.extract import extract_answer
from lenrl.verify.kinds import Math
from lenrl.verify.limits import Limits
from lenrl.verify.math import algebra
from lenrl.verify.math.structure import Shape

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "verify" / "golden_verdicts.jsonl"


def graded(gold: str, answer: str, most_digits: int = 0) -> bool:
    """The verdict of math-verify's own parser and grader."""
    parsed = [math_verify.parse(f"${text}$") for text in (gold, answer)]
    return math_verify.verify(parsed[0], parsed[1])


WITHOUT: dict[str, dict[str, Any]] = {
    "(all there)": {},
    "all but extract.py: math-verify alone": {
        "quick.quick": lambda answer, gold, limits: None,
        "compare.readable": lambda gold, limits: True,
        "compare.compare": lambda answer, gold, limits: (graded(gold, answer), True),
    },
    "normalize.py: texts as they are": {"normalize.tidy": str.strip},
    "normalize.py: no sign rewritten": {"normalize._SIGN_TABLE": {}},
    "normalize.py: no other spelling rewritten": {"normalize._REWRITES": []},
    "normalize.py: no words": {"normalize.words": lambda text: None, "normalize.letters": lambda text: None},
    "normalize.py: no choice letters": {"normalize.choice": lambda text: None},
    "numbers.py: no number read": {"numbers.read_number": lambda text: None},
    "units.py: no unit split off": {"units.split_unit": lambda text: (text, "")},
    "structure.py: no structure": {"structure.shape": lambda text, most=64: Shape("one", (text,))},
    "quick.py: nothing decided by text": {"quick.quick_tidy": lambda given, wanted: None},
    "algebra.py: math-verify on the leaves": {"algebra.same_value": graded},
    "values.py: no values compared": {"values.by_value": lambda a, b: None},
    "values.py: no relations compared": {"values.same_relation": lambda a, b: None},
    "magnitude.py: no size checked": {"magnitude.check_size": lambda parsed, most: None},
}


def verdict(answer: str | None, gold: str, parts: dict[str, Any]) -> bool | None:
    """The verdict with replacements put into every module that holds the part."""
    loaded = [module for name, module in sys.modules.items() if name.startswith("lenrl.verify")]
    with ExitStack() as stack:
        for path, new in parts.items():
            home, name = path.split(".")
            old = getattr(sys.modules[f"lenrl.verify.math.{home}"], name)
            for module in [module for module in loaded if getattr(module, name, None) is old]:
                stack.enter_context(patch.object(module, name, new))
        return (Math(Limits()).by_text(answer, gold) or worker.judge(answer, gold, 10.0))[0]


def main() -> None:
    signal.signal(signal.SIGPROF, worker._out_of_time)
    logging.disable(logging.CRITICAL)
    rows = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    rows = [row for row in rows if not row["id"].startswith(("hostile-", "gold-"))]
    print(f"{len(rows)} rows\nchanged  false +  false -  unknown  seconds  without")
    texts = [extract_answer(row["output"], format=row["format"], think_prefilled=row["think_prefilled"])
             for row in rows]  # fmt: skip
    base: list[bool | None] = []
    Math(Limits()).warm_up()
    for name, parts in WITHOUT.items():
        worker._golds.clear()
        algebra.parse.cache_clear()
        start = time.process_time()
        verdicts = [verdict(text, row["gold"], parts) for text, row in zip(texts, rows, strict=True)]
        seconds, base = time.process_time() - start, base or verdicts
        changed = sum(a is not b for a, b in zip(verdicts, base, strict=True))
        pairs = Counter((v, row["correct"]) for v, row in zip(verdicts, rows, strict=True))
        counts = (changed, pairs[True, False], pairs[False, True], verdicts.count(None))
        print(*(f"{count:7}" for count in counts), f"{seconds:7.1f}", name, sep="  ")


if __name__ == "__main__":
    main()
