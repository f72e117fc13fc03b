"""What reports are written on: text of some width, and tables that fit it."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from nnprof.report.options import TableOptions

__all__ = ["NO_LIMIT", "Column", "fitting_table", "text_of", "width_of"]

#: Wide enough for any table: a pipe has no width.
NO_LIMIT = 1000
_GAP = 2
#: Letters of a label where there is room for nothing more.
_LAST_RESORT = 12

Row = TypeVar("Row")


def width_of(options: TableOptions) -> int:
    """The columns there are: those asked for, else those of the terminal that a `print` would
    reach, else no limit."""
    if options.width:
        return options.width
    on_terminal = sys.stdout and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if on_terminal else NO_LIMIT


def text_of(document: RenderableType, width: int) -> str:
    """The document as plain text, without blanks at the ends of lines."""
    from rich.console import Console

    text = StringIO()
    console = Console(file=text, width=width, no_color=True, force_terminal=False)
    console.print(document, soft_wrap=False)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column of a table as data. One without a single entry is not shown."""

    title: str
    cell: Callable[[Row], str]
    left: bool = False  # labels; numbers are aligned to the right
    spare: int = 0  # on narrow paper the highest is left out first; 0: never
    #: A label may be cut to so many letters before others are left out; half a number is wrong.
    least: int | None = None


def fitting_table(columns: Sequence[Column[Row]], rows: Sequence[Row], width: int) -> Table:
    """The rows with as many of the columns as fit; labels are cut before columns are left out."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = {column: [column.cell(row) for row in rows] for column in columns}
    shown = [column for column in columns if any(cells[column])]
    while _width(shown, cells, cut=True) > width and any(column.spare for column in shown):
        shown.remove(max(shown, key=lambda column: column.spare))
    room = _room(shown, cells, width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), header_style="bold")
    table.pad_edge = table.show_edge = False
    for column in shown:
        table.add_column(
            Text(_cut(column.title, room[column])),
            justify="left" if column.left else "right",
            no_wrap=True,
            min_width=room[column],
        )
    for number in range(len(rows)):
        # Text, for in a plain string rich takes "[1, 64]" for markup.
        table.add_row(*(Text(_cut(cells[column][number], room[column])) for column in shown))
    return table


def _widest(column: Column[Row], cells: Sequence[str]) -> int:
    return max(len(text) for text in (column.title, *cells))


def _narrowest(column: Column[Row], cells: Sequence[str]) -> int:
    widest = _widest(column, cells)
    return widest if column.least is None else min(column.least, widest)


def _width(
    shown: Sequence[Column[Row]], cells: dict[Column[Row], list[str]], *, cut: bool = False
) -> int:
    wanted = _narrowest if cut else _widest
    return sum(wanted(column, cells[column]) for column in shown) + _GAP * (len(shown) - 1)


def _room(
    shown: Sequence[Column[Row]], cells: dict[Column[Row], list[str]], width: int
) -> dict[Column[Row], int]:
    """Letters for each column: the widest labels are cut first."""
    room = {column: _widest(column, cells[column]) for column in shown}
    labels = [column for column in shown if column.least is not None]
    for _ in range(_width(shown, cells) - width):
        cuttable = [column for column in labels if room[column] > _LAST_RESORT]
        if not cuttable:
            break
        room[max(cuttable, key=lambda column: room[column])] -= 1
    return room


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"
