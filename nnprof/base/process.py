"""The state of this process: as it was, whatever code draws from it or switches."""

from __future__ import annotations

import ctypes
import functools
import random
import sys
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["GeneratorsState", "Undo", "keep_flags", "replaced", "undo_all"]

Undo = Callable[[], object]


def undo_all(steps: list[Undo]) -> None:
    """Takes the steps back, the last one first, and each of them even if one raises."""
    while steps:
        try:
            steps.pop()()
        except BaseException:
            undo_all(steps)
            raise


def replaced(owner: Any, name: str, value: Any) -> Undo:
    """Sets an attribute of a class or module; returns what puts back what was there, or nothing."""
    there, own = name in vars(owner), vars(owner).get(name)
    setattr(owner, name, value)
    if there:
        return functools.partial(setattr, owner, name, own)
    return functools.partial(delattr, owner, name)


def keep_flags() -> Undo:
    """Returns what puts grad mode, the default dtype and the graph executor back."""
    grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    # A scripted model's executor would rewrite its operators after the first calls.
    optimize = torch._C._get_graph_executor_optimize(False)

    def restore() -> None:
        torch._C._set_graph_executor_optimize(optimize)
        if torch.is_grad_enabled() != grad:
            torch.set_grad_enabled(grad)
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)

    return restore


class GeneratorsState:
    """The global random generators as they were."""

    def __init__(self) -> None:
        self._torch = torch.get_rng_state()
        self._python = _python_random.state()
        self._numpy = _numpy_random.state() if "numpy.random" in sys.modules else None

    def restore(self) -> None:
        torch.set_rng_state(self._torch)
        _python_random.restore(self._python)
        if self._numpy is not None:
            _numpy_random.restore(self._numpy)


class _SlowState:
    """The state of a generator that takes long to tell it and to take it back.

    Its memory tells in a microsecond whether anything was drawn. Where that is not sure, it is
    taken for drawn.
    """

    def __init__(
        self,
        memory: Callable[[], object],
        get: Callable[[], Any],
        put: Callable[[Any], object],
        is_all: Callable[[Any], bool] = lambda state: True,
    ) -> None:
        self._memory, self._get, self._put = memory, get, put
        #: Is the memory all there is to a state?
        self._is_all = is_all
        self._last: tuple[object, Any] | None = None

    def state(self) -> tuple[object, Any]:
        memory = self._memory()
        if self._last is None or self._last[0] != memory:
            state = self._get()
            self._last = (memory, state) if self._is_all(state) else None
            return memory, state
        return self._last

    def restore(self, state: tuple[object, Any]) -> None:
        if state[0] != self._memory() or not self._is_all(state[1]):
            self._put(state[1])


def _python_memory() -> object:
    generator: Any = random._inst
    # The whole object: where in it the state is, is Python's own affair. 3.11 to 3.14 keep the
    # second number of a normal pair beside it.
    memory = ctypes.string_at(id(generator), type(generator).__basicsize__)
    return memory, generator.gauss_next


def _numpy_memory() -> object:
    generator = sys.modules["numpy.random"].mtrand._rand._bit_generator
    # 624 words and a position for the Mersenne twister; any other generator's state is smaller
    # than that, so its memory is not read: it is compared as new each time.
    if type(generator).__name__ != "MT19937":
        return object()
    return ctypes.string_at(generator.ctypes.state_address, 625 * 4)


_python_random = _SlowState(_python_memory, random.getstate, random.setstate)
# A normal number that NumPy keeps from an earlier pair is the one draw that its memory does not
# show.
_numpy_random = _SlowState(
    _numpy_memory,
    lambda: sys.modules["numpy.random"].get_state(legacy=False),
    lambda state: sys.modules["numpy.random"].set_state(state),
    is_all=lambda state: not state["has_gauss"],
)
