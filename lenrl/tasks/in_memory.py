"""Problems from rows that a program holds: the task of a data set that is given, not named."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import PrivateAttr

from lenrl.errors import validated
from lenrl.tasks.base import SPLITS
from lenrl.tasks.row_task import RowTask
from lenrl.tasks.rows import Row, checked


class InMemoryTask(RowTask, frozen=True):
    """Rows by split, with the options of a table's columns. No recipe can name it: `of` makes one.

    >>> task = InMemoryTask.of({"train": [{"prompt": "1+1?", "solution": 2}]}, answer="solution")
    >>> [(problem.prompt, problem.answer) for problem in task.problems("train")], task.problems("test")
    ([('1+1?', '2')], [])
    """

    name: Literal["rows"] = "rows"
    _rows: dict[str, list[Row]] = PrivateAttr(default_factory=dict)

    @classmethod
    def of(cls, rows: Mapping[str, Iterable[Mapping[str, Any]]], **options: Any) -> InMemoryTask:
        """The task of rows by split (train, dev, test); a split that is not there has no problems.

        Args:
            rows: each a mapping of columns, such as `datasets.Dataset` gives.
            **options: of the task, such as `prompt`, `answer`, `answer_form`, `template`.

        Raises:
            BadInput: a bad option, or a row that is no mapping or holds text that no tokenizer can read.
        """
        empty = {split: 0 for split in SPLITS if split not in rows}
        task = validated(cls, empty | options, "task", "task=")
        for split, given in rows.items():
            places = (f"{split} data, row {number}" for number in itertools.count(1))
            task._rows[split] = [checked(Row(where, row)) for where, row in zip(places, given, strict=False)]
        return task

    def rows(self, split: str) -> list[Row]:
        return self._rows.get(split, [])
