"""The trace that runs in this thread: for what has to know of it and is no part of it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nnprof.base.process import Undo
    from nnprof.tracing.trace import trace

__all__ = ["current_trace", "make_current", "worked_for", "works_for_another"]


class _Current(threading.local):
    trace: trace | None = None
    #: It was started in another thread, which handed it on.
    works_for_another = False


_current = _Current()


def current_trace() -> trace | None:
    """The trace that is running in this thread."""
    return _current.trace


def make_current(running: trace | None, *, works_for_another: bool) -> Undo:
    """From here on; returns what takes it back."""
    before = _current.trace, _current.works_for_another

    def undo() -> None:
        _current.trace, _current.works_for_another = before

    _current.trace, _current.works_for_another = running, works_for_another
    return undo


def works_for_another() -> bool:
    """Did the trace of this thread start in another one, which handed it on?"""
    return _current.works_for_another


@contextmanager
def worked_for(running: trace | None) -> Iterator[None]:
    """This thread works for a trace that another one has started."""
    undo = make_current(running, works_for_another=True)
    try:
        yield
    finally:
        undo()
