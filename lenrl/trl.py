"""A method's reward for scripts that stay on stock TRL: `trl.GRPOTrainer(reward_funcs=reward_func("grpo_lambda"))`.

Only the reward slot fits behind TRL's reward functions; `lenrl.LenrlTrainer` has the others.
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from lenrl.api import methods
from lenrl.errors import BadInput
from lenrl.rollouts import Rollouts
from lenrl.strategies import registry, scoring
from lenrl.strategies.base import PromptBudget, Reward, RunInfo
from lenrl.strategies.method import SLOTS, Method
from lenrl.tasks import think_prefilled
from lenrl.tasks.golds import gold
from lenrl.verify.pool import Claim, Verifier
from lenrl.verify.settings import VerifierSettings

log = logging.getLogger("lenrl")

ANSWERS = ("answer", "solution")
REMEDY = "use lenrl.LenrlTrainer, which takes TRL's arguments"


def reward_func(
    method: methods.Given,
    *,
    answer: str | None = None,
    max_length: int | None = None,
    verifier: str | Mapping[str, Any] = "math",
    plugins: Sequence[Path | str] = (),
    **options: Any,
) -> GroupReward:
    """A method's reward as a function for `reward_funcs` of TRL's own `GRPOTrainer`, which stays as it is.

        GRPOTrainer(model, reward_funcs=reward_func("grpo_lambda", alpha=0.3), train_dataset=dataset)

    It verifies the completions, in killable workers, and rewards the whole groups that it sees. It cannot

    - compute advantages, use an objective, shorten or cap completions, add hints to prompts, or choose which groups
      are trained on: methods that live there are refused;
    - put a group together that several processes share, or rank the groups of all processes: both are refused;
    - keep state: TRL saves none of a reward function, so that a resumed run would begin with an empty one. Refused;
    - leave a completion out whose verdict is unknown: it returns None, which TRL takes for 0 where no other function
      gives a number;
    - see tokens that TRL's decoding skips: a tokenizer whose `<think>` is a special token hides it from the format.

    Args:
        method: a recipe's name, slots such as `{"reward": "kimi"}`, or a `Method`.
        answer: the column of gold answers; None: `answer` or `solution`.
        max_length: L_max, tokens, for calls outside a trainer; in one it is `args.max_completion_length`.
        verifier: its kind or settings.
        plugins: files with strategies of the caller's own.
        **options: of its reward, `alpha=0.3`.

    Raises:
        BadInput: the method needs more than a reward, or an option is unknown.
    """
    named = methods.read(method, plugins, **options)
    _refuse(named)
    spec = {"kind": verifier} if isinstance(verifier, str) else dict(verifier)
    name = named.name if isinstance(method, str) else named.method.reward.name
    return GroupReward(name, named.method, Verifier(VerifierSettings.read(spec)), answer, max_length)


def _claims(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    golds: Sequence[str | None],
    columns: Mapping[str, Any],
    tokenizer: Any,
) -> list[Claim]:
    """A claim for each completion, with its prompt and its row's columns."""
    data = {name: values for name, values in columns.items() if isinstance(values, list)}
    return [
        Claim(
            _text(completion),
            golds[i],
            _opened(prompts[i], tokenizer),
            {"prompt": _text(prompts[i]), **{name: values[i] for name, values in data.items()}},
        )
        for i, completion in enumerate(completions)
    ]


def _refuse(named: methods.NamedMethod) -> None:
    """Refuse what a reward function cannot do; say which fields of the recipe's trainer are the caller's to set."""
    plain, method = methods.plain().method, named.method
    reward = registry.spec(method.reward)
    for slot in SLOTS:
        own = registry.spec(method.slots[slot])
        if slot != "reward" and own != registry.spec(plain.slots[slot]):
            raise BadInput(
                f"method {named.name!r} has {slot} {own['name']!r}, which a reward function has no hand in: {REMEDY}. "
                f"For its reward alone: reward_func({{'reward': {reward}}})"
            )
    if method.functions:
        raise BadInput("the method adds reward functions: give them to TRL's reward_funcs, beside this one")
    if method.reward.state_dict():
        raise BadInput(
            f"reward {method.reward.name!r} learns as it goes, and TRL saves no state of a reward function: {REMEDY}"
        )
    if "steps" in method.reads:
        raise BadInput(
            f"reward {method.reward.name!r} reads steps in tokens, which TRL does not give: {REMEDY}"
        )
    if named.trainer:
        fields = ", ".join(f"{name}={value!r}" for name, value in named.trainer.items())
        log.warning("recipe %r also sets %s, which is for your GRPOConfig to set", named.name, fields)


class GroupReward:
    """A reward function for TRL; `reward_func` makes one. Its workers end with the program, or by `close`."""

    def __init__(
        self, name: str, method: Method, verifier: Verifier, answer: str | None, max_length: int | None
    ) -> None:
        self.__name__ = name
        self.method = method
        self._answer, self._max_length = answer, max_length
        self._verifier = verifier
        self._checked = False
        weakref.finalize(self, verifier.close)  # also at the program's exit

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float | None]:
        """Rewards, a completion each in order; None where nobody can say what is right.

        Args:
            prompts, completions: texts or messages, groups adjacent.
            completion_ids: token ids; a generated EOS counts.
            **columns: of the data, a value a completion, and what else TRL hands over.

        Raises:
            BadInput: a group that is not whole, no answers, or data that the method cannot work on.
            BadStrategy, NonfiniteReward: the method's reward is at fault.
        """
        trainer = getattr(columns.get("log_metric"), "__self__", None)  # TRL's, whose method it is
        max_length = getattr(trainer, "max_completion_length", self._max_length)
        if max_length is None:
            raise BadInput("max_length is not known outside a trainer: reward_func(..., max_length=4096)")
        size = _group_size(prompts, trainer)
        self._check(RunInfo(size, max_length, columns=frozenset(columns)), trainer)
        golds = self._golds(columns, len(prompts))
        claims = _claims(prompts, completions, golds, columns, getattr(trainer, "processing_class", None))
        verdicts = self._verifier.verify(claims)
        end_ids = getattr(trainer, "eos_token_ids", ())

        def row(i: int) -> scoring.Row:
            ids = completion_ids[i]
            return scoring.Row(
                prompt_id=str(prompts[i]),
                length=len(ids),
                truncated=len(ids) >= max_length and ids[-1] not in end_ids,
                verdict=verdicts[i],
                prompt_budget=PromptBudget(),
                columns={name: columns[name][i] for name in self.method.reads_columns},
                carried=scoring.carry(
                    self.method.reads,
                    prompt=lambda: _text(prompts[i]),
                    gold=lambda: golds[i],
                    text=lambda: claims[i].text,
                    token_ids=lambda: tuple(ids),
                    answer=lambda: verdicts[i].answer,
                ),
            )

        step = getattr(columns.get("trainer_state"), "global_step", 0)
        rollouts = scoring.build_rollouts([row(i) for i in range(len(prompts))], size, max_length, step)
        _log(rollouts, columns.get("log_metric"))
        total = self.method.rewards(rollouts).total_PG.flatten().tolist()
        return [None if math.isnan(reward) else reward for reward in total]

    def close(self) -> None:
        """End the workers; the next call would start new ones."""
        self._verifier.close()

    def _check(self, run_info: RunInfo, trainer: Any) -> None:
        """Refuse once what the run's own settings make impossible, and say what they make less."""
        if self._checked:
            return
        args, reward = getattr(trainer, "args", None), self.method.reward
        scaled = getattr(args, "scale_rewards", "group") in ("group", True)
        run_info = replace(run_info, scaled_by_group_std=scaled)
        faults = [*self.method.errors(run_info), *self._verifier.settings.errors(run_info.columns or ())]
        for entry in self.method.forbids:
            if getattr(args, entry.field, None) == entry.value:
                faults.append(f"reward {reward.name!r} and args.{entry.field}={entry.value!r}: {entry.why}")
        if trainer is not None and trainer.accelerator.num_processes > 1 and _compares_groups(reward):
            faults.append(
                f"reward {reward.name!r} compares the groups of the whole batch, and each of several processes sees "
                f"only its own: {REMEDY}"
            )
        if faults:
            raise BadInput("\n".join(faults))
        for sentence in reward.warnings(run_info):
            log.warning("%s", sentence)
        self._checked = True

    def _golds(self, columns: Mapping[str, Any], count: int) -> list[str | None]:
        names = ANSWERS if self._answer is None else (self._answer,)
        name = next((name for name in names if name in columns), None)
        if name is not None:
            return [gold(value) for value in columns[name]]
        if self.method.reads_verdicts and self._verifier.settings.needs_gold:
            raise BadInput(
                f"no column {' or '.join(map(repr, names))} of gold answers: the data has {sorted(columns)}; name one, "
                "reward_func(..., answer='COLUMN')"
            )
        return [None] * count


def _compares_groups(reward: Reward) -> bool:
    return "groups_leak" in reward.declares


def _log(rollouts: Rollouts, log_metric: Any) -> None:
    """The share of right answers, beside TRL's own figures: the reward alone does not tell it."""
    known = rollouts.correct_PG[rollouts.known_PG]
    if log_metric is not None and known.numel():
        log_metric("accuracy", known.mean().item())


def _group_size(prompts: Sequence[Any], trainer: Any) -> int:
    """Completions a group, G: the trainer's, or without one those of one prompt that are adjacent.

    Raises:
        BadInput: a group that is not whole.
    """
    runs = [sum(1 for _ in run) for _, run in groupby(prompts)]
    size = runs[0]
    if trainer is not None:
        size = trainer.num_generations if trainer.model.training else trainer.num_generations_eval
    if size > 1 and all(run % size == 0 for run in runs):
        return size
    raise BadInput(
        f"a reward of groups needs them whole: {size} completions a prompt, at least 2, are expected, and the adjacent "
        f"ones number {runs[:8]}. Let every process have whole groups (per_device_train_batch_size times "
        f"steps_per_generation a multiple of num_generations), or {REMEDY}"
    )


def _text(completion: Any) -> str:
    """The text of a completion or prompt; of messages, the last one's."""
    text = completion if isinstance(completion, str) else completion[-1].get("content")
    if not isinstance(text, str):
        raise BadInput(
            f"a message holds {type(text).__name__}, not text: only texts can be verified; {REMEDY}"
        )
    return text


def _opened(prompt: Any, tokenizer: Any) -> bool:
    """The prompt as the model reads it ends with an open `<think>`."""
    if isinstance(prompt, str):
        return prompt.rstrip().endswith("<think>")
    return tokenizer is not None and think_prefilled(tokenizer)
