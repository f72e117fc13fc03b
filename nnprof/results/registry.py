"""What a profile hands on to rooms above its own: they put it here when they are imported.

Estimates and reports are made of traces and profiles. So that a profile can print itself all the
same, it asks here, and imports none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from nnprof._core import TraceResult
    from nnprof.hardware import Hardware
    from nnprof.report.compare import Comparison
    from nnprof.results.profile import Profile
    from nnprof.results.records import TraceData
    from nnprof.results.times import Times

__all__ = ["compare", "filled_by", "flops_as", "html", "save", "summary", "table", "times_on"]

P = ParamSpec("P")
R = TypeVar("R")


class _Slot(Generic[P, R]):
    """A function that a room above has put here; the rooms are imported for the first call."""

    def __init__(self) -> None:
        self._function: Callable[P, R] | None = None

    def fill(self, function: Callable[P, R]) -> None:
        self._function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self._function is None:
            _import_rooms()
        assert self._function is not None  # each room fills its own
        return self._function(*args, **kwargs)


#: Of a trace on a device.
times_on: _Slot[[TraceResult, Hardware | PathLike[str] | str], Times] = _Slot()
#: Of a profile: its costs by module (to a depth, sorted by a metric), as torchsummary prints them,
#: for a notebook, and beside another profile.
table: _Slot[[Profile, int | None, str | None], str] = _Slot()
summary: _Slot[[Profile], str] = _Slot()
html: _Slot[[Profile], str] = _Slot()
compare: _Slot[[Profile, Profile], Comparison] = _Slot()
#: A report in a file, chosen by its suffix.
save: _Slot[[Profile, str | PathLike[str]], None] = _Slot()
#: What another tool's conventions make of a trace.
flops_as: _Slot[[TraceData, str], int] = _Slot()


def _nothing() -> None:
    """Until somebody says what fills the slots."""


_import_rooms: Callable[[], Any] = _nothing


def filled_by(import_rooms: Callable[[], Any]) -> None:
    """`import_rooms` imports all that fill a slot: called once, when the first is asked for."""
    global _import_rooms
    _import_rooms = import_rooms
