"""One training process under `lenrl train`: `lenrl.train`, and its exit code where the keeper finds it.

Launchers turn every failure into 1; the keeper needs to know whether it was a refusal (2) or a signal (143).
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

REFUSED = 2  # exit code
HELD_S = 10.0  # for which a rank that refused waits for the keeper to end all of them

STATUS = "LENRL_STATUS"  # environment variable: a folder, one file a process, named by its number


def main() -> int:
    code = 1
    try:
        from lenrl import train

        code = train.main(sys.argv[1:], say)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    except KeyboardInterrupt:
        code = 130
    finally:
        if folder := os.environ.get(STATUS):
            Path(folder, os.environ.get("RANK", "0")).write_text(str(code))
            if code == REFUSED:
                time.sleep(HELD_S)
    return code


def say(message: str) -> None:
    """Print an error, unless another process of this machine has said the same."""
    if folder := os.environ.get(STATUS):
        name = "said-" + hashlib.blake2b(message.encode(), digest_size=8).hexdigest()
        try:
            Path(folder, name).touch(exist_ok=False)
        except FileExistsError:
            return
        except OSError:  # no place to look it up: better twice than never
            pass
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
