"""Whether runs fit GPUs, as a table: a line for each run, a column for each GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnprof.base.units import Unit, format_value
from nnprof.report.paper import NO_LIMIT, Column, fitting_table, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnprof.fitting.grid import Cell

__all__ = ["render"]

_CAPTION = "The verdict, and what the process leaves (+) or lacks (-) where it holds the most."

#: What a line is of.
_Run = tuple[str, int | None, int | None]


def render(cells: Sequence[Cell]) -> str:
    """The table as plain text, as wide as it is: no column of a GPU may be left out."""
    found = {(_run(cell), cell.gpu): cell for cell in cells}
    columns = [
        Column[_Run]("Method", lambda run: run[0], left=True, least=12),
        Column[_Run]("Sequence", lambda run: _count(run[1])),
        Column[_Run]("Batch", lambda run: _count(run[2])),
        *(_column(gpu, found) for gpu in dict.fromkeys(cell.gpu for cell in cells)),
    ]
    table = fitting_table(columns, list(dict.fromkeys(map(_run, cells))), NO_LIMIT)
    return f"{text_of(table, NO_LIMIT)}\n{_CAPTION}"


def _run(cell: Cell) -> _Run:
    return cell.method, cell.sequence, cell.batch


def _column(gpu: str, found: dict[tuple[_Run, str], Cell]) -> Column[_Run]:
    return Column(gpu, lambda run: _entry(found[run, gpu]))


def _entry(cell: Cell) -> str:
    sign = "+" if cell.spare >= 0 else ""
    return f"{cell.verdict} {sign}{format_value(cell.spare, Unit.BYTES)}"


def _count(size: int | None) -> str:
    return "" if size is None else f"{size:,}"
