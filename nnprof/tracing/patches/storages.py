"""`storage.resize_()`: memory that is taken and given back under tensors that stay (FSDP)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from nnprof import _core
from nnprof.base.process import replaced

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on"]


def switch_on() -> list[Callable[[], object]]:
    """Has the core take note of it; returns what undoes it."""
    own = torch.UntypedStorage.resize_
    return [replaced(torch.UntypedStorage, "resize_", _noting(own))]


@functools.cache
def _noting(own: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(own)
    def resize_(self: torch.UntypedStorage, size: int) -> Any:
        if not _core.tracing():
            return own(self, size)
        _core.resize_storage(self, int(size))
        return self

    return resize_
