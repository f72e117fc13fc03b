"""Files that the user names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nnprof.errors import InputError, raise_as_ours

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["make_folder", "write_text"]


def write_text(path: str | PathLike[str], text: str) -> None:
    """Writes UTF-8 with the same line ends on every system.

    Raises InputError, which is the OSError, too, where the file cannot be written.
    """
    try:
        Path(path).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise_as_ours(error, InputError)


def make_folder(path: Path) -> None:
    """Makes a folder and those around it, where it is not there. Raises as `write_text`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise_as_ours(error, InputError)
