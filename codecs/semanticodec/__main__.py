"""``python -m semanticodec`` is the command line."""

import sys

from semanticodec.cli import main

sys.exit(main())
