"""Problems from rows with named columns, wherever the rows come from."""

from __future__ import annotations

import abc
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lenrl.errors import NAMED, BadInput, did_you_mean
from lenrl.tasks.base import Task
from lenrl.tasks.conversation import read
from lenrl.tasks.golds import Form, gold, other_form
from lenrl.tasks.problem import Problem
from lenrl.tasks.rows import Row

# Names that data sets give these columns, for the message where the one asked for is not there.
USUAL = {
    "prompt": ("question", "problem", "query", "instruction", "messages", "input"),
    "answer": ("solution", "final_answer", "ground_truth", "reward_model.ground_truth", "gold", "target"),
}


class RowTask(Task, abc.ABC, frozen=True):
    """Rows with a prompt (text, or messages that end with the user's) and a gold answer, by the columns' names.

    A name with dots reaches into nested columns (`reward_model.ground_truth`). `keep` names the other columns
    to keep (null: all); strategies and functions find the grades there only if it names them.
    """

    prompt: str = "prompt"  # column of the prompts: texts, or messages that end with the user's
    answer: str | None = "answer"  # null: the task has no gold answers
    answer_form: Form = "plain"  # how the gold answer stands in its column
    difficulty: str = "difficulty"  # optional in the data, unless it is named
    keep: tuple[str, ...] | None = None  # further columns; long ones cost memory on every process

    @property
    def labelled(self) -> bool:
        return self.answer is not None

    def where_answered(self) -> RowTask:
        """This task, or the same one without gold answers if no row has any."""
        if self.answer is None or any(
            (gold(value_of(row.values, self.answer)) or "").strip() for row in self.rows("train")
        ):
            return self
        return self.model_copy(update={"answer": None})

    @abc.abstractmethod
    def rows(self, split: str) -> list[Row]:
        """The rows that a split's problems come from."""

    def belongs(self, problem: Problem, split: str) -> bool:
        """A problem of `rows(split)` is one of the split's."""
        return True

    def problems(self, split: str, count: int | None = None) -> list[Problem]:
        """The problems of a split in the data's order; `count` (default: the split's own) takes the first.

        Raises:
            BadInput: columns that are not there, all of them in one message; a row without a prompt; gold
                answers of another form than `answer_form`; fewer problems than asked for.
        """
        count = self.count(split) if count is None else count
        rows = self.rows(split)
        if faults := list(self._column_faults(rows)):
            raise BadInput("\n".join(faults))
        seen: dict[str, int] = {}
        problems = [self._problem(row, seen) for row in rows]
        problems = [problem for problem in problems if self.belongs(problem, split)]
        if count is not None and len(problems) < count:
            raise BadInput(
                f"task.{split}={count} problems asked, but {self.source_name(split)} has {len(problems)} of them, in "
                f"{len(rows)} rows; ask for fewer, or leave task.{split} out to take all"
            )
        return problems[:count]

    def source_name(self, split: str) -> str:
        """The place of a split's rows, for messages."""
        return f"the {split} data"

    def _column_faults(self, rows: Sequence[Row]) -> Iterator[str]:
        """A line a column that no row has, and one on the form of the gold answers."""
        if not rows:
            return
        named = {"prompt": self.prompt} | ({"answer": self.answer} if self.answer is not None else {})
        named |= {"difficulty": self.difficulty} if "difficulty" in self.model_fields_set else {}
        missing = [(role, column) for role, column in named.items() if not _in_any(rows, column)]
        missing += [("keep", column) for column in self.keep or () if not _in_any(rows, column)]
        columns = sorted({str(name) for row in rows for name in row.values})
        for role, column in missing:
            near = next((name for name in USUAL.get(role, ()) if _in_any(rows, name)), None)
            hint = f" Did you mean task.{role}={near}?" if near else ""
            hint = did_you_mean(column, columns, f"task.{role}={{}}") or hint
            none = " (task.answer=null: there are no gold answers)" if role == "answer" else ""
            purpose = "to keep" if role == "keep" else f"for the {role}"
            listed = ", ".join(map(repr, columns[:NAMED])) + (", ..." if len(columns) > NAMED else "")
            yield (
                f"{rows[0].where}: no column {column!r} {purpose}, only {listed or 'none'}. "
                f"Name the column by task.{role}{none}.{hint}"
            )
        if self.answer is not None and not missing:
            golds = [value_of(row.values, self.answer) for row in rows]
            if fault := other_form(golds, self.answer_form):
                yield f"{rows[0].where}: column {self.answer!r} {fault}"

    def _problem(self, row: Row, seen: dict[str, int]) -> Problem:
        if value_of(row.values, self.prompt, missing := object()) is missing:
            raise BadInput(
                f"{row.where}: no column {self.prompt!r} for the prompt, which other rows have; fix the row"
            )
        try:
            prompt, context = read(value_of(row.values, self.prompt))
        except ValueError as fault:
            raise BadInput(
                f"{row.where}: {self.prompt!r} {fault}, or name another column by task.prompt"
            ) from None
        if context and context[0][0] == "system" and self.system_prompt is not None:
            raise BadInput(
                f"{row.where}: the conversation has a system message of its own, and task.system_prompt is set; "
                "give task.system_prompt=null, or leave the system messages out of the data"
            )
        digest = hashlib.blake2b(spelled(prompt, context).encode(), digest_size=8).hexdigest()
        seen[digest] = seen.get(digest, 0) + 1
        used = {self.prompt, self.answer} | ({self.difficulty} - set(self.keep or ()))
        grade = value_of(row.values, self.difficulty)
        return Problem(
            id=f"{self.name}:{digest}" + (f"-{seen[digest]}" if seen[digest] > 1 else ""),
            prompt=prompt,
            answer=gold(value_of(row.values, self.answer), self.answer_form) if self.answer else None,
            difficulty=grade if grade is None or isinstance(grade, str | int) else str(grade),
            columns={
                name: value
                for name, value in row.values.items()
                if name not in used and (self.keep is None or name in self.keep)
            },
            where=row.where,
            context=context,
        )


def value_of(values: Mapping[str, Any], column: str, missing: Any = None) -> Any:
    """The value of a column; a name with dots that is no column itself reaches into nested ones.

    >>> value_of({"reward_model": {"ground_truth": "7"}}, "reward_model.ground_truth")
    '7'
    """
    if column in values:
        return values[column]
    first, _, rest = column.partition(".")
    inner = values.get(first)
    return value_of(inner, rest, missing) if rest and isinstance(inner, Mapping) else missing


def spelled(prompt: str, context: Sequence[tuple[str, str]]) -> str:
    """A question as one text, for hashes: the prompt itself where nothing stands before it."""
    return json.dumps([*context, ["user", prompt]]) if context else prompt


def _in_any(rows: Sequence[Row], column: str) -> bool:
    missing = object()
    return any(value_of(row.values, column, missing) is not missing for row in rows)
