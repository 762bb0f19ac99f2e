"""``python -m semanticodec.training``."""

import sys

from semanticodec.training.cli import main

sys.exit(main())
