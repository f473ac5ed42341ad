"""`python -m lenrl.cli`, the same as `lenrl`."""

import sys

from lenrl.cli import main

sys.exit(main())
