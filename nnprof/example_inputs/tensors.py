"""Made tensors: without data, in the model's own dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from nnprof.modules import parameters_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["batch_of", "floating_dtype", "floats"]


def batch_of(given: Mapping[str, Any]) -> int | None:
    """The batch of given arguments: positions and the like have one row for all of it."""
    tensors = [value for value in given.values() if isinstance(value, torch.Tensor)]
    return max((tensor.shape[0] for tensor in tensors if tensor.dim() > 1), default=None)


def floating_dtype(model: Any) -> torch.dtype:
    """Of the model's first floating parameter, else PyTorch's default."""
    of_parameters = (p.dtype for p in parameters_of(model) if p.dtype in _FLOATING)
    return next(of_parameters, torch.get_default_dtype())


def floats(model: Any, *sizes: int) -> torch.Tensor:
    """A tensor of `sizes` in the dtype of `model`, without data."""
    return torch.empty(sizes, dtype=floating_dtype(model), device="meta")


#: Weights in float8 or integers say nothing of what the model takes.
_FLOATING = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
