"""`python -m nnprof`: the command line."""

from __future__ import annotations

import sys

from nnprof.cli import main

if __name__ == "__main__":
    sys.exit(main())
