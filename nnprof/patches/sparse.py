"""Sparse tensors on the meta device, made as SparseAdam makes them: `gradient.new(...)`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._C import TensorBase

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on"]

_own: Any = TensorBase.new


def switch_on() -> list[Callable[[], object]]:
    """PyTorch's constructor knows no such tensors; returns what undoes it."""
    Tensor.new = _new  # type: ignore[assignment,method-assign]
    return [functools.partial(delattr, Tensor, "new")]


def _new(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    made_of_parts = len(args) == 3 and isinstance(args[0], Tensor)
    if made_of_parts and self.layout is torch.sparse_coo and _core.tracing():
        return torch.sparse_coo_tensor(*args, dtype=self.dtype, check_invariants=False)
    made: Tensor = _own(self, *args, **kwargs)
    return made
