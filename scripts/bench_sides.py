"""Both sides of scripts/bench.py: stock TRL and lenrl, built from the same recipe, each training a few steps a turn."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from bench_completions import Recorded, Uniform, substitute
from bench_memory import PeakMemory
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.grpo_trainer import GRPOTrainer

from lenrl import run_process
from lenrl.config import compose
from lenrl.generation import transformers_engine
from lenrl.generation.pretrained import find
from lenrl.generation.sampling import completion_text
from lenrl.tasks.prompts import Prompts
from lenrl.training.build import build
from lenrl.training.grpo_config import grpo_config
from lenrl.training.prepare import prepare
from lenrl.verify.pool import Claim, Verifier
from lenrl.verify.several import Verifiers


@dataclass(frozen=True)
class Settings:
    """What both sides have in common."""

    model: str  # folder, or `tiny`
    sampler: str | None  # model whose completions take the place of the trained one's
    made_up: bool  # completions of one length, half of each group right, take that place
    prompts: int  # of a rollout
    group: int  # completions a prompt
    cap: int  # tokens
    steps: int  # optimizer steps a turn
    memory: bool = False  # peak memory of the update is measured
    own: tuple[str, ...] = ()  # overrides of lenrl's recipe

    def overrides(self) -> list[str]:
        """Lines that make the recipe `grpo` the benchmark's."""
        gpu = ["launch=single_gpu", "model.dtype=bfloat16"] if torch.cuda.is_available() else []
        if gpu and find_spec("vllm") and self.sampler is None:
            gpu += [
                "trainer.use_vllm=true",
                "trainer.vllm_mode=colocate",
                "trainer.vllm_gpu_memory_utilization=0.3",
            ]
        trainer = {
            "per_device_train_batch_size": self.prompts * self.group,
            "num_generations": self.group,
            "max_completion_length": self.cap,
            "max_steps": self.steps,
            "learning_rate": 1e-12,
            "lr_scheduler_type": "constant",
            "warmup_steps": 0,
            "save_steps": 0,
            "eval_steps": 0,
        }
        lines = [f"trainer.{name}={value}" for name, value in trainer.items()]
        return [
            *gpu,
            *lines,
            "model=tiny",
            f"model.path={self.model}",
            "guard.truncated_rollouts=1000000",
            "task.dev=0",
        ]


class Side:
    """One of the two: `turn` trains some steps and gives the mean seconds of a step by phase, or MiB."""

    name: str
    trainer: GRPOTrainer
    verifier: Verifier | Verifiers

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.steps: list[dict[str, float]] = []  # of the last turn
        self.grad_norms: list[float] = []
        self.useful_token_share = self.groups_with_signal = 0.0

    def __enter__(self):
        self.verifier.__enter__()
        return self

    def __exit__(self, *fault) -> None:
        self.verifier.__exit__(*fault)

    def ready(self, prompts: Prompts) -> None:
        """Put the case's completions and meters into the trainer."""
        trainer, settings = self.trainer, self.settings
        trainer.remove_callback(PrinterCallback)
        if settings.memory:
            meter = PeakMemory(trainer)
            trainer.add_callback(meter)
            self.meter = meter
        if settings.sampler is not None:
            substitute(trainer, Recorded(settings.sampler, settings.cap))
        elif settings.made_up:
            substitute(trainer, Uniform(prompts, settings.cap))

    def turn(self) -> dict[str, float]:
        self.steps = self.trained()
        if self.settings.memory:
            return {"peak_mib": self.meter.peak_mib}
        return {name: mean(step[name] for step in self.steps) for name in self.steps[0]}

    def trained(self) -> list[dict[str, float]]:
        """Train; seconds by phase of each optimizer step."""
        raise NotImplementedError


class Lenrl(Side):
    """The trainer of `lenrl train grpo`; seconds from its own metrics.jsonl, as for TRL all that is left is update."""

    name = "lenrl"

    def __init__(self, settings: Settings, folder: Path) -> None:
        super().__init__(settings, folder)
        checked_run = prepare(compose("grpo", [*settings.overrides(), *settings.own]))
        folder.mkdir(parents=True)
        self.trainer, self.verifier = self.lenrl, _ = build(checked_run, grpo_config(checked_run, folder))
        self.ready(self.lenrl.rollout.problem_set.prompts)

    def trained(self) -> list[dict[str, float]]:
        run_process.train(self.lenrl, self.folder, None)
        lines = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        self.grad_norms = [line["grad_norm"] for line in lines]
        self.useful_token_share = mean(line["useful_token_share"] or 0.0 for line in lines)
        self.groups_with_signal = mean(line["groups_with_signal"] for line in lines)
        seconds = [
            {name: line[f"time_{name}_s"] for name in ("step", "generate", "verify")} for line in lines
        ]
        return [both | {"update": both["step"] - both["generate"] - both["verify"]} for both in seconds]


class Stock(Side):
    """TRL's own trainer, with a reward function that gives lenrl's verdicts."""

    name = "trl"

    def __init__(self, settings: Settings, folder: Path) -> None:
        super().__init__(settings, folder)
        checked_run = prepare(compose("grpo", settings.overrides()))
        tokenizer = transformers_engine.load_tokenizer_info(
            settings.model, checked_run.recipe.model
        ).tokenizer
        prompts = Prompts(checked_run.task, tokenizer)
        problems = {problem.id: problem for problem in checked_run.task.problems("train")}
        self.verifier = verifier = Verifier(checked_run.verifier)

        def reward(prompt_id: list[str], completion_ids: list[list[int]], **_: object) -> list[float]:
            texts = [completion_text(tokenizer, ids, self.trainer.eos_token_ids) for ids in completion_ids]
            golds = [problems[name].answer for name in prompt_id]
            claims = [Claim(text, gold) for text, gold in zip(texts, golds, strict=True)]
            return [float(bool(verdict.correct)) for verdict in verifier.verify(claims)]

        self.trainer = TimedGRPO(
            model=find(settings.model),
            reward_funcs=[reward],
            args=grpo_config(checked_run, folder),
            train_dataset=Dataset.from_list([prompts.row(problem) for problem in problems.values()]),
            processing_class=tokenizer,
        )
        self.ready(prompts)

    def trained(self) -> list[dict[str, float]]:
        clock: Any = self.trainer
        clock.begin_turn()
        self.trainer.train()
        self.grad_norms = clock.grad_norms
        self.useful_token_share = mean(clock.useful_token_shares)
        return clock.steps


class TimedGRPO(GRPOTrainer):
    """Stock TRL with a stopwatch: a step from where it begins to its log, as lenrl's metrics have it."""

    def __init__(self, **options: Any) -> None:
        self.begin_turn()
        super().__init__(**options)
        self.add_callback(OnStepBegin(self._begin_step))

    def begin_turn(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.grad_norms: list[float] = []
        self.useful_token_shares: list[float] = []

    def _begin_step(self) -> None:
        self._seconds = {"generate": 0.0, "verify": 0.0}
        self._began = time.perf_counter()

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._seconds[phase] += time.perf_counter() - began

    def _generate(self, prompts):
        with self._timed("generate"):
            return super()._generate(prompts)

    def _calculate_rewards(self, *args):
        with self._timed("verify"):
            return super()._calculate_rewards(*args)

    def _generate_and_score_completions(self, inputs):
        batch = super()._generate_and_score_completions(inputs)
        tokens_N = batch["prompt_mask"].sum(-1) + batch["completion_mask"].sum(-1)
        computed = batch["prompt_mask"].numel() + batch["completion_mask"].numel()
        self.useful_token_shares.append(float(tokens_N[batch["advantages"] != 0].sum() / computed))
        return batch

    def log(self, logs, start_time=None):
        if "grad_norm" in logs:
            step, spent = time.perf_counter() - self._began, sum(self._seconds.values())
            self.steps.append({"step": step, **self._seconds, "update": step - spent})
            self.grad_norms.append(logs["grad_norm"])
        super().log(logs, start_time)


@dataclass(eq=False)
class OnStepBegin(TrainerCallback):
    call: Callable[[], None]

    def on_step_begin(self, args, state, control, **_) -> None:
        self.call()
