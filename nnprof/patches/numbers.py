"""`tolist()` and `numpy()` in a trace read values that are known.

They go past the dispatcher, straight to a tensor's memory. A shape-only tensor has none, its values
may be known all the same; and what was written to a real one may not be.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from torch import _C, Tensor
from torch._C import TensorBase

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on"]

_tolist: Any = TensorBase.tolist
_numpy: Any = TensorBase.numpy
#: What torch calls on the way to the memory is no part of the program.
_apart: Any = functools.partial(
    getattr(_C, "_ExcludeDispatchKeyGuard"),  # noqa: B009  torch's stubs leave it out
    _C.DispatchKeySet(_core.intercept_key()),
)


def switch_on() -> list[Callable[[], object]]:
    """Has both ask the core first; returns what undoes it."""
    Tensor.tolist = _tolist_known  # type: ignore[assignment]
    Tensor.numpy = _numpy_known  # type: ignore[method-assign, assignment]
    return [functools.partial(delattr, Tensor, name) for name in ("tolist", "numpy")]


@functools.wraps(_tolist)
def _tolist_known(self: Tensor) -> Any:
    known = _core.known_values(self, False) if _core.tracing() else None
    if known is None:
        return _tolist(self)
    with _apart():
        return _tolist(known)


@functools.wraps(_numpy)
def _numpy_known(self: Tensor, *, force: bool = False) -> Any:
    # An array shares memory with its tensor: what is written to it is not written to the user's.
    known = _core.known_values(self, True) if _core.tracing() else None
    if known is None:
        return _numpy(self, force=force)
    with _apart():
        # Torch refuses it for what needs a gradient.
        return _numpy(known.requires_grad_() if self.requires_grad else known, force=force)
