"""A run's folder: who may use it, and the checks that what is in it belongs to the recipe."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from lenrl.config import Recipe, plugin_files
from lenrl.config.difference import difference
from lenrl.config.yaml_files import read_yaml
from lenrl.errors import BadInput
from lenrl.files import PART, read_json, remove_drafts, write_json, write_text
from lenrl.launch.environment import environment
from lenrl.launch.lifeline import RANKS, ranks_hold
from lenrl.training import checkpoint

PREPARED = ("recipe.yaml", "accelerate.yaml", "environment.json")
ENDED = "ended.json"
WRITTEN = (*PREPARED, "data.json", "metrics.jsonl", "dev.jsonl", "training.json", ENDED)
WRITTEN += ("eval.json", "report.html", "summary.json")
LOCK_FILES = ("lock", RANKS)


class RunFolder:
    """The folder of one recipe's run as this machine uses it.

    Of several machines, which share it, the first one speaks for all: it holds the folder, judges what is in it and
    writes the files of PREPARED. The others keep what their own processes read to themselves (`files`).
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.path = recipe.run_dir().absolute()
        self.processes = int(recipe.launch.get("num_processes", 1))  # over all machines
        self.local_processes = self.processes // int(recipe.launch.get("num_machines", 1))
        self.machine_rank = int(recipe.launch.get("machine_rank", 0))
        self.files = self.path

    @property
    def log(self) -> Path:
        """The file of all that this machine's ranks print."""
        return self.path / (f"train-{self.machine_rank}.log" if self.machine_rank else "train.log")

    @property
    def first_rank(self) -> int:
        """Number of this machine's first rank."""
        return self.machine_rank * self.local_processes

    def locked(self) -> AbstractContextManager[int]:
        """Hold the folder for this process, and for all that inherit the file descriptor it yields."""
        return self._elsewhere() if self.machine_rank else locked(self.path, "run")

    @contextmanager
    def _elsewhere(self) -> Iterator[int]:
        with tempfile.TemporaryDirectory(prefix="lenrl-") as folder:
            self.files = Path(folder)
            with locked(self.files, "run") as handle:
                yield handle

    def admit(self) -> None:
        """Check the folder, which is held, against the recipe, as far as needs no reading of checkpoints.

        Raises:
            BadInput: what `look` refuses.
        """
        if not self.machine_rank:
            remove_drafts(self.path, WRITTEN)
            self.look()

    def look(self) -> None:
        """Check what stands in the folder, or that it can be made; nothing is changed.

        Raises:
            BadInput: the content is not this recipe's, or `resume=never` and there is some, or `resume=PATH` and
                there is no such checkpoint; or the folder can't be written.
        """
        if self.machine_rank:
            return
        if self._named is not None:
            start = checkpoint.chosen(self.path, self.recipe.resume, checksums=False)
            assert start is not None
            checkpoint.accept(
                start,
                recipe=self.recipe.identity(),
                processes=self.processes,
                with_changes=self.recipe.resume_with_changes,
            )
        place = next(p for p in (self.path, *self.path.parents) if p.exists())
        if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            raise BadInput(f"output directory {self.path} can't be written: {place}. Set another output_dir.")
        inside = self.path.iterdir() if place == self.path else ()
        content = sorted(p.name for p in inside if p.name not in LOCK_FILES and p.suffix != PART)
        if not content:
            return
        if self.recipe.resume == "never":
            raise BadInput(
                f"{self.path} is not empty ({_some(content)}) and resume=never. Remove it, choose another "
                "folder with name=... or output_dir=..., or continue its run with resume=auto."
            )
        former = self._former()
        if former is None:
            if content in (["accelerate.yaml"], ["environment.json"]):
                return
            raise BadInput(
                f"{self.path} is not empty ({_some(content)}) and holds no run (no recipe.yaml). Choose "
                "another folder with name=... or output_dir=..."
            )
        changes = difference(former, self.recipe.identity())
        if changes and not self.recipe.resume_with_changes:
            raise BadInput(
                f"{self.path} holds the run of another recipe:\n{changes}\nChoose another folder with "
                "name=... or output_dir=..., or continue all the same with resume_with_changes=true."
            )

    def trained(self) -> bool:
        """All optimizer steps are done and the final model is there; not where an older checkpoint is named."""
        if self._named is not None and checkpoint.step_of(self._named) < self.recipe.trainer["max_steps"]:
            return False
        training = read_json(self.path / "training.json")
        steps = training.get("steps") if isinstance(training, dict) else None
        done = isinstance(steps, int) and steps >= int(self.recipe.trainer.get("max_steps", 0))
        return done and (self.path / "model").is_dir()

    def finished(self) -> bool:
        """Trained, its summary written, and what that names still there."""
        summary = read_json(self.path / "summary.json")
        if not self.trained() or not isinstance(summary, dict):
            return False
        return all((self.path / name).exists() for name in summary.get("paths") or ())

    def prepare(self) -> None:
        """Write what the run's processes read: recipe.yaml, accelerate.yaml, plugins/; and environment.json.

        A recipe that was changed stays as `recipe-1.yaml`, `recipe-2.yaml`, ..., its plug-ins in `plugins-1/`, ...
        """
        if self.machine_rank == 0:
            self._put_former_away()
        texts = (
            _yaml(self.recipe.resolved()),
            _yaml(self.recipe.launch),
            json.dumps(environment(self.processes), indent=2) + "\n",
        )
        for name, text in zip(PREPARED, texts, strict=True):
            write_file(self.files / name, text)
        plugin_files.write_copies(self.recipe.plugins, self.files)

    def _put_former_away(self) -> None:
        former = self._former()
        if former is not None and difference(former, self.recipe.identity()):
            number = 1 + len(list(self.path.glob("recipe-*.yaml")))
            shutil.copyfile(self.path / "recipe.yaml", self.path / f"recipe-{number}.yaml")
            if (self.path / plugin_files.FOLDER).is_dir():
                shutil.copytree(
                    self.path / plugin_files.FOLDER, self.path / f"{plugin_files.FOLDER}-{number}"
                )
        for stale in ("training.json", "summary.json", ENDED):
            (self.path / stale).unlink(missing_ok=True)

    def note_end(self, exit_code: int) -> None:
        """Leave the exit code of a run that did not finish, by which `lenrl ls runs` tells a failure from a signal."""
        if self.machine_rank == 0:
            with suppress(OSError):  # a full disk may be what ended it
                write_json(self.path / ENDED, {"exit_code": exit_code})

    def withdraw(self) -> None:
        """Take back what `prepare` wrote, where no step was taken: a refused run leaves no folder behind."""
        ours = (*PREPARED, plugin_files.FOLDER, "data.json", self.log.name, *LOCK_FILES)
        if self.machine_rank or any(p.name not in ours for p in self.path.iterdir()):
            return
        shutil.rmtree(self.path / plugin_files.FOLDER, ignore_errors=True)
        (self.path / "data.json").unlink(missing_ok=True)
        for name in (*PREPARED, self.log.name, *LOCK_FILES):
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):  # another launch may have come
            self.path.rmdir()

    @property
    def _named(self) -> Path | None:
        """The checkpoint that `resume=PATH` names."""
        return None if self.recipe.resume in ("auto", "never") else Path(self.recipe.resume)

    def _former(self) -> Mapping[str, Any] | None:
        path = self.path / "recipe.yaml"
        if not path.exists():
            return None
        former = read_yaml(path)
        if not isinstance(former, dict):
            raise BadInput(f"{path} is not a recipe. Restore it or choose another folder.")
        return former


@contextmanager
def locked(folder: Path, what: str, *, shared: bool = False) -> Iterator[int]:
    """Hold a folder, which is made, for this process and for all that inherit the file descriptor it yields.

    Args:
        folder: what is held.
        what: what holds it, for the message: `run`, `sweep`.
        shared: together with others that share it.

    Raises:
        BadInput: it is held already, or can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / "lock", "a+", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as fault:
        raise BadInput(
            f"output directory {folder} can't be written: {fault.strerror}. Set another output_dir."
        ) from None
    with handle:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise BadInput(
                f"{folder} is in use by a running {what} (process {holder}). Wait for it, stop it, or "
                "choose another folder with name=... or output_dir=..."
            ) from None
        if ranks_hold(folder):
            raise BadInput(
                f"{folder} is in use by processes of a {what} whose supervisor was killed. They save and end by "
                "themselves; wait for that, or choose another folder with name=... or output_dir=..."
            )
        if not shared:
            handle.truncate(0)
            handle.write(f"{os.getpid()}\n")
            handle.flush()
        yield handle.fileno()


def _yaml(value: Mapping[str, object]) -> str:
    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True)


def write_file(path: Path, text: str) -> None:
    """Text, whole or not at all.

    Raises:
        BadInput: the file can't be written.
    """
    try:
        write_text(path, text)
    except OSError as fault:
        raise BadInput(
            f"{path} can't be written: {fault.strerror}. Set output_dir to another folder."
        ) from None


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
