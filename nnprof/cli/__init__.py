"""The command line: one file a command, one list of them in `app`."""

from __future__ import annotations

from nnprof.cli.app import main

__all__ = ["main"]
