"""`accelerate launch` without torchrun's traceback and table of failures: the supervisor says how the ranks ended.

    python -P -m lenrl.launch.launcher --config_file FILE --module lenrl.launch.worker ...
    python -P -m lenrl.launch.launcher -- COMMAND ...

The second form starts a single rank, whose environment is made: accelerate would load torch to make it once more.
torchrun takes every exit code but 0 for a failure, 143 after a clean stop too, and names the rank that it saw first.
"""

import logging
import subprocess
import sys


def main() -> int:
    if sys.argv[1] == "--":
        return int(subprocess.Popen(sys.argv[2:]).wait() != 0)

    from accelerate.commands.launch import main as launch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.ERROR)  # of this process alone; what it can't start is an exception
    try:
        launch()
    except (ChildFailedError, SignalException):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
