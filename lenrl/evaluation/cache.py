"""Completions on disk as they are sampled, so that an interrupted evaluation continues where it stopped."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from lenrl.errors import BadInput
from lenrl.evaluation.fingerprint import differences
from lenrl.generation.base import Completion
from lenrl.measures import SUMMARIES

LOGPS = tuple(f"logp_{name}" for name in SUMMARIES)  # columns, where they were asked for
KEY = b"lenrl"  # in the parquet file's metadata: what its completions were sampled from


class CompletionCache:
    """The completions of one model and decoding: those found in a folder, and those added to it.

    They stand in `completions-STEM.part.jsonl`, of which the first line says what they were sampled from,
    until `lenrl.evaluation.output.write` puts all into `completions-STEM.parquet`. Where both stand, log-probs were
    asked for after it was finished, and the first has the newer rows.

    Args:
        folder: None: nothing is kept.
        stem: names the files.
        source: fingerprint and weights.
        replace: start anew if the folder holds completions of another source.
        logps: completions without summaries of their log-probs are none.

    Raises:
        BadInput: the folder holds completions of another source, or can't be written.
    """

    def __init__(
        self,
        folder: Path | None,
        stem: str,
        source: Mapping[str, object],
        replace: bool,
        *,
        logps: bool = False,
    ) -> None:
        self.source = json.loads(json.dumps(source))  # as it reads back
        self.done: dict[int, Completion] = {}
        self._part = None if folder is None else folder / f"completions-{stem}.part.jsonl"
        if folder is None or self._part is None:
            return
        whole = folder / f"completions-{stem}.parquet"
        if whole.exists() and self._same(source_of(whole), whole, replace):
            self.done = dict(enumerate(_completions(whole)))
        if self._part.exists():
            self._continue(replace)
        if logps:
            self.done = {row: c for row, c in self.done.items() if c.confidence is not None}

    def add(self, completions: Mapping[int, Completion]) -> None:
        """Keep a batch of completions, by row; on disk when this returns."""
        if self._part is None:
            return
        lines = [] if self._part.exists() else [json.dumps(self.source)]
        lines += [json.dumps([row, c.truncated, c.ids, *_more(c)]) for row, c in completions.items()]
        try:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            with self._part.open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))
        except OSError as error:
            raise BadInput(f"{self._part} can't be written ({error}); give another folder") from error

    def _continue(self, replace: bool) -> None:
        assert self._part is not None
        content = self._part.read_bytes()
        whole = content.rfind(b"\n") + 1  # the last line of a killed process may be cut
        try:
            source, *rows = [json.loads(line) for line in content[:whole].splitlines()] or [None]
            done = {row: _read(ids, truncated, *more) for row, truncated, ids, *more in rows}
        except (ValueError, TypeError) as error:
            raise BadInput(f"{self._part} is damaged ({error}); remove it to sample again") from None
        if source is None or not self._same(source, self._part, replace):
            self._part.unlink()
            return
        if whole < len(content):  # what is whole is not written anew: a kill at this point would lose it
            os.truncate(self._part, whole)
        self.done |= done

    def _same(self, source: Mapping[str, object], path: Path, replace: bool) -> bool:
        if source == self.source or replace:
            return source == self.source
        reason = "it does not say what it was sampled from"
        if source:
            reason = "; ".join(differences(source, self.source))
        raise BadInput(
            f"{path} holds completions that were sampled otherwise ({reason}). Give the same command to continue, "
            "or another folder: --out DIR"
        )


def _more(completion: Completion) -> list[Any]:
    """Additions of a control, and the summaries of log-probs, as far as there are any."""
    control = [completion.spent, completion.forced]
    if completion.confidence is not None:
        return [*control, completion.confidence]
    return control if completion.spent or completion.forced else []


def _completions(path: Path) -> list[Completion]:
    """The completions of a parquet file."""
    wanted = ("ids", "truncated", "tokens", "forced", *LOGPS)
    names = [name for name in wanted if name in pq.read_schema(path).names]
    table = pq.read_table(path, columns=names).to_pydict()
    control = table["tokens"], table.get("forced") or [0] * len(table["ids"])
    summaries = [zip(*(table[name] for name in LOGPS), strict=True)] if LOGPS[0] in table else []
    return [_read(*row) for row in zip(table["ids"], table["truncated"], *control, *summaries, strict=True)]


def _read(
    ids: list[int],
    truncated: bool,
    spent: int | None = None,
    forced: int = 0,
    summaries: Sequence[float] | None = None,
) -> Completion:
    confidence = None if summaries is None else tuple(summaries)
    return Completion(ids, truncated, spent=spent, forced=forced, confidence=confidence)


def source_of(path: Path) -> dict[str, Any]:
    """Fingerprint and weights in a parquet file of completions; empty if it does not say, or is none."""
    try:
        return json.loads((pq.read_schema(path).metadata or {}).get(KEY, b"{}"))
    except (OSError, ValueError):  # ValueError: pyarrow's too, for a file that is no parquet
        return {}
