"""Rows of data sets that the library `datasets` reads: of the hub, or saved in a folder."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from lenrl.errors import BadInput
from lenrl.tasks.rows import SUFFIXES, Row, checked

SAVED = ("dataset_info.json", "dataset_dict.json")  # in a folder that `save_to_disk` wrote


def is_saved(folder: Path) -> bool:
    """`datasets` saved a data set there with `save_to_disk`."""
    return any((folder / name).is_file() for name in SAVED)


def saved_rows(folder: Path, split: str | None, kept: Collection[str] | None = None) -> list[Row]:
    """Rows of a saved data set; without a split's name of all its splits one after the other.

    Raises:
        BadInput: the folder can't be read, or has no such split.
    """
    import datasets

    try:
        saved: Any = datasets.load_from_disk(str(folder))
    except Exception as error:  # broken files raise what Arrow, JSON and the file system have
        raise BadInput(f"{folder}: not a readable data set ({_first_line(error)}); save it again") from error
    parts: dict[str, Any] = dict(saved) if isinstance(saved, Mapping) else {"": saved}
    if split is not None:
        if split not in parts:
            there = ", ".join(filter(None, parts)) or "no splits"
            raise BadInput(f"{folder} has no split {split!r}, only {there}; name one of them in task.files")
        parts = {split: parts[split]}
    return [
        checked(Row(f"{folder}{f', {name}' if name else ''}, row {number}", row))
        for name, part in parts.items()
        for number, row in enumerate(_columns_of(part, kept), start=1)
    ]


def hub_rows(
    name: str,
    subsets: Sequence[str | None],
    revision: str | None,
    split: str | None,
    *,
    kept: Collection[str] | None,
    stream_rows: int | None,
) -> list[Row]:
    """Rows of a hub data set, all its subsets; without a split's name of all its splits one after the other.

    Args:
        name: the hub id.
        subsets: names; None is the only one.
        revision: branch, tag or commit.
        kept: columns; None: all. Others never become objects.
        stream_rows: rows of each part, read one by one; None: all, downloaded.

    Raises:
        BadInput: it can't be loaded.
    """
    rows: list[dict[str, Any]] = []
    try:
        for subset in subsets:
            for part in _hub_parts(name, subset, revision, split, stream=stream_rows is not None):
                if stream_rows is None:
                    rows += _columns_of(part, kept)
                else:
                    some = part.take(stream_rows)  # which reads on the network
                    rows += [{c: row[c] for c in row if kept is None or c in kept} for row in some]
    except Exception as error:  # the hub's client raises a dozen types: network, auth, unknown name, bad data
        raise BadInput(
            f"task.path={name!r} is no local file and could not be loaded from the hub ({_first_line(error)}); "
            f"check the name and the network, or give a local file ({', '.join(SUFFIXES)})"
        ) from error
    return [Row(f"{name}, row {number}", row) for number, row in enumerate(rows, start=1)]


def _columns_of(part: Any, kept: Collection[str] | None) -> list[dict[str, Any]]:
    columns = [column for column in part.column_names if kept is None or column in kept]
    return [dict(row) for row in part.select_columns(columns)]


def _hub_parts(
    name: str, subset: str | None, revision: str | None, split: str | None, *, stream: bool
) -> list[Any]:
    """A hub data set's split, or without a split name all of them; `stream`: to be read row by row."""
    import datasets

    loaded: Any = datasets.load_dataset(name, subset, revision=revision, split=split, streaming=stream)
    return list(loaded.values()) if isinstance(loaded, Mapping) else [loaded]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
