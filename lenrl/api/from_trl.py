"""`LenrlTrainer`: what TRL's `GRPOTrainer` takes, a method, and the run that `lenrl train` would make of them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from lenrl import run_process
from lenrl.api import leg, trl_arguments
from lenrl.api.methods import Given
from lenrl.api.rewards import Function
from lenrl.api.script import Choices, Script
from lenrl.errors import BadInput
from lenrl.generation.pretrained import find
from lenrl.monitors.progress_bar import ProgressBar
from lenrl.report import hub
from lenrl.training.grpo_config import GRPOConfig
from lenrl.training.signals import SIGNALS, Stopped
from lenrl.training.trainer import SlottedGRPO


class LenrlTrainer(SlottedGRPO):
    """TRL's `GRPOTrainer` with a method of lenrl; its arguments have TRL's names, order and meaning.

    A run's folder is `args.output_dir`: metrics.jsonl, completions/, checkpoints that continue exactly, and at the end
    model/. `metrics.jsonl` has a line an optimizer step, whatever `args.logging_steps`.

    Args:
        model: a name (hub id, folder, `tiny`), or a model; with `peft_config` its adapter is trained.
        reward_funcs: functions as TRL takes them; `lenrl.api.rewards` says which is the verdict, which a part.
        args: TRL's configuration.
        train_dataset: rows with `prompt` (text as it stands, or messages), gold answers in `answer` or `solution`, and
            any other columns, which strategies and functions get.
        eval_dataset: the same, for accuracy and tokens by `args.eval_strategy`; several by name: `eval_NAME_accuracy`.
        processing_class: the tokenizer; default: the model's.
        callbacks: of transformers.
        optimizers: optimizer and schedule; default: as `args` say.
        quantization_config: for a model that is loaded by its name.
        peft_config: of the adapter.
        reward_processing_classes, tools, rollout_func, environment_factory: refused, with the reason.
        method: a recipe's name, slots (`{"reward": {"name": "kimi", "weight": 0.4}}`), or a `Method`; None: plain GRPO.
        verifier: a kind (`"math"`), settings (`{"kind": "exact"}`), or a function as `reward_funcs` that gives 1, 0 or
            None.
        task: the columns and what is made of them (`{"answer": "solution", "answer_form": "boxed"}`).
        guard: when the run warns or stops by itself (`{"truncated_share": 1.0, "collapse": {"action": "warn"}}`).
        plugins: files with strategies and verifiers of your own, which `method` and `verifier` name.
        resume_with_changes: a run whose arguments differ is continued.

    Raises:
        BadInput: what cannot work, with the reason and the remedy.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - TRL's arguments, in its order
        self,
        model: str | PreTrainedModel,
        reward_funcs: Any = None,
        args: GRPOConfig | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | Mapping[str, Dataset] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        reward_processing_classes: Any = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        quantization_config: Any = None,
        peft_config: Any = None,
        tools: Any = None,
        rollout_func: Any = None,
        environment_factory: Any = None,
        *,
        method: Given | None = None,
        verifier: str | Mapping[str, Any] | Function | None = None,
        task: Mapping[str, Any] | None = None,
        guard: Mapping[str, Any] | None = None,
        plugins: Sequence[Path | str] = (),
        resume_with_changes: bool = False,
    ) -> None:
        trl_arguments.refuse(
            tools=tools,
            rollout_func=rollout_func,
            environment_factory=environment_factory,
            reward_processing_classes=reward_processing_classes,
        )
        if "hang_timeout_s" in (guard or {}):
            raise BadInput(
                "guard={'hang_timeout_s': ...} does nothing in LenrlTrainer: a script's processes are its own to "
                "end, and lenrl.train ends those of a run that hangs. Leave it out."
            )
        script = Script(
            model,
            args or trl_arguments.default_config(model),
            {"train_dataset": train_dataset, "eval_dataset": eval_dataset},
            reward_funcs,
            processing_class,
            peft_config,
            Choices(method, verifier, task or {}, guard or {}, plugins, resume_with_changes),
        )
        self.built = script.built()
        super().__init__(
            self.built.parts,
            model=find(model) if isinstance(model, str) else model,
            args=script.settled,
            processing_class=script.info.tokenizer,
            callbacks=[*(callbacks or []), *([] if script.args.disable_tqdm else [ProgressBar()])],
            optimizers=optimizers,
            quantization_config=quantization_config,
            peft_config=peft_config,
            **self.built.data(),
        )
        self.built.equip(self)

    def train(
        self,
        resume_from_checkpoint: bool | str | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> Any:
        """Train to the end and write `model/` into `args.output_dir`; TRL's result.

        SIGTERM and Ctrl-C write a checkpoint of the last optimizer step first.

        Args:
            resume_from_checkpoint: True goes on from the newest whole checkpoint of `args.output_dir`, or begins where
                there is none; a path from that one.
            trial, ignore_keys_for_eval: not used here.

        Raises:
            BadInput: the folder holds another run, or checkpoints that the call does not ask to continue.
        """
        if trial is not None or ignore_keys_for_eval:
            raise BadInput(
                "train(trial=..., ignore_keys_for_eval=...) do nothing here; search with lenrl.sweep."
            )
        folder, main = Path(str(self.args.output_dir)).absolute(), self.accelerator.is_main_process
        run = self.built.checked_run
        with ExitStack() as stack, self.built.verifiers, self._signals():
            leg.on_main(main, lambda: leg.hold(folder, stack))
            start = leg.on_main(
                main, lambda: leg.begin(run, folder, resume_from_checkpoint, self.group.processes)
            )
            if main:
                self.built.note_data(folder)
            output = run_process.train(self, folder, start, super().train)
            run_process.save_model(self, folder / "model")
            if main:
                leg.finish(folder, run_process.summary(self))
            self.accelerator.wait_for_everyone()
        return output

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **card: Any,
    ) -> Any:
        """Upload the best weights (else the final ones), a card of the run, its report and its recipe; nothing else.

        They go to `args.hub_model_id`, which is by default named as the run's folder. The arguments are TRL's, and so
        is the result, on the main process.

        Raises:
            BadInput: `train` has not ended yet, or an argument for TRL's card is given.
            RunFailed: the hub cannot be reached or refuses it.
        """
        if card:
            raise BadInput(f"push_to_hub({next(iter(card))}=...): the card is that of the run. Leave it out.")
        folder, args = Path(str(self.args.output_dir)).absolute(), self.args
        commits = []

        def upload() -> None:
            if not (folder / "training.json").is_file():
                raise BadInput(f"push_to_hub: {folder} holds no trained model yet. Call train() first.")
            commit = hub.commit(
                folder,
                args.hub_model_id or folder.name,
                commit_message or folder.name,
                private=args.hub_private_repo if private is None else private,
                token=token or args.hub_token,
                revision=revision or args.hub_revision,
                blocking=blocking,
            )
            commits.append(commit)

        leg.on_main(self.accelerator.is_main_process, upload)
        return commits[0] if commits else None

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM are the run's for the length of a block, if this thread may decide that."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        self.stop.install()
        try:
            yield
        except Stopped as end:
            if end.code == 128 + signal.SIGINT:
                raise KeyboardInterrupt from end
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
