"""What runs when its items are asked for: generators, coroutines, `map` and its like.

A forward that returns such a thing has not run yet. Inside a trace it runs in the scope of its
module; `consumed` runs it as a caller would.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import operator
import types
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from typing import TYPE_CHECKING, Any

from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nnprof._core import LeftScope

__all__ = ["consumed", "in_scope"]

#: Of Python's own, which nobody finds out about when another iterator stands in.
_PLAIN = (
    *(map, filter, zip, enumerate, reversed),
    *(kind for kind in vars(itertools).values() if isinstance(kind, type)),
)

# --- in the scope of a module --------------------------------------------------------------------


def in_scope(lazy: Any, scope: LeftScope) -> Any:
    """The same, of the same kind, that runs in `scope` each time that it goes on."""
    if isinstance(lazy, types.GeneratorType):
        return _named_as(lazy, _stepwise(lazy, scope))
    if isinstance(lazy, types.CoroutineType):
        return _CoroutineInScope(lazy, scope)
    if isinstance(lazy, types.AsyncGeneratorType):
        return _named_as(lazy, _stepwise_async(lazy, scope))
    if type(lazy) in _PLAIN:
        return _stepwise((item for item in lazy), scope)
    return lazy


def _named_as(lazy: Any, by: Any) -> Any:
    by.__name__, by.__qualname__ = lazy.__name__, lazy.__qualname__
    return by


def _stepwise(inner: Any, scope: LeftScope) -> Generator[Any, Any, Any]:
    """PEP 380's `yield from`, entering the scope around each step."""
    step, given = inner.send, None
    while True:
        around = scope.enter()
        try:
            item = step(given)
        except StopIteration as end:
            return end.value
        finally:
            if around is not None:
                scope.return_to(around)
        try:
            given = yield item
            step = inner.send
        except GeneratorExit:
            inner.close()
            raise
        except BaseException as error:
            step, given = inner.throw, error


@types.coroutine
def _steps_of(awaitable: Any, scope: LeftScope) -> Generator[Any, Any, Any]:
    return (yield from _stepwise(awaitable, scope))


class _CoroutineInScope(Coroutine[Any, Any, Any]):
    """To close it closes the one inside, also where that was never started."""

    def __init__(self, inner: Any, scope: LeftScope) -> None:
        self._inner, self._steps = inner, _stepwise(inner, scope)
        self.__name__, self.__qualname__ = inner.__name__, inner.__qualname__

    def send(self, value: Any) -> Any:
        return self._steps.send(value)

    def throw(self, *error: Any) -> Any:
        return self._steps.throw(*error)

    def close(self) -> None:
        self._steps.close()
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._steps


async def _stepwise_async(inner: Any, scope: LeftScope) -> AsyncGenerator[Any, Any]:
    step = inner.asend(None)
    while True:
        try:
            item = await _steps_of(step, scope)
        except StopAsyncIteration:
            return
        try:
            step = inner.asend((yield item))
        except GeneratorExit:
            await inner.aclose()
            raise
        except BaseException as error:
            step = inner.athrow(error)


# --- as a caller would ---------------------------------------------------------------------------


def consumed(output: Any, *, keep: bool) -> Any:
    """`output` with everything in it run to its end, wherever in lists, tuples and dicts it is.

    With `keep` the items stand in its place, as a list; else each is let go before the next one is
    asked for. Raises InputError for an iterator without an end, and for a coroutine while an event
    loop runs in this thread.
    """
    if isinstance(output, Coroutine):
        return consumed(_run_in_loop(output), keep=keep)
    if isinstance(output, AsyncIterator):
        return _run_in_loop(_all_of_async(output, keep))
    if isinstance(output, Iterator) and not isinstance(output, io.IOBase):
        _check_ends(output)
        return _all_of(output, keep)
    # As they are where nothing in them has to run: whoever reads the output knows its type.
    if type(output) in (list, tuple):
        items = [consumed(item, keep=keep) for item in output]
        return output if all(map(operator.is_, items, output)) else type(output)(items)
    if type(output) is dict:
        values = [consumed(item, keep=keep) for item in output.values()]
        same = all(map(operator.is_, values, output.values()))
        return output if same else dict(zip(output, values, strict=True))
    return output


def _all_of(items: Iterator[Any], keep: bool) -> list[Any]:
    kept = []
    for item in items:
        done = consumed(item, keep=keep)
        if keep:
            kept.append(done)
        del item, done
    return kept


async def _all_of_async(items: AsyncIterator[Any], keep: bool) -> list[Any]:
    kept = []
    async for item in items:
        if isinstance(item, Coroutine):
            item = await item
        if keep:
            kept.append(item)
        del item
    return kept


def _run_in_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    coroutine.close()
    raise InputError(
        "the forward is asynchronous, and an event loop runs in this thread: measure it in a "
        "thread of its own (await asyncio.to_thread(nnprof.measure, ...))"
    )


def _check_ends(items: Iterator[Any]) -> None:
    endless = isinstance(items, (itertools.count, itertools.cycle))
    if isinstance(items, itertools.repeat):
        try:
            items.__length_hint__()
        except TypeError:
            endless = True
    if endless:
        raise InputError(
            f"the forward returns an itertools.{type(items).__name__} without an end: pass a "
            "function that takes as many items as you want to count"
        )
