"""`torch.tensor([3, 4], device=x.device)` inside a trace keeps its numbers.

What stands for the model's tensors is on the meta device. Torch makes a constant for that device
without looking at its numbers, which the model may go on to count or loop with.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on"]

_MAKERS = ("tensor", "as_tensor")


def switch_on() -> list[Callable[[], object]]:
    """Prepares torch's makers of constants for a trace; returns what undoes it."""
    undo: list[Callable[[], object]] = []
    for name in _MAKERS:
        make = getattr(torch, name)
        setattr(torch, name, _keeping_numbers(make))
        undo.append(functools.partial(setattr, torch, name, make))
    return undo


@functools.cache
def _keeping_numbers(make: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(make)
    def made(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Any:
        if device is None:
            return make(data, *args, **kwargs)
        given = isinstance(data, torch.Tensor)  # to be moved, not to be made
        if not given and torch.device(device).type == "meta" and _core.tracing():
            try:
                return make(data, *args, **kwargs, device="cpu")
            except RuntimeError:
                pass  # made of tensors whose values are not known
        return make(data, *args, **kwargs, device=device)

    return made
