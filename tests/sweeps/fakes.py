"""Stand-ins for trials: processes of milliseconds that leave the files of a run."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from rich.console import Console

from lenrl.sweeps.plan import Plan
from lenrl.sweeps.scheduler import Sweep

# A trial: does what `how` says, noting each start in `starts`. On SIGTERM it "saves" and leaves as `lenrl train` does.
#   ok ACCURACY TOKENS | crash | slow (until a signal) | once ACCURACY TOKENS (crashes the first time)
#   curve STEP:ACCURACY:TOKENS ... (evaluations, then until a signal) | beside TRIAL (until that one has started)
TRIAL = """
import json, os, signal, sys, time
run, how, *more = sys.argv[1:]
os.makedirs(run, exist_ok=True)
def leave(number, _):
    open(run + "/saved", "a").write(str(int(number)))
    time.sleep(0.2)
    os._exit(128 + number)
signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGINT, leave)
with open(run + "/starts", "a") as f:
    print(os.getpid(), os.environ.get("OMP_NUM_THREADS"), os.environ.get("CUDA_VISIBLE_DEVICES"), file=f, flush=True)
again = len(open(run + "/starts").readlines()) > 1
def evaluate(step, accuracy, tokens):
    with open(run + "/dev.jsonl", "a") as f:
        print(json.dumps({"step": step, "eval_accuracy": accuracy, "eval_tokens": tokens}), file=f)
if how == "crash" or (how == "once" and not again):
    sys.exit("no memory for " + run)
if how == "beside":
    other = os.path.join(os.path.dirname(run), more[0], "starts")
    while not os.path.exists(other):
        time.sleep(0.02)
    how, more = "ok", ["0.5", "50"]
if how in ("ok", "once"):
    evaluate(2, float(more[0]), float(more[1]))
    json.dump({"steps": 2}, open(run + "/training.json", "w"))
    sys.exit(0)
if how == "curve":
    for point in more:
        evaluate(*(float(x) for x in point.split(":")))
end = time.time() + 60
while time.time() < end:
    time.sleep(0.02)
"""


def plan(folder: Path, *lines: str, draws: int | None = None) -> Plan:
    """A sweep of `grpo` into a folder."""
    return Plan.read("grpo", [f"output_dir={folder}", *lines], draws=draws)


def sweep(of: Plan, how: dict[int, str] | None = None, **options) -> tuple[Sweep, io.StringIO]:
    """A sweep with stand-ins, and what it will have said; trials do `ok 0.5 50` where `how` does not say."""
    said = io.StringIO()
    options.setdefault("console", Console(file=said, width=200))

    def command(trial: int) -> list[str]:
        words = (how or {}).get(trial, "ok 0.5 50").split()
        return [sys.executable, "-S", "-c", TRIAL, str(of.folder / f"trial-{trial:03d}"), *words]

    return Sweep(of, command=command, **options), said


def starts(folder: Path, trial: int) -> list[list[str]]:
    """Of each start of a trial: pid, OMP_NUM_THREADS, CUDA_VISIBLE_DEVICES."""
    path = folder / f"trial-{trial:03d}" / "starts"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def events(folder: Path, trial: int | None = None) -> list[str]:
    """The statuses of the ledger's lines, in order."""
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    return [line["status"] for line in lines if trial in (None, line["trial"])]


def main() -> int:
    """`python -m tests.sweeps.fakes FOLDER HOW(json) JOBS LINE ...`: a sweep in a process of its own."""
    folder, how, jobs, *lines = sys.argv[1:]
    doing = {int(trial): words for trial, words in json.loads(how).items()}
    one, said = sweep(plan(Path(folder), *lines), doing, jobs=int(jobs))
    try:
        return one.run()
    finally:
        sys.stdout.write(said.getvalue())


if __name__ == "__main__":
    sys.exit(main())
