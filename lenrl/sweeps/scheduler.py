"""Runs the trials of a sweep: so many at a time, each in a process of its own, until all are done or a signal comes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lenrl.errors import BadInput
from lenrl.launch.command import cores
from lenrl.launch.run_folder import locked
from lenrl.sweeps import ledger, outcomes
from lenrl.sweeps.early_stop import early_stop
from lenrl.sweeps.measured import curve, figures, last_step
from lenrl.sweeps.plan import Plan
from lenrl.sweeps.progress import Progress
from lenrl.sweeps.search import Search, Work
from lenrl.terminal import Terminal

POLL_S = 0.1
RETRIES = 1  # of a crashed trial, with on_error=retry; each continues the run
CONTINUE, STOP, RETRY = ON_ERROR = ("continue", "stop", "retry")


@dataclass
class Running:
    """A trial that runs."""

    trial: int
    overrides: list[str]
    process: subprocess.Popen[bytes]
    place: int  # of `jobs`; decides which GPUs it sees
    reason: str | None = None  # why it was told to stop


class Sweep:
    """One `lenrl sweep`.

    Args:
        jobs: trials side by side.
        on_error: after a crash: `continue` with the others, `stop` them all (they save), or `retry` the trial once.
        stop_early: end the trials that `early_stop` gives a reason for.
        only: the one trial to run, of a sweep whose trials are started one by one (a Slurm array).
        command: the command of a prepared trial; default: `lenrl train`.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        jobs: int = 1,
        on_error: str = CONTINUE,
        stop_early: bool = False,
        only: int | None = None,
        command: Callable[[int], list[str]] | None = None,
        console: Console | None = None,
    ) -> None:
        self.plan = plan
        self.jobs = 1 if only is not None else jobs
        self.on_error = on_error
        self.stop_early = stop_early
        self.only = only
        self.command = command or plan.train
        self.console = console or Terminal()
        self.signals: list[int] = []
        self.running: list[Running] = []
        self.attempts: dict[int, int] = {}
        self.again: list[Work] = []  # crashed trials to retry now
        self.halted = False  # no further trial is started
        self.checked: dict[int, int] = {}  # trial: evaluations it had when it was last judged
        self.search: Search | None = None
        launch = plan.first.launch
        self.ranks = max(1, launch.get("num_processes", 1) // launch.get("num_machines", 1))
        self.gpus = [] if launch.get("use_cpu") or self.jobs == 1 else gpus(os.environ)
        self._refuse()

    def _refuse(self) -> None:
        launch = self.plan.first.launch
        if self.jobs > 1 and launch.get("num_machines", 1) > 1:
            raise BadInput(
                f"--jobs {self.jobs} with launch.num_machines={launch['num_machines']}: trials over several machines "
                "run one at a time. Leave --jobs out."
            )
        if self.gpus and self.ranks > len(share(self.gpus, self.jobs, 0)):
            raise BadInput(
                f"--jobs {self.jobs} with launch.num_processes={self.ranks} needs {self.jobs * self.ranks} GPUs, here "
                f"are {len(self.gpus)}. Give fewer jobs or fewer processes."
            )
        if self.only is not None and not 0 <= self.only < self.plan.count:
            raise BadInput(f"--trial {self.only}: the sweep has the trials 0 to {self.plan.count - 1}.")

    def run(self) -> int:
        """0 if every trial is done, 130 or 143 if a signal ended it, else 1.

        Raises:
            BadInput: the folder is in use or another sweep's, or a trial's recipe is refused; nothing has run then.
        """
        with locked(self.plan.folder, "sweep", shared=self.only is not None) as lock:
            self.plan.settle()
            if self.plan.draws is not None:
                self.search = Search(self.plan, self.only or 0)
            if self.only is not None:
                with locked(self.plan.folder / ledger.run_name(self.only), "run"):
                    pass  # refuses a trial that another process runs
            known = ledger.read(self.plan.folder)
            numbers = range(self.plan.count) if self.only is None else [self.only]
            todo = [n for n in numbers if n not in known or not known[n].done]
            if self.search is None:
                queue = iter(_of_grid(self.plan, todo))
            else:
                queue = self.search.trials(self.only, lambda said: self.progress.say(said, "yellow"))
            total, steps = len(numbers), int(self.plan.first.trainer["max_steps"])
            with (
                self._listening(),
                Progress(self.console, total, steps, total - len(todo)) as self.progress,
            ):
                self._loop(queue, lock)
        if self.only is None:
            outcomes.conclude(self.plan, self.console)
        elif self.only in known and known[self.only].done:
            self.progress.say(f"trial {self.only} was {known[self.only].status} before")
        if self.signals:
            return 128 + self.signals[0]
        known = ledger.read(self.plan.folder)
        if self.only is not None:
            return int(self.only in known and not known[self.only].done)
        return int(self.halted or any(not t.done for t in known.values()))

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Note SIGINT and SIGTERM, which the loop passes on."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {n: signal.signal(n, lambda number, _: self.signals.append(number)) for n in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _loop(self, queue: Iterator[Work], lock: int) -> None:
        sent = 0
        try:
            while True:
                for number in self.signals[sent:]:
                    sent += 1
                    self._signal(number)
                for one in [r for r in self.running if r.process.poll() is not None]:
                    self.running.remove(one)
                    self._ended(one)
                while not (self.signals or self.halted) and len(self.running) < self.jobs:
                    following = self.again.pop() if self.again else next(queue, None)
                    if following is None:
                        break
                    self._start(*following, lock)
                if not self.running:
                    return
                if self.progress.due():
                    self._look()
                time.sleep(POLL_S)
        except BaseException:
            self._signal(signal.SIGTERM)  # the trial processes end the trials
            raise

    def _start(self, trial: int, overrides: list[str], lock: int) -> None:
        place = min(set(range(self.jobs)) - {r.place for r in self.running})
        line = [sys.executable, "-P", "-m", "lenrl.sweeps.trial_process", str(self.plan.folder), str(trial)]
        line += [json.dumps(overrides), str(os.getpid()), "--", *self.command(trial)]
        log = Path(outcomes.log(self.plan, trial))
        log.parent.mkdir(exist_ok=True)
        with open(log, "ab") as output:
            # A session of its own: Ctrl-C reaches the sweep only. The lock is held until the last trial has left.
            process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(lock,),
                env=self._environment(place),
            )
        self.running.append(Running(trial, overrides, process, place))
        self.attempts[trial] = self.attempts.get(trial, 0) + 1
        self.progress.say(f"trial {trial} begins: {' '.join(overrides)} (log: {log})")

    def _environment(self, place: int) -> dict[str, str]:
        """Shares of cores and GPUs for trials side by side, unless the environment sets them."""
        env = {"WANDB_RUN_GROUP": f"{self.plan.first.recipe}/{self.plan.folder.name}", **os.environ}
        if self.jobs > 1:
            env.setdefault("OMP_NUM_THREADS", str(max(1, cores() // (self.jobs * self.ranks))))
            if devices := share(self.gpus, self.jobs, place):
                env["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
        return env

    def _ended(self, one: Running) -> None:
        folder, number = self.plan.folder, one.trial
        trial = ledger.read(folder).get(number)
        if trial is None or trial.status in (ledger.PLANNED, ledger.RUNNING):  # its process was killed
            status = ledger.INTERRUPTED if self.signals or self.halted else ledger.CRASHED
            ledger.append(folder, number, status, one.overrides, exit_code=one.process.returncode)
        elif one.reason and trial.status == ledger.INTERRUPTED:
            event = {**figures(folder / trial.run), "exit_code": trial.exit_code, "reason": one.reason}
            ledger.append(folder, number, ledger.STOPPED, one.overrides, **event)
        trial = ledger.read(folder)[number]
        self.progress.done += trial.done
        self.progress.say(
            f"trial {number} {_outcome(trial)}", "red" if trial.status == ledger.CRASHED else ""
        )
        if self.search is not None:
            self.search.tell({number: trial})
        if trial.status == ledger.CRASHED:
            self.progress.say(_tail(Path(outcomes.log(self.plan, number))), "dim")
            self._crashed(one)

    def _crashed(self, one: Running) -> None:
        if self.on_error == RETRY and self.attempts[one.trial] <= RETRIES:
            self.again.append((one.trial, one.overrides))
        elif self.on_error == STOP and not self.halted:
            self.halted = True
            self._signal(signal.SIGTERM)

    def _look(self) -> None:
        """Read the files of the trials that run: for the display, and for an early stop."""
        folder = self.plan.folder
        runs = {one.trial: folder / ledger.run_name(one.trial) for one in self.running}
        self.progress.show({one.trial: (one.overrides, last_step(runs[one.trial])) for one in self.running})
        if not self.stop_early:
            return
        for one in self.running:
            points = curve(runs[one.trial])
            if one.reason or self.checked.get(one.trial) == len(points):
                continue
            self.checked[one.trial] = len(points)
            finished = [t for t in ledger.read(folder).values() if t.status == ledger.FINISHED]
            one.reason = early_stop(points, {t.trial: curve(folder / t.run) for t in finished})
            if one.reason:
                self.progress.say(f"trial {one.trial} is stopped, {one.reason}")
                one.process.send_signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for one in self.running:
            one.process.send_signal(number)


def _of_grid(plan: Plan, numbers: Sequence[int]) -> list[Work]:
    """The trials with their overrides; all recipes are written before the first begins: a bad one is refused."""
    todo = [(number, plan.overrides(number)) for number in numbers]
    for trial in todo:
        plan.prepare(*trial)
    return todo


def gpus(env: Mapping[str, str]) -> list[str]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them."""
    if "CUDA_VISIBLE_DEVICES" in env:
        return [name for name in env["CUDA_VISIBLE_DEVICES"].split(",") if name.strip() not in ("", "-1")]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def share(devices: list[str], jobs: int, place: int) -> list[str]:
    """The devices of one of several jobs; with fewer devices than jobs, one that it shares.

    >>> share(["0", "1", "2", "3"], 2, 1), share(["0", "1"], 3, 2), share([], 2, 0)
    (['2', '3'], ['0'], [])
    """
    each = len(devices) // jobs
    if each == 0:
        return [devices[place % len(devices)]] if devices else []
    return devices[place * each : (place + 1) * each]


def _outcome(trial: ledger.Trial) -> str:
    text = trial.status
    if trial.accuracy is not None and trial.tokens is not None:
        text += f": accuracy {trial.accuracy:.1%}, {trial.tokens:.1f} tokens ({trial.measured_on})"
    if trial.status == ledger.CRASHED:
        text += f" (exit code {trial.exit_code})"
    return f"{text}, {trial.seconds:.0f} s"


def _tail(path: Path, lines: int = 5) -> str:
    """The end of a trial's output."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as fault:
        return str(fault)
    return "\n".join(f"  {line}" for line in [*(x for x in text if x.strip())][-lines:] + [f"({path})"])
