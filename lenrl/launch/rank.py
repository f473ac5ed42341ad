"""One training process under `lenrl train`: `lenrl.train`, and its exit code where the keeper finds it.

Launchers turn every failure into 1; the keeper needs to know whether it was a refusal (2) or a signal (143).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

STATUS = "LENRL_STATUS"  # environment variable: a folder, one file a process


def main() -> int:
    code = 1
    try:
        from lenrl import train

        code = train.main(sys.argv[1:])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    except KeyboardInterrupt:
        code = 130
    finally:
        if folder := os.environ.get(STATUS):
            Path(folder, os.environ.get("RANK", "0")).write_text(str(code))
    return code


if __name__ == "__main__":
    sys.exit(main())
