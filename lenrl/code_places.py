"""Places in code of the user's own, for messages. Standard library only."""

import inspect
import traceback
from typing import Any


def place_of(thing: Any) -> str:
    """`FILE, line N` of a class or function; its name where its source cannot be found."""
    thing = inspect.unwrap(getattr(thing, "func", thing))  # of a functools.partial
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        thing = type(thing)
    try:
        file = inspect.getsourcefile(thing) or inspect.getfile(thing)
        return f"{file}, line {inspect.getsourcelines(thing)[1]}"
    except (OSError, TypeError):
        return repr(thing)


def raised(error: BaseException, thing: Any = None, file: str | None = None) -> str:
    """`TypeError: its message (FILE, line N)`, N the innermost line of the plug-in's own file.

    Args:
        thing: class, function or object that it came out of.
        file: its file; default: the one that `thing` stands in.
    """
    place = place_of(thing) if thing is not None else ""
    file = file or place.rpartition(", line ")[0]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
        place = f"{file}, line {error.lineno}"
    elif frames:
        place = f"{file}, line {frames[-1].lineno}"
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return f"{text} ({place})" if place else text
