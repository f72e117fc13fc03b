"""What a reader may choose about a report."""

from __future__ import annotations

from dataclasses import dataclass

from nnprof.errors import InputError

__all__ = ["TableOptions"]


@dataclass(frozen=True)
class TableOptions:
    """`depth`: levels of modules shown, None for as many as fit; `sort`: a metric's name or None.

    `width`: columns of the paper; None for the terminal's, or no limit where there is none.
    """

    depth: int | None = None
    sort: str | None = None
    width: int | None = None

    def __post_init__(self) -> None:
        if self.depth is not None and self.depth < 0:
            raise InputError(f"depth must be 0 or more, not {self.depth}")
        if self.sort is not None:
            from nnprof.report.metrics import find_metric

            find_metric(self.sort)
