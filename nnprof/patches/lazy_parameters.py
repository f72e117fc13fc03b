"""Parameters that get their shape in a trace: they are made really, and hold zeros."""

from __future__ import annotations

import functools
from types import FunctionType
from typing import TYPE_CHECKING, Any

from torch.nn import parameter

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on"]

# Torch's own function gets other code for the time, as in `scopes.py`.
_own: Any = parameter.UninitializedTensorMixin.materialize  # type: ignore[attr-defined]
_own_code = _own.__code__
_original = FunctionType(_own_code, _own.__globals__, _own.__name__, _own.__defaults__)


def switch_on() -> list[Callable[[], object]]:
    """Lets the core make them; returns what undoes it."""
    _own.__kwdefaults__ = {"nnprof_materialize": _materialize}
    _own.__code__ = _through_nnprof.__code__
    return [
        functools.partial(setattr, _own, "__kwdefaults__", None),
        functools.partial(setattr, _own, "__code__", _own_code),
    ]


def _through_nnprof(self: Any, *args: Any, nnprof_materialize: Any, **kwargs: Any) -> Any:
    return nnprof_materialize(self, *args, **kwargs)


def _materialize(self: Any, shape: Any, device: Any = None, dtype: Any = None) -> None:
    if not _core.tracing():
        _original(self, shape, device, dtype)
        return
    _core.materialize(self, list(shape), dtype)
    self.__class__ = self.cls_to_become
