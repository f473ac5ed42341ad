"""One `lenrl train` of a soak: what its processes use, and what is done to them."""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

RANK = "lenrl.launch.worker"  # the module that a training process runs
FULL_BYTES = 1000  # that no file may exceed while the disk is full
END_S = 600.0  # at most, of a leg that was told to end, and from one step to the next
STRAY_S = 60.0  # at most, from the end of `lenrl train` to that of its last process
POLL_S = 0.2
FEW = 24  # samples, one a second, below which nothing is said of growth
IDLE_S = 5.0  # without a step: it saves, ends, or waits, and uses less
MAY_GROW = {
    "rank_mib": 24.0,
    "children_mib": 24.0,
    "files": 2.0,
    "threads": 1.0,
}  # from second quarter to last


class Leg:
    """A `lenrl train` in the background, from its start to the end of its last process.

    Args:
        folder: of the run.
        command: of `lenrl train`, without the folder.
        environment: variables beside this process's.
    """

    def __init__(self, folder: Path, command: list[str], environment: dict[str, str]) -> None:
        self.folder = folder
        self.log = folder.with_suffix(".log")
        self.samples: list[dict[str, float]] = []
        self._below: dict[int, psutil.Process] = {}  # every process that was seen under it, by pid
        self._rank: psutil.Process | None = None
        self._sampled = self._moved = time.monotonic()
        self._step = 0
        env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", **environment}
        line = [sys.executable, "-m", "lenrl.cli", "train", *command, f"output_dir={folder}"]
        # Through a pipe: a limit on the size of files must not reach the log of this script.
        self.process = subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        with self.log.open("ab") as log:
            self._copier = subprocess.Popen(["cat"], stdin=self.process.stdout, stdout=log)

    def runs(self) -> bool:
        """It does; waits a moment, and takes a sample each second."""
        time.sleep(POLL_S)
        if time.monotonic() - self._sampled >= 1:
            self._sample()
        if time.monotonic() - self._moved > END_S:
            raise SystemExit(f"no step for {END_S:.0f} s after step {self._step}, see {self.log}")
        return self.process.poll() is None

    def watch(self, seconds: float) -> None:
        """Let it run on."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.runs():
            pass

    def step(self) -> int:
        """Completed optimizer steps, as the newest line of its log says."""
        path = self.folder / "metrics.jsonl"
        if not path.exists() or self._rank is None:
            return 0
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 20_000))
            lines = log.read().decode(errors="replace").splitlines()
        for line in reversed(lines):
            try:
                step = json.loads(line)["step"]
            except (ValueError, KeyError, TypeError):
                continue
            if step != self._step:
                self._step, self._moved = step, time.monotonic()
            return step
        return 0

    # --- what is done to it --------------------------------------------------------------------------------

    def kill_workers(self) -> None:
        """SIGKILL to every worker of the verifier: the children of the rank's fork server."""
        for child in self._of_rank():
            if child.ppid() != self._rank_process.pid and "forkserver" in " ".join(child.cmdline()):
                child.kill()

    def fill_disk(self) -> None:
        """From now on no file of the rank's may grow past a few bytes; its next save fails."""
        pid = self._rank_process.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL_BYTES, resource.RLIM_INFINITY))

    def signal(self, name: str) -> None:
        """`sigterm`: SIGTERM to the command; `sigkill`: SIGKILL to the rank; `sigkill_parent`: to the command."""
        if name == "sigkill":
            self._rank_process.kill()
        else:
            self.process.send_signal(signal.SIGTERM if name == "sigterm" else signal.SIGKILL)

    # --- what is seen of it --------------------------------------------------------------------------------

    def ends(self) -> int:
        """Its exit code, once its last process is gone or END_S have passed."""
        code = self.process.wait(END_S)
        until = time.monotonic() + STRAY_S
        while self._alive() and time.monotonic() < until:
            time.sleep(POLL_S)
        return code

    def problems(self) -> list[str]:
        """Sentences on what it left behind and on what grew; it has ended."""
        left = [f"process {process.pid} is left behind: {_line(process)}" for process in self._alive()]
        for process in self._alive():
            process.kill()
        self._copier.wait(END_S)
        return left + self.grown()

    def grown(self) -> list[str]:
        """Sentences on what grew by more than it may."""
        return [f"{name} grew by {by:g}" for name, by in self.growth().items() if by > MAY_GROW[name]]

    def growth(self) -> dict[str, float]:
        """The median of each level in the leg's last quarter, less that in its second one; {}: it was short."""
        if len(self.samples) < FEW:
            return {}
        quarter = len(self.samples) // 4
        early, late = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        return {name: round(_median(late, name) - _median(early, name), 1) for name in MAY_GROW}

    def most(self) -> dict[str, float]:
        """The most of each level."""
        return {name: max((sample[name] for sample in self.samples), default=0.0) for name in MAY_GROW}

    @property
    def _rank_process(self) -> psutil.Process:
        assert self._rank is not None
        return self._rank

    def _of_rank(self) -> list[psutil.Process]:
        return self._rank_process.children(recursive=True)

    def _sample(self) -> None:
        self._sampled = time.monotonic()
        try:
            below = psutil.Process(self.process.pid).children(recursive=True)
            self._below |= {process.pid: process for process in below}
            # The launcher's line holds the name too, further on.
            self._rank = next((process for process in below if RANK in process.cmdline()[:4]), None)
            trains = self.step() and time.monotonic() - self._moved < IDLE_S
            if self._rank is not None and trains:
                self.samples.append(
                    {
                        "rank_mib": _mib(self._rank),
                        "children_mib": sum(map(_mib, self._of_rank())),
                        "files": self._rank.num_fds(),
                        "threads": self._rank.num_threads(),
                    }
                )
        except psutil.NoSuchProcess:  # it ends
            return

    def _alive(self) -> list[psutil.Process]:
        return [process for process in self._below.values() if _lives(process)]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _mib(process: psutil.Process) -> float:
    return round(process.memory_info().rss / 2**20, 1)


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:200]
    except psutil.NoSuchProcess:
        return "?"


def _median(samples: list[dict[str, float]], name: str) -> float:
    return statistics.median(sample[name] for sample in samples)
