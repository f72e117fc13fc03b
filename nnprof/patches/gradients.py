"""`.grad` in a trace: a real parameter takes a shape-only gradient, and gets its own back."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch._C import TensorBase

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on"]

_own: Any = TensorBase.grad


def switch_on() -> list[Callable[[], object]]:
    """Tells the core what is assigned; returns what undoes it."""
    Tensor.grad = property(_own.__get__, _assign, _own.__delete__)  # type: ignore[assignment]
    return [functools.partial(delattr, Tensor, "grad")]


def _assign(self: Tensor, gradient: Any) -> None:
    told = gradient is None or isinstance(gradient, Tensor)
    if told and _core.traces_backward() and _core.assign_gradient(self, gradient):
        return
    _own.__set__(self, gradient)
