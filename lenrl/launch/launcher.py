"""`accelerate launch` without torchrun's traceback and table of failures: the supervisor says how the ranks ended.

    python -P -m lenrl.launch.launcher --config_file FILE --module lenrl.launch.worker ...

torchrun takes every exit code but 0 for a failure, 143 after a clean stop too, and names the rank that it saw first.
"""

import logging
import sys


def main() -> int:
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
