"""What is fuzzed: functions of bytes that raise where something that reads text of others breaks its promise.

`scripts/fuzz.py` feeds them with bytes of a fuzzer; `test_corpus.py` with those that it found worth keeping.
"""

import json
import re
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from lenrl.errors import BadInput

GOLDS = (
    "7",
    r"\frac{1}{2}",
    "x+1",
    r"\{1,2\}",
    "(1,2]",
    "x=3",
    r"\sqrt{2}",
    "50\\%",
    "3 cm",
    "B",
    "no",
    "1,000",
)
GENERATORS = (
    "countdown", "simple_integration", "polynomial_multiplication", "number_sorting", "complex_arithmetic", "coin_flip",
    "bitwise_arithmetic", "puzzle24", "decimal_arithmetic", "sudoku", "tower_of_hanoi", "word_ladder", "rush_hour",
    "quantum_lock", "zebra_puzzles", "knight_swap", "count_primes", "game_of_life", "arc_1d", "letter_jumble",
)  # fmt: skip
TIMEOUT_S = 1.0  # CPU seconds of a comparison


@cache
def folder() -> Path:
    """A folder for the files that readers read, in memory where there is some."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="lenrl-fuzz-", dir=memory if memory.is_dir() else None))


def text_of(data: bytes) -> str:
    """Any text, as a tokenizer or a file may give it; never half of a surrogate pair."""
    return data.decode("utf-8", "replace")


def extraction(data: bytes) -> None:
    """The answer of a completion: a stripped part of the text after the thinking, or none."""
    from lenrl.verify.extract import answer_part, extract_answer, tag_report

    if not data:
        return
    text, prefilled = text_of(data[1:]), bool(data[0] & 1)
    part = answer_part(text, think_prefilled=prefilled)
    assert part is None or text.endswith(part) and "<think>" not in part and "</think>" not in part
    for form in ("boxed", "answer_tag"):
        answer = extract_answer(text, format=form, think_prefilled=prefilled)
        assert answer is None or part is not None and answer in part and answer == answer.strip() != ""
        think, tagged = tag_report(text, format=form, think_prefilled=prefilled)
        assert not tagged or answer is not None
        assert not think or text.count("</think>") == 1


@cache
def _mathematics() -> None:
    from lenrl.verify import worker
    from lenrl.verify.kinds import KINDS
    from lenrl.verify.limits import Limits

    worker._kind = KINDS["math"](Limits())
    worker._kind.warm_up()
    signal.signal(signal.SIGPROF, worker._out_of_time)
    worker.no_execution.install()


def comparison(data: bytes) -> None:
    """An answer against a gold one, as in a worker: a verdict, nothing executed, and no fault that leaves it open.

    The first byte chooses a gold answer, or says that it stands before a NUL.
    """
    from lenrl.verify import worker

    _mathematics()
    if not data:
        return
    answer, gold = text_of(data[1:]), GOLDS[data[0] % len(GOLDS)]
    if data[0] >= 128:
        gold, _, answer = answer.partition("\0")
    correct, formatted, outcome = worker.judge(answer, gold, TIMEOUT_S)
    refused, worker.no_execution._state["refused"] = worker.no_execution._state["refused"], ""
    assert not refused, f"{answer!r} against {gold!r}: a library was about to run something ({refused})"
    assert outcome != "error", f"{answer!r} against {gold!r}: the comparison raised"
    assert correct in (True, False, None) and isinstance(formatted, bool)
    if outcome == "ok" and worker.gold_readable(gold, TIMEOUT_S):
        assert correct is not None
        assert worker.judge(gold, gold, TIMEOUT_S)[0] is True


@cache
def _gym_gold(name: str) -> str:
    from lenrl.tasks import GymTask

    [problem] = GymTask(generator=name, test=1).problems("test")
    assert problem.answer is not None
    return problem.answer


def gym(data: bytes) -> None:
    """An answer to a problem of reasoning-gym, right or wrong and never unknown; or a gold column; never run.

    The first byte chooses a generator, or says that the rest is a gold column.
    """
    from lenrl.verify import gym_scorer, no_execution
    from lenrl.verify.limits import TooBig

    if not data:
        return
    no_execution.install()
    text, gold = text_of(data[1:]), _gym_gold(GENERATORS[data[0] % len(GENERATORS)])
    with suppress(TooBig, RecursionError, MemoryError), no_execution.judged():
        if data[0] >= 200:
            assert gym_scorer.score("7", text)[0] in (True, False, None)
        else:
            assert gym_scorer.known(gold)
            assert gym_scorer.score(text, gold)[0] in (True, False)


def _written(name: str, data: bytes) -> Path:
    path = folder() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def manifest(data: bytes) -> None:
    """A checkpoint's manifest: its faults, or a refusal; a folder with this one alone is never whole."""
    from lenrl.training.checkpoint import manifest as reader

    path = _written("checkpoint-1/manifest.json", data)
    with suppress(BadInput):
        assert reader.faults(path.parent)


STATEFUL = ("palu", "laser_d", "curriculum", "grpo")


@cache
def _rows() -> Path:
    rows = [{"prompt": "a", "length": 10 + n, "correct": n % 2 == 0, "mean_logp": -1.0} for n in range(4)]
    return _written("good.jsonl", "\n".join(map(json.dumps, rows)).encode())


@cache
def _recipe(name: str):
    from lenrl.config import compose

    return compose(name)


def state(data: bytes) -> None:
    """The strategies' state as `lenrl score --state` takes it: refused, or taken and written again as JSON."""
    from lenrl.dryrun.score import score

    if not data:
        return
    path, written = _written("state.json", data[1:]), folder() / "after.json"
    with suppress(BadInput):
        rows = score(_recipe(STATEFUL[data[0] % len(STATEFUL)]), _rows(), state_in=path, state_out=written)
        json.dumps(rows, allow_nan=False)
        json.loads(written.read_text())


def logged_rows(data: bytes) -> None:
    """Logged rollouts: a refusal of one line, or rows with finite rewards and advantages."""
    from lenrl.dryrun.score import score

    path = _written("rows.jsonl", data)
    try:
        rows = score(_recipe("kimi"), path)
    except BadInput as refusal:
        assert len(str(refusal)) < 2000
    else:
        json.dumps(rows, allow_nan=False)


def rows(data: bytes) -> None:
    """A data file of any kind: rows of named fields that are text for text, or a refusal."""
    from lenrl.tasks.rows import read_rows

    if not data:
        return
    path = _written("data" + (".jsonl", ".json", ".csv", ".parquet")[data[0] % 4], data[1:])
    try:
        for row in read_rows(path):
            assert all(isinstance(name, str) for name in row.values)
    except BadInput as refusal:
        assert len(str(refusal)) < 2000


def ledger(data: bytes) -> None:
    """A sweep's ledger: the trials that it holds, as the tables show them."""
    from lenrl.report.sources import read as entries
    from lenrl.sweeps import ledger as reader

    path = _written("sweep/ledger.jsonl", data)
    for number, trial in reader.read(path.parent).items():
        assert number == trial.trial and isinstance(trial.seconds, float) and "/" not in trial.run
        assert isinstance(trial.done, bool)
    with suppress(BadInput):
        entries([path.parent])


def evaluation(data: bytes) -> None:
    """Figures of an evaluation as `lenrl compare` takes them: refused, or every part of its page is made."""
    from lenrl.report.compare import Compared
    from lenrl.report.sources import read as entries

    path = _written("evaluated/eval.json", data)
    with suppress(BadInput):
        compared = Compared(entries([path.parent]))
        parts = (compared.rows, compared.cards, compared.lead, compared.breakdowns, compared.settings)
        json.dumps([part() for part in parts])


def recipe(data: bytes) -> None:
    """A recipe's file: composed, or refused in a message that fits a terminal."""
    from lenrl.config import compose

    path = _written("mine.yaml", data)
    try:
        compose(str(path))
    except BadInput as refusal:
        assert len(str(refusal)) < 3000


def message(data: bytes) -> None:
    """A text on its way to a log: short, without control characters."""
    from lenrl.redact import printable

    shown = printable(text_of(data), 200)
    assert len(shown) < 300 and not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown
    )


TARGETS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (
        extraction,
        comparison,
        gym,
        manifest,
        state,
        logged_rows,
        rows,
        ledger,
        evaluation,
        recipe,
        message,
    )  # fmt: skip
}
