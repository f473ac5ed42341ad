"""The command line: one file a verb, and imports inside the verbs, so that help answers at once."""

import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

from lenrl import __version__
from lenrl.cli.arguments import COMPLETING
from lenrl.errors import BadInput, LenrlError, did_you_mean
from lenrl.redact import Redacting, printable

VERBS = {  # in the order of a user's day; each is lenrl/cli/VERB.py with `main(arguments) -> exit code`
    "train": "train a model as a recipe says",
    "eval": "accuracy and tokens of one or several models",
    "sweep": "several settings, each a run of its own; grid or search",
    "compare": "runs, sweeps and evaluations side by side, on one page",
    "score": "rewards and advantages of logged rollouts, no model needed",
    "check": "all that can be known of a recipe before a model loads",
    "attack": "reward hacks tried on a recipe: which of them pay",
    "ls": "recipes, strategies, tasks, launches; the options of each",
    "cp": "copy a recipe to edit",
    "edit": "attention heads changed, so that a model thinks longer or shorter",
    "merge": "an adapter put into its base",
    "get": "a small language model, without a hub",
    "completion": "what a shell needs to complete these words",
}

HELP = f"""usage: lenrl VERB ...

Reinforcement learning that makes reasoning models think less and stay right.

{chr(10).join(f"  {verb:<12}{text}" for verb, text in VERBS.items())}

`lenrl help VERB` says more. LENRL_DEBUG=1 shows where an error comes from.

examples:
  lenrl train demo
  lenrl train drpo advantage.lam=0.2 trainer.max_steps=100
  lenrl eval tiny outputs/demo/model task=chain samples=4
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code is 0, or says what went wrong (2: bad input)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if COMPLETING in os.environ:
        from lenrl.cli.completion import verb

        words = [str(verb(VERBS))]
    if not words or words[0] in ("-h", "--help") or words in (["help"], ["help", "--help"]):
        sys.stdout.write(HELP)
        return 0 if words else 2
    if words[0] == "help":  # lenrl help train
        words = [*words[1:2], "--help"]
    if words[0] in ("-V", "--version"):
        sys.stdout.write(f"lenrl {__version__}\n")
        return 0
    if logging.lastResort is not None:
        logging.lastResort.addFilter(Redacting())
    before = _leave_on_sigterm()
    try:
        return _verb(words[0]).main(words[1:])
    except LenrlError as fault:
        if os.environ.get("LENRL_DEBUG"):
            raise
        sys.stderr.write(printable(f"error: {fault}") + "\n")
        return fault.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:  # `lenrl ls | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _verb(name: str) -> ModuleType:
    if name not in VERBS:
        hint = did_you_mean(name, VERBS, "'{}'") or " `lenrl --help` lists them."
        raise BadInput(f"{name!r} is not one of the verbs {', '.join(VERBS)}.{hint}")
    return importlib.import_module(f"lenrl.cli.{name}")


def _leave_on_sigterm():
    """SIGTERM ends the program as an exception does, so that worker processes are closed."""
    try:
        return signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    except ValueError:  # not the main thread: a caller's own signals stay
        return None
