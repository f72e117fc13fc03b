"""Threads that a forward starts, or hands work to, belong to its trace.

A thread of its own works for the trace as long as it runs; one of a pool only while it does what
was handed to it, be the pool older than the trace. Their calls are inside of the module that
started them.
"""

from __future__ import annotations

import threading
from concurrent.futures import thread as executor
from contextlib import contextmanager
from multiprocessing import pool
from typing import TYPE_CHECKING, Any

from nnprof import _core
from nnprof.base.current import current_trace, worked_for
from nnprof.errors import NnprofError
from nnprof.tracing.patches.other_code import copy_of, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nnprof.tracing.trace import trace

__all__: list[str] = []

_start = copy_of(threading.Thread.start)
_executor_work: Any = executor._worker

#: What takes a function to be run by a pool's threads, as its first argument.
_HANDING_ON: tuple[Callable[..., Any], ...] = (
    executor.ThreadPoolExecutor.submit,
    pool.Pool.apply_async,
    pool.Pool._map_async,  # type: ignore[attr-defined]
    pool.Pool.imap,
    pool.Pool.imap_unordered,
)


def _start_in_trace(self: threading.Thread) -> None:
    # The threads of an executor outlive what they are started for, which is handed on by itself.
    if _core.tracing() and getattr(self, "_target", None) is not _executor_work:
        run, attributes = self.run, self.__dict__
        own = attributes.get("run")

        def in_trace() -> None:
            if own is None:
                attributes.pop("run", None)
            else:
                attributes["run"] = own
            handed_on()

        handed_on = _handed_on(run, tells_errors=False)
        attributes["run"] = in_trace
    _start(self)


def _handing_on(method: Callable[..., Any]) -> Callable[..., Any]:
    own = copy_of(method)

    def handing_on(self: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        in_threads = not isinstance(self, pool.Pool) or isinstance(self, pool.ThreadPool)
        if in_threads and _core.tracing():
            function = _handed_on(function)
        return own(self, function, *args, **kwargs)

    return handing_on


def _handed_on(function: Callable[..., Any], *, tells_errors: bool = True) -> Callable[..., Any]:
    """`function` for another thread, in the trace of this one."""
    running = current_trace()
    carried = _core.Carried()

    def in_trace(*args: Any, **kwargs: Any) -> Any:
        with _working_for(running, carried):
            try:
                return function(*args, **kwargs)
            except NnprofError as error:
                if running is not None and not tells_errors:
                    running.note_thread_error(error)
                raise

    return in_trace


@contextmanager
def _working_for(running: trace | None, carried: _core.Carried) -> Iterator[None]:
    work = carried.enter()
    if work is None:  # the trace is over
        yield
        return
    try:
        with worked_for(running):
            yield
    finally:
        work.leave()


replace(threading.Thread.start, _start_in_trace)
for _method in _HANDING_ON:
    replace(_method, _handing_on(_method))
