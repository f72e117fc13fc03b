"""The table for a notebook: what `_repr_html_` shows."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from nnprof.report import phases, table
from nnprof.report.options import TableOptions

if TYPE_CHECKING:
    from nnprof.results.profile import Profile

__all__ = ["render"]


def render(profile: Profile, options: TableOptions | None = None) -> str:
    """The table and its notes as an HTML fragment, without scripts or outside files."""
    lines = table.tree_rows(profile, options or TableOptions())
    body = "\n".join(_row(line) for line in lines)
    notes = "\n".join(_note(title, text) for title, text in table.notes(profile))
    return (
        f"<table>\n<thead>{_head(profile)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
        f"{_phases(profile)}<table>\n<tbody>\n{notes}\n</tbody>\n</table>\n"
    )


def _head(profile: Profile) -> str:
    titles = ["Module", "Type", "Output shape"]
    for metric in table.columns(profile):
        titles += [metric.title, "%"]
    return "<tr>" + "".join(f"<th>{escape(title)}</th>" for title in titles) + "</tr>"


def _row(line: table.Line) -> str:
    # The guides of the tree line up only if their blanks are kept and the letters are of one width.
    style = "white-space:pre;font-family:monospace;text-align:left"
    module = f'<td style="{style}">{escape(line.module)}</td>'
    cells = [line.type, line.shape]
    for value, percent in line.cells:
        cells += [value, percent]
    return f"<tr>{module}{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _phases(profile: Profile) -> str:
    """A table of its own; nothing of a forward alone."""
    lines, columns = phases.phases(profile), phases.columns(profile)
    if not lines:
        return ""
    head = "".join(f"<th>{escape(column.title)}</th>" for column in columns)
    rows = (
        "".join(f"<td>{escape(column.cell(line))}</td>" for column in columns) for line in lines
    )
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"


def _note(title: str, text: str) -> str:
    return f'<tr><th>{escape(title)}</th><td style="text-align:left">{escape(text)}</td></tr>'
