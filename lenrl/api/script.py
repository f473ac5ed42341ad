"""A Python script's arguments as a run: what TRL's trainer is given, checked and built as a recipe's run is."""

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from lenrl.api import methods, rewards, trl_arguments
from lenrl.api.trl_arguments import Config
from lenrl.config import OtherData, Recipe, plugin_files, short_digest
from lenrl.errors import BadInput, validated
from lenrl.evaluation.other_data import settings_of
from lenrl.generation.pretrained import ModelOptions, TokenizerInfo, end_ids, find, load_tokenizer_info
from lenrl.tasks.base import SPLITS
from lenrl.tasks.in_memory import InMemoryTask
from lenrl.tasks.prompts import think_prefilled
from lenrl.training.build import Built, build_parts
from lenrl.training.prepare import CheckedOther, CheckedRun, checked

log = logging.getLogger("lenrl")

ANSWERS = ("answer", "solution")  # columns of gold answers, where none is named
IMAGES = ("image", "images")


@dataclass(frozen=True)
class Choices:
    """Settings of a script beyond TRL's arguments; see `LenrlTrainer`."""

    method: methods.Given | None
    verifier: str | Mapping[str, Any] | rewards.Function | None
    task: Mapping[str, Any]
    guard: Mapping[str, Any]
    plugins: Sequence[Path | str]
    resume_with_changes: bool


@dataclass(frozen=True)
class Script:
    """TRL's arguments of one trainer."""

    model: str | PreTrainedModel
    args: Config
    data: Mapping[str, Any]  # train_dataset, eval_dataset
    reward_funcs: Any
    processing_class: Any
    peft_config: Any
    choices: Choices

    def built(self) -> Built:
        """The run's parts, audited; no model is loaded.

        Raises:
            BadInput: what cannot work, with the reason and the remedy.
        """
        run = self._checked_run()
        conversation = not isinstance(self._first_prompt, str)
        return build_parts(run, Path(str(self.args.output_dir)), self.info if conversation else self._as_text)

    def _checked_run(self) -> CheckedRun:
        choices, verifier = self.choices, self.choices.verifier
        named = methods.read(choices.method, choices.plugins)
        functions = rewards.functions_of(self.reward_funcs, self.args.reward_weights)
        by_kind = isinstance(verifier, str | Mapping)
        if verifier is not None and not by_kind:
            functions += rewards.functions_of(rewards.verdict(verifier), None)
        method, scale = named.method, self.args.scale_rewards
        if choices.method is None:
            method = rewards.plain(method, functions, scale, verified=verifier is not None)
        elif rewards.SCALES.get(scale) != "grpo":
            raise BadInput(
                f"args.scale_rewards={scale!r} does nothing beside method=: its advantage decides. Leave it out, or "
                "give method={..., 'advantage': 'dr_grpo'}."
            )
        answer = self._answer
        judged = rewards.assign(method, functions, has_answers=answer is not None, verified=by_kind)
        if self.args.process_index == 0:
            log.info("%s", judged)
        task = self._task(answer if judged.by_answers else None)
        settings: Any = {"kind": verifier} if isinstance(verifier, str) else verifier if by_kind else {}
        recipe = trl_arguments.recipe_of(
            self.settled,
            name=named.name,
            method=judged.method,
            task=task,
            model=trl_arguments.model_section(self.model, self.args, self.info.config, self.peft_config),
            verifier=settings,
            guard=choices.guard,
            plugins=plugin_files.hashes(plugin_files.load(choices.plugins)),
            resume_with_changes=choices.resume_with_changes,
        )
        others = [self._other(name, recipe, task) for name in self._evaluated if name]
        run = checked(recipe, judged.method, task, self.args.world_size, others=others)
        overlooked = trl_arguments.overlooked(named.trainer, self.args)
        code = {**rewards.code_of(functions), "columns": _digest(self._rows["train"]) if functions else ""}
        if others:
            code["eval_dataset"] = {name: _digest(rows) for name, rows in self._evaluated.items()}
        return replace(run, code=code, warnings=[*run.warnings, *overlooked])

    @cached_property
    def settled(self) -> Config:
        """TRL's configuration with what lenrl decides."""
        return trl_arguments.settled(self.args, len(self._rows["train"]), list(self._evaluated))

    @cached_property
    def info(self) -> TokenizerInfo:
        """The tokenizer, and what is known of the model before it is loaded."""
        model, tokenizer = self.model, self.processing_class
        if tokenizer is not None and not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise BadInput(
                f"processing_class={type(tokenizer).__name__} is no tokenizer; LenrlTrainer reads text only. Give its "
                "tokenizer."
            )
        trust = {"trust_remote_code": self.args.trust_remote_code}
        generation = None
        if isinstance(model, str):
            revision = (self.args.model_init_kwargs or {}).get("revision")
            if tokenizer is None:
                info = load_tokenizer_info(model, ModelOptions(revision=revision, **trust), needs_config=True)
                return replace(info, tokenizer=_padded(info.tokenizer))
            config = AutoConfig.from_pretrained(find(model), revision=revision, **trust)
        else:
            config, generation = model.config, model.generation_config
            if tokenizer is None:
                tokenizer = AutoTokenizer.from_pretrained(config.name_or_path, padding_side="left", **trust)
        ends = end_ids(tokenizer, config, generation)
        return TokenizerInfo(_padded(tokenizer), config, ends, think_prefilled(tokenizer))

    @property
    def _as_text(self) -> TokenizerInfo:
        """With a tokenizer that gives a text to the model as it stands, as TRL does with prompts that are texts."""
        tokenizer = copy.copy(self.info.tokenizer)
        tokenizer.chat_template = None
        opened = self._first_prompt.rstrip().endswith("<think>")
        return replace(self.info, tokenizer=tokenizer, think_prefilled=opened)

    @cached_property
    def _rows(self) -> dict[str, Dataset]:
        """The data by split; a split that is not given is not there."""
        if self.data["train_dataset"] is None:
            raise BadInput("train_dataset is missing: give a datasets.Dataset with a column `prompt`.")
        dev = {"dev": self._evaluated[""]} if "" in self._evaluated else {}
        return {"train": _checked("train_dataset", self.data["train_dataset"]), **dev}

    @cached_property
    def _evaluated(self) -> dict[str, Dataset]:
        """The data sets to evaluate on, by name; one that is alone under none."""
        given = self.data["eval_dataset"]
        if isinstance(given, Mapping):
            return {str(name): _checked(f"eval_dataset[{name!r}]", rows) for name, rows in given.items()}
        return {} if given is None else {"": _checked("eval_dataset", given)}

    @property
    def _prompt(self) -> str:
        return self.choices.task.get("prompt", "prompt")

    @cached_property
    def _first_prompt(self) -> Any:
        return self._rows["train"][0].get(self._prompt)

    @property
    def _answer(self) -> str | None:
        """The column of the gold answers."""
        if "answer" in self.choices.task:
            return self.choices.task["answer"]
        return next((name for name in ANSWERS if name in self._rows["train"].column_names), None)

    def _task(self, answer: str | None) -> InMemoryTask:
        rows: Any = self._rows
        return InMemoryTask.of(rows, **{**self.choices.task, "answer": answer})

    def _other(self, name: str, recipe: Recipe, task: InMemoryTask) -> CheckedOther:
        """One of several data sets to evaluate on."""
        values = {"name": name, "task": {"name": "rows"}, "split": "dev"}
        entry = validated(OtherData, values, "eval_dataset", "its name")
        options = task.model_dump(exclude_unset=True, exclude={"name", *SPLITS})
        own = InMemoryTask.of({"dev": _dicts(self._evaluated[name])}, **options)
        verifier = own.verifier_settings(recipe.verifier)
        return CheckedOther(entry, own, verifier, settings_of(entry, recipe), as_trained=True)


def _padded(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer with a padding token, TRL's choice where it has none."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _digest(rows: Dataset) -> str:
    """A hash of every column: functions may read any."""
    return short_digest([str(sorted(row.items())) for row in _dicts(rows)])


def _dicts(rows: Iterable[Any]) -> Iterable[dict[str, Any]]:
    return (dict(row) for row in rows)


def _checked(name: str, rows: Any) -> Dataset:
    """A data set whose rows can be audited, counted and drawn again."""
    if isinstance(rows, IterableDataset):
        raise BadInput(
            f"{name} is an IterableDataset: its rows can neither be audited nor found again when a run is resumed. "
            "Give as many as you need: datasets.Dataset.from_list(list(rows.take(20_000)))."
        )
    if not isinstance(rows, Dataset):
        raise BadInput(
            f"{name} is a {type(rows).__name__}; give one datasets.Dataset, of a DatasetDict one split, for rows of "
            "your own datasets.Dataset.from_list(rows)."
        )
    if not len(rows):
        raise BadInput(f"{name} has no rows.")
    if images := [column for column in IMAGES if column in rows.column_names]:
        raise BadInput(f"{name} has a column {images[0]!r}; LenrlTrainer reads text only. Remove the column.")
    return rows
