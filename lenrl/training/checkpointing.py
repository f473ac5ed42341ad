"""Overrides of TRL where it saves and continues: checkpoints that hold all that decides how a run goes on.

TRL's own saving stays, in a folder that `lenrl.training.checkpoint` gives; what it leaves out is put next to it: the
rollout in use, the micro-step, the random states of all processes without a pickle, and the states of the strategies.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch.optim import Optimizer
from transformers import PreTrainedModel
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from lenrl.config.difference import difference
from lenrl.errors import BadInput, RunFailed
from lenrl.training import checkpoint
from lenrl.training.checkpoint import optimizer, tensors
from lenrl.training.distributed import ProcessGroup
from lenrl.training.rollback import StepSnapshot
from lenrl.training.run_state import DevState, Part, StrategyStates
from lenrl.training.selection import PromptCursor
from lenrl.training.signals import StopSignal
from lenrl.training.teacher import Teacher

log = logging.getLogger("lenrl")

REFERENCE = "reference.safetensors"  # in a checkpoint: the reference model, where it moves
TEACHER = "teacher.safetensors"  # in a checkpoint: what the advantage's teacher has of its own

OVERRIDES = {
    "_run_epoch": (
        "(self, model, epoch, train_dataloader, steps_in_epoch, num_update_steps_per_epoch, trial, "
        "ignore_keys_for_eval, start_time, resume_from_checkpoint, epochs_trained, steps_trained_in_current_epoch)"
    ),
    "_save_checkpoint": "(self, model, trial)",
    "_finalize_training": "(self, trial, num_train_samples, start_time)",
    "_save_rng_state": "(self, output_dir)",
    "_load_rng_state": "(self, checkpoint)",
    "_load_from_checkpoint": "(self, resume_from_checkpoint, model=None)",
    "_load_optimizer_and_scheduler": "(self, checkpoint)",
    "_issue_warnings_after_load": "(self, load_result)",
}
"""Private methods of transformers' Trainer that are overridden."""


class CheckpointedGRPO(GRPOTrainer):
    """GRPO whose checkpoints are whole and exact. The attributes below are the subclass's to set."""

    accelerator: Accelerator
    args: Any  # GRPOConfig, which calls optional what TRL has filled in
    model: PreTrainedModel  # or peft's, around one
    num_generations: int
    optimizer: Optimizer
    cursor: PromptCursor
    evaluation: DevState
    group: ProcessGroup
    origin: Mapping[str, Any]
    snapshot: StepSnapshot
    stateful: Mapping[str, Part]  # what else goes into a checkpoint
    stop: StopSignal
    strategies: StrategyStates
    teacher: Teacher | None  # of the advantage; None: it has none
    recipe_changed = False  # since the checkpoint that is continued
    saved_step: int | None = None  # of this process's newest checkpoint

    @property
    def buffer(self) -> tuple[int, list | None]:
        """TRL's counter of micro-steps, and the rollout they draw from."""
        return self._step, self._buffered_inputs

    @buffer.setter
    def buffer(self, value: tuple[int, list | None]) -> None:
        self._step, self._buffered_inputs = value

    @property
    def _micro_steps_per_rollout(self) -> int:
        return self.args.steps_per_generation * self.num_iterations

    def _run_epoch(self, *args, **kwargs):
        """TRL's, unless every step was taken: a resumed run would take the first of the epoch once more."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _save_checkpoint(self, model, trial):
        """TRL's, with what TRL leaves out; in its place only once it is whole and on the disk."""
        self.stop.beat("saving")
        run_dir = Path(self.args.output_dir)
        name = f"checkpoint-{self.state.global_step}"
        main = self.accelerator.is_main_process
        gone = self.group.max(int(not os.path.isdir(run_dir)))
        with checkpoint.atomic_folder(run_dir, name, is_main=main) as folder:
            parent = str(folder.parent)
            elsewhere = swapped(self.args, output_dir=parent, save_total_limit=None, push_to_hub=False)
            # transformers would look for the best step's folder, and not find it here.
            with elsewhere, swapped(self.state, best_global_step=None):
                super()._save_checkpoint(model, trial)
            self._write_rollout(folder)
            self.accelerator.wait_for_everyone()
            best = self._best_checkpoint(run_dir)
            if main:
                (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing needs
                self.state.save_to_json(str(folder / "trainer_state.json"))
                checkpoint.write_state(folder, self._own_state())
                checkpoint.check_saved(folder, self.model)
                checkpoint.publish(folder)
                checkpoint.rotate(run_dir, self.args.save_total_limit, best)
        self.accelerator.wait_for_everyone()
        self.saved_step = self.state.global_step
        if gone:
            raise RunFailed(
                f"{run_dir} was deleted or moved while the run wrote to it. The state of this step is in "
                f"{run_dir / name}, made anew, and nothing else is. Move it to another place, and continue from it in "
                "a folder of its own: resume=PATH/" + name
            )

    def _finalize_training(self, *args, **kwargs):
        """TRL's, which with `save_total_limit=1` would delete all checkpoints but the best, the newest too."""
        with swapped(self.args, save_total_limit=None):
            return super()._finalize_training(*args, **kwargs)

    def leave(self) -> None:
        """After `Stopped`: write the checkpoint of the last optimizer step, unless there is one or none to write."""
        if self.snapshot.step is None or self.snapshot.step == self.saved_step:
            return
        self.snapshot.restore()
        self._save_checkpoint(self.model_wrapped, None)

    def create_model_card(self, *args: object, **kwargs: object) -> None:
        """None: TRL writes one at every save; the run's folder has its recipe and its report."""

    def _best_checkpoint(self, run_dir: Path) -> Path | None:
        """The folder of the best evaluation so far; the path that transformers keeps is out of date if a run moves."""
        step = self.state.best_global_step
        best = run_dir / f"checkpoint-{step}"
        if not step or not (step == self.state.global_step or best.is_dir()):
            best = None
        self.state.best_model_checkpoint = None if best is None else str(best)
        return best

    def _best_kept(self) -> str:
        """A sentence on the best evaluation so far and its checkpoint; empty: there is none."""
        best = self._best_checkpoint(Path(self.args.output_dir))
        if best is not None and best.is_dir():
            return f"The best checkpoint is kept: {best}."
        return "The best evaluation is the one before training." if self.state.best_global_step == 0 else ""

    def _own_state(self) -> dict[str, Any]:
        """State that decides how the run goes on and is the same on every process."""
        return {
            "step": self.state.global_step,
            "micro_step": self._step,
            "rollout": self._inside_rollout,
            "geometry": self._geometry,
            "processes": self.group.processes,
            "backend": self._backend,
            "strategies": self.strategies.state_dict(),
            "cursor": self.cursor.state_dict(),
            "dev_baseline": self.evaluation.baseline,
            "stateful": {name: part.state_dict() for name, part in self.stateful.items()},
            **self.origin,
        }

    @property
    def _inside_rollout(self) -> bool:
        """The completions at hand are needed again."""
        return self._step % self._micro_steps_per_rollout != 0

    @property
    def _geometry(self) -> list[int]:
        """Numbers that give a micro-step its place in a rollout."""
        rows, accumulation = self.args.per_device_train_batch_size, self.args.gradient_accumulation_steps
        return [rows, accumulation, self.args.steps_per_generation, self.num_iterations, self.num_generations]

    @property
    def _backend(self) -> str:
        return "deepspeed" if self.is_deepspeed_enabled else "fsdp" if self.is_fsdp_enabled else "plain"

    def _write_rollout(self, folder: Path) -> None:
        if self._inside_rollout:
            assert self._buffered_inputs is not None
            tensors.write_batches(self._of_rank(folder, "rollout"), self._buffered_inputs)
        if self.args.sync_ref_model and self.accelerator.is_main_process:
            tensors.write_model(folder / REFERENCE, self.accelerator.unwrap_model(self.ref_model))
        if self.teacher and self.teacher.weights is not None and self.accelerator.is_main_process:
            tensors.write_tensors(folder / TEACHER, self.teacher.weights)

    def _of_rank(self, folder: Path, what: str) -> Path:
        return folder / f"{what}-{self.accelerator.process_index}.safetensors"

    def _save_rng_state(self, output_dir):
        """Of every process, without a pickle."""
        tensors.write_random(self._of_rank(Path(output_dir), "random"), self.accelerator.device)

    def _load_rng_state(self, checkpoint):
        if checkpoint is not None:
            tensors.read_random(self._of_rank(Path(checkpoint), "random"), self.accelerator.device)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        """TRL's; peft would load an adapter in bfloat16 (TRL's for QLoRA) as float32, and it would train on as that."""
        before = {name: p.dtype for name, p in self.model.named_parameters() if p.requires_grad}
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        for name, parameter in self.model.named_parameters():
            if name in before and parameter.dtype != before[name]:
                parameter.data = parameter.data.to(before[name])

    def _load_optimizer_and_scheduler(self, checkpoint):
        """TRL's; where the recipe was changed, the recipe's learning rate and the like and not the saved ones."""
        if checkpoint is None:
            return
        changed = self.recipe_changed and self._backend == "plain"
        with optimizer.kept(self.optimizer, self.lr_scheduler, changed):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _issue_warnings_after_load(self, load_result):
        """Without the tensors that are shared with others, which `restore` knows of and transformers takes for lost."""
        if self._backend != "plain":
            super()._issue_warnings_after_load(load_result)

    def restore(self, folder: Path) -> None:
        """Put back what `_save_checkpoint` added to TRL's checkpoint, before `train`.

        Raises:
            BadInput: the checkpoint is of other data or of another model, or lacks the state of a part.
        """
        state = checkpoint.read_state(folder)
        recipe = self.origin["recipe"]
        self.recipe_changed = bool(difference(state["recipe"], recipe))
        if state["data"] != self.origin["data"] and not self.recipe_changed:
            raise BadInput(
                f"{folder} was written while training on other problems: the task's data has changed since. Put the "
                "former data back, or begin anew with name=..."
            )
        if self._backend == "plain" and (wrong := checkpoint.weight_faults(folder, self.model)):
            raise BadInput(f"{folder} does not fit the model of model.path: {'; '.join(wrong)}.")
        same = {slot: s for slot, s in state["strategies"].items() if state["recipe"][slot] == recipe[slot]}
        kept = [slot for slot in self.strategies.state_dict() if state["recipe"][slot] == recipe[slot]]
        if lost := [
            *(s for s in kept if s not in same),
            *(n for n in self.stateful if n not in state["stateful"]),
        ]:
            raise BadInput(
                f"{folder / checkpoint.STATE} lacks the state of {', '.join(lost)}: the run could not go on exactly. "
                "Name a whole checkpoint with resume=PATH, or begin anew with name=..."
            )
        self.strategies.load_state_dict(same)
        self.cursor.load_state_dict(state["cursor"])
        self.evaluation.baseline = state["dev_baseline"]
        for name, part in self.stateful.items():
            part.load_state_dict(state["stateful"][name])
        if self.args.sync_ref_model:
            tensors.read_model(folder / REFERENCE, self.accelerator.unwrap_model(self.ref_model))
        if self.teacher and (folder / TEACHER).exists():
            self.teacher.load(tensors.read_tensors(folder / TEACHER))
        if state["geometry"] == self._geometry:
            self._step = state["micro_step"]
            if state["rollout"]:
                device = self.accelerator.device
                self._buffered_inputs = tensors.read_batches(self._of_rank(folder, "rollout"), device)
        elif state["rollout"]:
            log.warning("the batch arithmetic has changed: the rollout in use is given up for a new one")


class EpochSampler(RepeatSampler):
    """TRL's sampler, seeded anew for each epoch.

    TRL's own draws each epoch's order from one stream, so a run resumed in its second epoch would see the
    first epoch's order again. Accelerate and transformers call `set_epoch` before each pass.
    """

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) * 1_000_003 + epoch)


@contextmanager
def swapped(holder: object, **values: object) -> Iterator[None]:
    """Attributes with other values for the length of a block."""
    before = {name: getattr(holder, name) for name in values}
    try:
        for name, value in values.items():
            setattr(holder, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(holder, name, value)
