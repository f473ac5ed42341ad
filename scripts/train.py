#!/usr/bin/env python3
"""One training process, for launching by hand:

accelerate launch --config_file recipes/launch/multi_gpu.yaml scripts/train.py --config-name drpo key=value
"""

from __future__ import annotations

import sys

from lenrl.launch.worker import main

if __name__ == "__main__":
    sys.exit(main())
