"""The costs by module: a tree with columns, the totals under it, what was assumed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from nnprof.base.units import Unit, format_exact, format_percent, format_shape, format_value
from nnprof.report import phases, time_notes, tree
from nnprof.report.memory import peak_line, verdict_line
from nnprof.report.metrics import AT_LEAST, Metric, known
from nnprof.report.options import TableOptions
from nnprof.report.paper import NO_LIMIT, fitting_table, text_of, width_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Group, RenderableType
    from rich.table import Table

    from nnprof.results.profile import Memory, Profile

__all__ = ["columns", "document", "module_cell", "note_text", "notes", "render", "tree_rows"]

# Left out in this order where the terminal is too narrow for all.
_SPARE_COLUMNS = ("Output shape", "Type", "%")
_NAMES_SHOWN = 8
# A missing share of a value that is not marked: it would round to 0.0%.
_NOTHING = 0.0005


@dataclass(frozen=True)
class Line:
    """One line of the tree as text: its guides and label, and a cell for each column after it."""

    module: str
    type: str
    shape: str
    cells: tuple[tuple[str, str], ...]  # (value, percent) of each metric


def render(profile: Profile, options: TableOptions | None = None) -> str:
    """The table as plain text, no wider than `options.width` or the terminal."""
    options = options or TableOptions()
    width = width_of(options)
    return text_of(document(profile, options, width), width)


def document(profile: Profile, options: TableOptions, width: int = NO_LIMIT) -> Group:
    """The table and its notes for a rich console of `width` columns."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_fitting_table(profile, options, width)]
    lines = phases.phases(profile)
    if lines:
        parts += [Text(), fitting_table(phases.columns(profile), lines, width)]
    return Group(*parts, Text(), *map(note_text, notes(profile)))


def note_text(note: tuple[str, str]) -> Table:
    """A title and its text, the text's further lines below its first."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=12, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(note[0], style="bold"), Text(note[1]))
    return grid


# The tree.


def tree_rows(profile: Profile, options: TableOptions) -> Iterator[Line]:
    """The lines of the tree, the whole model first."""
    root = tree.build(profile.layers[0], options.sort)
    depth = tree.best_depth(root) if options.depth is None else options.depth
    for row in tree.rows(root, depth):
        yield Line(
            module=module_cell(row, profile),
            type=row.node.type,
            shape=format_shape(row.node.output_shapes),
            cells=tuple(_cells(metric, row, profile) for metric in columns(profile)),
        )


def columns(profile: Profile) -> list[Metric]:
    """The metrics of the table: those that the profile has."""
    return [metric for metric in known(profile) if metric.in_table]


def module_cell(row: tree.Row, profile: Profile) -> str:
    """The guides of the tree and the module's label."""
    return _guides(row.last) + (_label(row.node) if row.last else profile.facts.name)


def _label(node: tree.Node) -> str:
    label = node.label
    if node.count > 1:
        label += f" (x{node.count})"
    if node.calls > 1 and node.type:
        label += f" [{node.calls} calls]"
    return label


def _guides(last: tuple[bool, ...]) -> str:
    if not last:
        return ""
    return "".join("   " if end else "│  " for end in last[:-1]) + ("└─ " if last[-1] else "├─ ")


def _cells(metric: Metric, row: tree.Row, profile: Profile) -> tuple[str, str]:
    node = row.node
    value = node.values[metric.name]
    left_out = node.values[metric.missing] if metric.missing else None
    if not value:
        return "-" if left_out else "", ""
    percent = format_percent(value, metric.of(profile) or 0)
    text = format_value(value, metric.unit, with_unit=False)
    if not row.last and metric.is_lower_bound(profile):
        text = AT_LEAST + text
    return f"> {text}" if left_out and left_out > _NOTHING * value else text, percent


def _fitting_table(profile: Profile, options: TableOptions, width: int) -> Table:
    """The table with as many of its columns as fit; a label longer than the rest leaves is cut."""
    from rich.console import Console

    lines = list(tree_rows(profile, options))
    metrics = columns(profile)
    if width >= NO_LIMIT:
        return _table(lines, metrics, ())
    measure = Console(file=StringIO(), width=NO_LIMIT)
    for left_out in range(len(_SPARE_COLUMNS) + 1):
        table = _table(lines, metrics, _SPARE_COLUMNS[:left_out])
        if measure.measure(table).maximum <= width:
            break
    return table


def _table(lines: list[Line], metrics: list[Metric], without: tuple[str, ...]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), header_style="bold")
    table.pad_edge = table.show_edge = False
    table.add_column("Module", overflow="ellipsis", no_wrap=True)
    for title in ("Type", "Output shape"):
        if title not in without:
            table.add_column(title, overflow="ellipsis", no_wrap=True)
    for index, metric in enumerate(metrics):
        # Only labels may be cut: half a number is a wrong number.
        widest = max(len(line.cells[index][0]) for line in lines)
        table.add_column(metric.title, justify="right", no_wrap=True, min_width=widest)
        if "%" not in without:
            table.add_column("%", justify="right", no_wrap=True, style="dim")
    for line in lines:
        cells = [line.module]
        cells += [line.type] if "Type" not in without else []
        cells += [line.shape] if "Output shape" not in without else []
        for value, percent in line.cells:
            cells += [value, percent] if "%" not in without else [value]
        # Text, for in a plain string rich takes "[1, 64]" for markup.
        table.add_row(*map(Text, cells))
    return table


# The notes under it.


def notes(profile: Profile) -> Iterator[tuple[str, str]]:
    """Title and text of each line under the table. They do not depend on the depth shown."""
    for metric in columns(profile):
        if metric.exact:
            yield metric.title, _total(metric, profile)
    if profile.memory.known:
        yield "Peak memory", peak_line(profile)
        verdict = verdict_line(profile)
        if verdict is not None:
            yield "Fits", verdict
    yield from time_notes.notes(profile)
    if profile.tokens is not None:
        yield "Tokens", f"{profile.tokens:,} ({profile.facts.language_phase})"
        yield "KV cache", _kv_cache(profile.memory)
    yield "Coverage", _coverage(profile)
    for index, assumption in enumerate(profile.assumptions):
        yield "" if index else "Assumed", assumption
    if profile.facts.never_called:
        yield "Never called", _listed(profile.facts.never_called)
    yield "Traced in", f"{1e3 * profile.trace_s:.1f} ms"


def _total(metric: Metric, profile: Profile) -> str:
    """Every digit for who wants to check, the rounded value for who wants to talk about it."""
    value = int(metric.of(profile) or 0)
    text = format_exact(value, metric.unit)
    if value >= 1000:
        text += f" ({format_value(value, metric.unit)})"
    notes = [metric.note(profile)] if metric.note else []
    if metric.is_lower_bound(profile):
        text = f"at least {text}"
        notes.append(_unruled(profile))
    said = "; ".join(note for note in notes if note)
    return f"{text}: {said}" if said else text


def _unruled(profile: Profile) -> str:
    """Why the total is a lower bound."""
    calls = sum(profile.coverage.generic.values())
    return f"{calls:,} call{'s have' if calls > 1 else ' has'} no rule"


def _kv_cache(memory: Memory) -> str:
    """All of it, and how many layers have how much: kinds of layers differ."""
    exact = format_exact(memory.kv_cache, Unit.BYTES)
    text = f"{exact} ({format_value(memory.kv_cache, Unit.BYTES)})"
    sizes = Counter(size for size in memory.kv_cache_by_layer if size)
    layers = [f"{count} x {format_value(size, Unit.BYTES)}" for size, count in sizes.items()]
    return f"{text}: layers {_listed(layers)}" if layers else text


def _coverage(profile: Profile) -> str:
    coverage = profile.coverage
    text = f"{coverage.ruled_calls:,} of {coverage.calls:,} operator calls priced by a rule"
    if not coverage.generic:
        return text
    by_calls = sorted(coverage.generic.items(), key=lambda item: -item[1])
    named = _listed([f"{op} x{calls}" for op, calls in by_calls])
    return f"{text}; from their sizes alone: {named}"


def _listed(names: list[str] | tuple[str, ...]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
