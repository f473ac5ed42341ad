"""Coverage-guided fuzzing of what reads text of others: `pip install 'lenrl[fuzz]'`, then

    python scripts/fuzz.py comparison --seconds 180
    python scripts/fuzz.py all --seconds 60

The targets stand in tests/fuzz/targets.py. A run begins with the target's corpus, tests/fuzz/corpus/TARGET.json, which
a fast test replays. With --keep what reached new code goes into it, smallest first and as few as do. A finding ends the
run with its traceback and the bytes as a line of Python; mended, it goes into the corpus too (--add BYTES).
"""

import argparse
import ast
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.fuzz import corpus, targets, words  # noqa: E402 - both import lenrl inside their functions only, once it is instrumented

INSTRUMENTED = ["lenrl", "math_verify", "latex2sympy2_extended", "reasoning_gym"]
MOST = 4096  # bytes of an input
KEPT = 150  # inputs of a corpus
INSIDE = "--inside"  # follows the target where this process is the one that fuzzes


def fuzz(name: str, arguments: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    atheris: Any = importlib.import_module("atheris")  # the extra `fuzz`
    with atheris.instrument_imports(include=INSTRUMENTED):
        targets.TARGETS[name](b"\x00")  # imports what it needs
    atheris.Setup(arguments, targets.TARGETS[name])
    atheris.Fuzz()


def run(name: str, seconds: int, keep: bool) -> int:
    """Fuzz in a process of its own; its exit code."""
    with tempfile.TemporaryDirectory() as place:
        folder, few, found, again, spelled = (
            Path(place) / part for part in ("all", "few", "found", "again", "words")
        )
        for made in (folder, few, found):
            made.mkdir()
        for number, data in enumerate(corpus.read(name)):
            (folder / f"{number:04d}").write_bytes(data)
        spelled.write_text(dictionary(name))
        # libFuzzer starts itself again where it merges: by the first word of its command line.
        again.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} {INSIDE} "$0" "$@"\n')
        again.chmod(0o700)
        print(f"== {name}, {seconds} s, {len(corpus.read(name))} inputs to begin with", flush=True)
        limits = [f"-max_len={MOST}", "-timeout=60", f"-artifact_prefix={found}/"]
        code = subprocess.run(
            [again, folder, f"-max_total_time={seconds}", f"-dict={spelled}", *limits], check=False
        ).returncode
        for path in sorted(found.iterdir()):
            print(f"found: --add {path.read_bytes()!r}", flush=True)
        if keep and code == 0:
            subprocess.run([again, "-merge=1", few, folder, *limits], check=True)
            smallest = sorted((path.read_bytes() for path in few.iterdir()), key=len)
            corpus.write(name, smallest[:KEPT])
            print(f"{len(smallest[:KEPT])} inputs kept of {len(smallest)}", flush=True)
    return code


def dictionary(name: str) -> str:
    """A dictionary as libFuzzer reads it."""
    escaped = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in words.WORDS[name])
    return "".join(f'"{word}"\n' for word in dict.fromkeys(escaped))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=[*targets.TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=60, help="a target (default 60)")
    parser.add_argument("--keep", action="store_true", help="what reached new code goes into the corpus")
    parser.add_argument("--add", metavar="BYTES", help="one input for the corpus, as Python writes bytes")
    options = parser.parse_args()
    if options.add is not None:
        corpus.write(options.target, [*corpus.read(options.target), ast.literal_eval(options.add)])
        return 0
    names = list(targets.TARGETS) if options.target == "all" else [options.target]
    return max(run(name, options.seconds, options.keep) for name in names)


if __name__ == "__main__":
    if sys.argv[2:3] == [INSIDE]:
        fuzz(sys.argv[1], sys.argv[3:])
    sys.exit(main())
