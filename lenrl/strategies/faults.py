"""Faults of strategies: what one returns or raises that its slot does not allow, said in one message."""

from collections.abc import Iterator
from contextlib import contextmanager

from lenrl.code_places import place_of, raised
from lenrl.errors import LenrlError, PluginFailed, RunFailed
from lenrl.strategies.base import Strategy


class BadStrategy(RunFailed):
    """A strategy returned something that is not what its slot returns."""


def named(strategy: Strategy) -> str:
    """Slot and name, and of a plug-in's strategy its file and line."""
    name = f"{strategy.slot} {strategy.name!r}"
    return name if _is_ours(strategy) else f"{name} ({place_of(type(strategy))})"


def _is_ours(strategy: Strategy) -> bool:
    return type(strategy).__module__.startswith("lenrl.")


@contextmanager
def calling(strategy: Strategy) -> Iterator[None]:
    """Turn what a plug-in's strategy raises into one message with its file and line; our own keep their traceback.

    Raises:
        PluginFailed: from the error, whose traceback `LENRL_DEBUG=1` shows.
    """
    try:
        yield
    except LenrlError:
        raise
    except Exception as error:
        if _is_ours(strategy):
            raise
        where = f"{strategy.slot} {strategy.name!r}"
        raise PluginFailed(f"{where} raised {raised(error, type(strategy))}; repair it") from error
