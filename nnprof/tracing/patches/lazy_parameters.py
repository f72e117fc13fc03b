"""Parameters that get their shape in a trace: they are made really, and hold zeros."""

from __future__ import annotations

from typing import Any

from torch.nn import parameter

from nnprof import _core
from nnprof.tracing.patches.other_code import copy_of, replace

__all__: list[str] = []

_own: Any = parameter.UninitializedTensorMixin.materialize  # type: ignore[attr-defined]
_original = copy_of(_own)


def _materialize(self: Any, shape: Any, device: Any = None, dtype: Any = None) -> None:
    if not _core.tracing():
        _original(self, shape, device, dtype)
        return
    _core.materialize(self, list(shape), dtype)
    self.__class__ = self.cls_to_become


replace(_own, _materialize)
