"""Checks, before it is loaded, that the extension was built for the torch that runs.

A C++ extension built for another torch may load and then crash: the check cannot wait for it.
"""

from __future__ import annotations

from importlib import util
from pathlib import Path

from nnprof.errors import BuildMismatchError

_REBUILD = "python -m pip install --no-build-isolation --force-reinstall --no-deps ."
_MARK = b"nnprof-built-against-torch:"


def check_build(running: str) -> None:
    """Raises BuildMismatchError when the extension is missing or was built for another torch."""
    spec = util.find_spec("nnprof._core")
    if spec is None or spec.origin is None:
        raise BuildMismatchError(
            f"nnprof's compiled extension is missing: build it in nnprof's source folder "
            f"with: {_REBUILD}"
        )
    built = _built_against(Path(spec.origin).read_bytes())
    if built != running:
        raise BuildMismatchError(
            f"nnprof was built against torch {built} and torch {running} is running: rebuild it in "
            f"nnprof's source folder with: {_REBUILD}"
        )


def _built_against(binary: bytes) -> str:
    start = binary.find(_MARK) + len(_MARK)
    return binary[start : binary.find(b"\0", start)].decode()
