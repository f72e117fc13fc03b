"""Everything that turns a `Profile` into text: one file a report, and one list of them.

A new report is a file with a `render(profile, options) -> str` and a line in `REPORTS`; the command
line's choices, `Profile.save` and the tests come from that list.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnprof.base.files import write_text
from nnprof.errors import InputError
from nnprof.report import compare, csv, html, memory, summary, table, times
from nnprof.report.options import TableOptions
from nnprof.results import registry, stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from rich.console import RenderableType

    from nnprof.results.profile import Profile

__all__ = ["REPORTS", "Report", "TableOptions", "report_for_suffix", "save"]


@dataclass(frozen=True)
class Report:
    """One way to show a profile: a file format if it has a suffix, else for reading."""

    name: str
    help: str
    render: Callable[[Profile, TableOptions], str]
    suffix: str | None = None
    #: The same for a rich console of some width: with colours, for a terminal.
    document: Callable[[Profile, TableOptions, int], RenderableType] | None = None


REPORTS = (
    Report("table", "the costs by module", table.render, document=table.document),
    Report("summary", "the layers as torchsummary prints them", summary.render),
    Report("times", "seconds by layer and by unique call", times.render, document=times.document),
    Report("memory", "bytes held, by phase and module", memory.render, document=memory.document),
    Report("html", "the table for a notebook", html.render),
    Report("json", "all that the profile holds", stored.render, suffix=".json"),
    Report("csv", "one row a layer", csv.render, suffix=".csv"),
)


def report_for_suffix(suffix: str) -> Report:
    """The report that files ending in `suffix` hold; raises `InputError` with the known ones."""
    for report in REPORTS:
        if report.suffix == suffix.lower():
            return report
    known = " or ".join(report.suffix for report in REPORTS if report.suffix)
    raise InputError(f"cannot save a profile as {suffix or 'a file without suffix'!r}: use {known}")


def save(profile: Profile, path: str | PathLike[str]) -> None:
    """Write `profile` to `path` as its suffix says."""
    report = report_for_suffix(Path(path).suffix)
    write_text(path, report.render(profile, TableOptions()))


registry.table.fill(lambda profile, depth, sort: table.render(profile, TableOptions(depth, sort)))
registry.summary.fill(summary.render)
registry.html.fill(html.render)
registry.compare.fill(compare.Comparison)
registry.save.fill(save)
