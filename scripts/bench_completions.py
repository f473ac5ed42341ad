"""Completions of scripts/bench.py that are not the trained model's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from lenrl.generation import transformers_engine
from lenrl.generation.base import Decoding
from lenrl.generation.sampling import sample
from lenrl.tasks.prompts import Prompts


def substitute(trainer: Any, source: Callable[[Sequence[Sequence[int]]], list[list[int]]]) -> None:
    """From now on completions are `source`'s."""
    trainer._generate_single_turn = lambda prompt_ids, *_, **__: (source(prompt_ids), None)


class Recorded:
    """Completions of another model, the same ones whenever and by whomever the prompts are asked."""

    def __init__(self, model: str, cap: int) -> None:
        self.model, self.cap = model, cap
        self.known: dict[tuple[tuple[int, ...], ...], list[list[int]]] = {}

    @cached_property
    def loaded(self):
        return transformers_engine.load(self.model)

    def __call__(self, prompt_ids: Sequence[Sequence[int]]) -> list[list[int]]:
        key = tuple(map(tuple, prompt_ids))
        if key not in self.known:
            loaded, decoding = self.loaded, Decoding(temperature=1.0, max_new_tokens=self.cap)
            completions = sample(
                loaded.model, loaded.info.tokenizer, prompt_ids, decoding, eos_ids=loaded.info.eos_ids
            )
            self.known[key] = [completion.ids for completion in completions]
        return self.known[key]


class Uniform:
    """Completions of `cap` tokens each, of which every other one is right: nothing is flat, nothing is padding."""

    def __init__(self, prompts: Prompts, cap: int) -> None:
        self.tokenizer, self.cap = prompts.tokenizer, cap
        problems = prompts.task.problems("train")
        self.answers: Mapping[tuple[int, ...], int] = {
            tuple(prompts.ids(problem)): int(problem.answer or 0) for problem in problems
        }

    def __call__(self, prompt_ids: Sequence[Sequence[int]]) -> list[list[int]]:
        return [
            self._completion(self.answers[tuple(ids)], place % 2 == 0) for place, ids in enumerate(prompt_ids)
        ]

    def _completion(self, answer: int, right: bool) -> list[int]:
        def ids(text: str) -> list[int]:
            return self.tokenizer(text, add_special_tokens=False)["input_ids"]

        head, step = ids("<think>\n"), ids("1+1=2\n")
        tail = [*ids(f"</think>\n\\boxed{{{(answer + (not right)) % 10}}}"), self.tokenizer.eos_token_id]
        room = self.cap - len(head) - len(tail)
        return [*head, *(step * self.cap)[:room], *tail]
