"""The random generators of this process: as they were, whatever code draws from them."""

from __future__ import annotations

import ctypes
import random
import sys
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GeneratorsState"]


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
