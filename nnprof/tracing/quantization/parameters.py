"""Parameters whose elements are not the numbers that they stand for."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["STORED_BYTES", "stored_form"]

#: Attribute of a parameter on the meta device that a checkpoint stores in so many bytes.
STORED_BYTES = "_nnprof_stored_bytes"


def stored_form(parameter: torch.Tensor, module: nn.Module) -> tuple[int, int] | None:
    """How many numbers a module's parameter stands for, and the bytes it takes with its scales.

    None where these are its elements and theirs. The core asks for parameters that have one of the
    attributes that are looked at here.
    """
    stored = getattr(parameter, STORED_BYTES, None)
    if stored is not None:
        return parameter.numel(), int(stored)
    state = getattr(parameter, "quant_state", None)  # bitsandbytes.nn.Params4bit
    if state is not None and getattr(state, "shape", None) is not None:
        scales = sum(_bytes(tensor) for tensor in _tensors_of_state(state))
        return prod(state.shape), _bytes(parameter) + scales
    rows = getattr(parameter, "SCB", None)  # bitsandbytes.nn.Int8Params
    if rows is None:  # after the first forward its module has them
        rows = getattr(getattr(module, "state", None), "SCB", None)
    if isinstance(rows, torch.Tensor) and parameter.dtype is torch.int8:
        return parameter.numel(), _bytes(parameter) + _bytes(rows)
    return None


def _tensors_of_state(state: Any) -> Iterator[torch.Tensor]:
    """Of bitsandbytes' QuantState, whose scales may be quantized in turn."""
    for name in ("absmax", "code", "offset"):
        value = getattr(state, name, None)
        if isinstance(value, torch.Tensor):
            yield value
    nested = getattr(state, "state2", None)
    if nested is not None:
        yield from _tensors_of_state(nested)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
