"""Real processes without the seconds of their imports: forked by a Python that has imported what a training imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# argv[1:]: modules to import. For each line of its input it becomes a process of at most 400 s: {"words" as
# after `python`, "folder", "out", "err": files}; then it says the exit code.
PARENT = """
import importlib, json, os, runpy, signal, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
for line in sys.stdin:
    asked = json.loads(line)
    if (pid := os.fork()) == 0:
        os.chdir(asked["folder"])
        signal.alarm(400)
        for number, path in enumerate((os.devnull, asked["out"], asked["err"])):
            os.dup2(os.open(path, os.O_RDWR), number)
        kind, what, *sys.argv[1:] = asked["words"]
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Forks:
    """Processes of the library in a folder, one after the other.

    Args:
        folder: for what they say, written anew by each.
        library: is imported from here.
    """

    def __init__(self, folder: Path, library: Path = ROOT) -> None:
        self.out, self.err = folder / "out.txt", folder / "err.txt"
        env = os.environ | {
            "PYTHONPATH": str(library),
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        line = [sys.executable, "-W", "ignore", "-c", PARENT, "lenrl.training.build", "lenrl.report.summary"]
        pipe = subprocess.PIPE
        self.parent = subprocess.Popen(line, cwd=folder, env=env, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *_: object) -> None:
        self.parent.communicate()
        self.out.unlink(missing_ok=True)
        self.err.unlink(missing_ok=True)

    def run(self, folder: Path, *words: str) -> subprocess.CompletedProcess:
        """As `python WORDS` in a folder: `-m MODULE ...` or `-c CODE ...`."""
        self.out.write_text("")
        self.err.write_text("")
        asked = {"words": words, "folder": str(folder), "out": str(self.out), "err": str(self.err)}
        print(json.dumps(asked), file=self.parent.stdin, flush=True)
        code = int(self.parent.stdout.readline())
        return subprocess.CompletedProcess(words, code, self.out.read_text(), self.err.read_text())
