"""Whether runs fit GPUs, as a picture: what they take over the sequence, and what the GPUs have."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnprof.base.packages import require
from nnprof.base.units import Unit, format_value
from nnprof.errors import InputError, raise_as_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from nnprof.fitting.grid import Cell

__all__ = ["check_plot", "save_plot"]

#: Okabe and Ito's, which colour-blind readers tell apart, from the darkest.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = (("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."), ("v", (0, (5, 1))), ("P", (0, (1, 1))))
_GREY = "#555555"
#: Ticks of a decade: many where the picture spans little.
_FEW, _MANY = (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)
_LITTLE = 8.0
#: Between the names of two GPUs, as a share of the height.
_APART = 0.05
#: Around the lines, as a factor.
_AIR = 1.25

_Line = tuple[str, int | None]


def check_plot(path: str | PathLike[str]) -> None:
    """Raises MissingExtraError without matplotlib, InputError for a suffix it does not write."""
    require("matplotlib")
    suffix = Path(path).suffix.lower().removeprefix(".")
    known = importlib.import_module("matplotlib.backend_bases").FigureCanvasBase.filetypes
    if suffix not in known:
        raise InputError(f"{path} is no picture: end its name in .png, .svg or .pdf")


def save_plot(cells: Sequence[Cell], path: str | PathLike[str]) -> None:
    """Draws the runs, a line for each method and batch, and writes the picture.

    A line is midway between the GPUs where the process holds the least and the most, for contexts
    and workspaces differ; its band has them all, with their margins.

    Raises as `check_plot`, and InputError, which is the OSError, too, where the file cannot be
    written.
    """
    check_plot(path)
    figure = importlib.import_module("matplotlib.figure").Figure(
        figsize=(9, 5.5), layout="constrained"
    )
    axes = figure.add_subplot()
    over = "batch" if all(cell.sequence is None for cell in cells) else "sequence"
    _draw_runs(axes, cells, over)
    _set_scales(axes, cells, over)
    _draw_gpus(axes, {cell.gpu: cell.total for cell in cells})
    figure.legend(loc="outside upper left", ncols=4, frameon=False)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise_as_ours(error, InputError)


# The runs.


def _draw_runs(axes: Any, cells: Sequence[Cell], over: str) -> None:
    line_of = _line_by_batch if over == "sequence" else _line_by_method
    lines: dict[_Line, list[Cell]] = {}
    for cell in cells:
        lines.setdefault(line_of(cell), []).append(cell)
    methods = list(dict.fromkeys(method for method, _ in lines))
    batches = list(dict.fromkeys(batch for _, batch in lines))
    for (method, batch), its_cells in lines.items():
        colour = _COLOURS[methods.index(method) % len(_COLOURS)]
        marker, style = _STYLES[batches.index(batch) % len(_STYLES)]
        label = method if batch is None else f"{method}, batch {batch:,}"
        x, low, middle, high = _curves(its_cells, over)
        axes.fill_between(x, low, high, color=colour, alpha=0.3, linewidth=0)
        axes.plot(
            x, middle, color=colour, marker=marker, linestyle=style, ms=4, lw=1.2, label=label
        )


def _line_by_batch(cell: Cell) -> _Line:
    return cell.method, cell.batch


def _line_by_method(cell: Cell) -> _Line:
    return cell.method, None


def _curves(cells: Sequence[Cell], over: str) -> tuple[list[int], ...]:
    """Sizes, and there of all GPUs: the least, the middle and the most, margins included."""
    points: dict[int, list[Cell]] = {}
    for cell in cells:
        points.setdefault(getattr(cell, over) or 1, []).append(cell)
    x = sorted(points)
    return (
        x,
        [min(cell.process - cell.margin for cell in points[at]) for at in x],
        [_middle([cell.process for cell in points[at]]) for at in x],
        [max(cell.process + cell.margin for cell in points[at]) for at in x],
    )


def _middle(values: Sequence[int]) -> int:
    return (min(values) + max(values)) // 2


# The paper.


def _set_scales(axes: Any, cells: Sequence[Cell], over: str) -> None:
    ticker = importlib.import_module("matplotlib.ticker")
    x = sorted({getattr(cell, over) or 1 for cell in cells})
    axes.set_xscale("log", base=2)
    axes.set_xticks(x, [f"{value:,}" for value in x])
    axes.minorticks_off()
    axes.set_xlabel("sequence (tokens)" if over == "sequence" else "batch")
    low = max(min(min(cell.process - cell.margin, cell.total) for cell in cells), 1) / _AIR
    high = max(max(cell.process + cell.margin, cell.total) for cell in cells) * _AIR
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    digits = _MANY if high / low < _LITTLE else _FEW
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=digits))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(_tick))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.set_ylabel("memory of the process")
    axes.grid(visible=True, color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _tick(value: float, _: object) -> str:
    number, unit = format_value(value, Unit.BYTES).split(" ")
    return f"{float(number):g} {unit}"


def _draw_gpus(axes: Any, totals: dict[str, int]) -> None:
    """A line for what each has, and its name at the right: pushed up where two would touch."""
    at = -1.0
    for gpu, total in sorted(totals.items(), key=lambda item: item[1]):
        axes.axhline(total, color=_GREY, linewidth=1, linestyle=(0, (6, 3)), zorder=1)
        at = max(at + _APART, _height(axes, total))
        axes.annotate(
            f"{gpu}: {format_value(total, Unit.BYTES)}",
            xy=(1, total),
            xycoords=("axes fraction", "data"),
            xytext=(1.03, at),
            textcoords="axes fraction",
            va="center",
            color=_GREY,
            arrowprops={"arrowstyle": "-", "color": _GREY, "linewidth": 0.6, "relpos": (0, 0.5)},
        )


def _height(axes: Any, value: float) -> float:
    """As a share of the axes' height."""
    place: Callable[[Any], Any] = (axes.transData + axes.transAxes.inverted()).transform
    return float(place((1, value))[1])
