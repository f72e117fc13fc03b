"""What several commands share: options, parsing of shapes, and output that knows a terminal."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch
    from rich.console import RenderableType
    from rich.table import Table

__all__ = [
    "STDOUT",
    "TRACEBACK",
    "Dtype",
    "NamedShape",
    "Shape",
    "check_writable",
    "print_document",
    "progress",
    "traceback",
]

TRACEBACK = "--traceback"
#: As the name of a file.
STDOUT = "-"
#: Wide enough for any table: a pipe has no width.
_NO_LIMIT = 1000

# Read by `main` from the arguments themselves: errors are printed after the command has ended.
traceback = click.option(
    TRACEBACK, is_flag=True, expose_value=False, help="Show where an error was raised."
)


class Dtype(click.ParamType[Any]):
    """A torch.dtype by name: one that inputs can be of, or one that models compute in."""

    name = "dtype"

    def __init__(self, *, computed: bool = False) -> None:
        self._computed = computed

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> torch.dtype | None:
        from nnprof.base.dtypes import COMPUTED, as_dtype

        try:
            return as_dtype(value, COMPUTED) if self._computed else as_dtype(value)
        except InputError as error:
            self.fail(str(error), param, ctx)


class Shape(click.ParamType[Any]):
    """`1,3,224,224` or, with a dtype, `1,77:int64`: sizes and dtype, as `measure` takes them."""

    name = "SIZES[:DTYPE]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        sizes, _, dtype = value.partition(":")
        try:
            shape = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            self.fail(f"{value!r} is no shape: write the sizes as 1,3,224,224", param, ctx)
        return (shape, Dtype().convert(dtype, param, ctx)) if dtype else shape


class NamedShape(click.ParamType[Any]):
    """`input_ids=1,128:int64`: a parameter of forward and its shape."""

    name = "NAME=SIZES[:DTYPE]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name, equals, shape = value.partition("=")
        if not equals or not name:
            self.fail(f"{value!r} has no name: write input_ids=1,128:int64", param, ctx)
        return name, Shape().convert(shape, param, ctx)


def check_writable(paths: Iterable[str]) -> None:
    """Raises `InputError` for a file that cannot be written, and for one that is named twice.

    It is found out before anything is measured, and nothing is written yet.
    """
    named = list(paths)
    for path in named:
        if named.count(path) > 1:
            raise InputError(f"two reports would be written to {path}: give each its own file")
        if path != STDOUT:
            _check_file(Path(path))


def _check_file(path: Path) -> None:
    folder = path.parent
    if path.is_dir():
        why = "it is a folder"
    elif not folder.is_dir():
        why = f"there is no folder {folder}"
    elif not os.access(path if path.exists() else folder, os.W_OK):
        why = "writing there is not allowed"
    else:
        return
    raise InputError(f"cannot write {path}: {why}")


def progress(message: str, *, quiet: bool) -> AbstractContextManager[Any]:
    """Says on a terminal's stderr what takes so long; does nothing where stderr is a pipe."""
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(message)


def print_table(table: Table) -> None:
    """Prints as wide as the table is where nobody said how wide the page is."""
    if sys.stdout.isatty():
        print_document(table)
        return
    from rich.console import Console

    text = StringIO()
    Console(file=text, width=_NO_LIMIT, no_color=True).print(table)
    click.echo("\n".join(line.rstrip() for line in text.getvalue().splitlines()))


def print_document(document: RenderableType) -> None:
    """Prints for the terminal, in its colours and width."""
    from rich.console import Console

    Console().print(document)
