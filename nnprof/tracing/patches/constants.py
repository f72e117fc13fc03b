"""`torch.tensor([3, 4], device=x.device)` inside a trace keeps its numbers.

What stands for the model's tensors is on the meta device. Torch makes a constant for that device
without looking at its numbers, which the model may go on to count or loop with. And it puts one for
another device there, which may not be in this machine.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["switch_on"]

_MAKERS = ("tensor", "as_tensor", "asarray")


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
        given = isinstance(data, torch.Tensor)  # to be moved, not to be made
        if given or not _core.tracing():
            return make(data, *args, device=device, **kwargs)
        try:
            constant = make(data, *args, device="cpu", **kwargs)
            if device is not None and torch.device(device).type != "cpu":
                _core.place_on_device(constant)
            return constant
        except RuntimeError as error:
            # Made of tensors whose values are not known.
            try:
                return make(data, *args, device="meta", **kwargs)
            except RuntimeError:
                raise error from None

    return made


def _new_tensor(own: Any, self: Tensor, data: Any, *args: Any, **kwargs: Any) -> Tensor:
    """In place of `x.new_tensor(data)`, which makes it on the device of `x`."""
    if args or isinstance(data, torch.Tensor):
        return own(self, data, *args, **kwargs)  # type: ignore[no-any-return]
    kwargs["dtype"] = kwargs.get("dtype") or self.dtype
    kwargs["device"] = kwargs.get("device") or self.device
    return torch.tensor(data, **kwargs)


def _new(own: Any, self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """In place of `x.new(data)`, where numbers are given and no sizes.

    And of `gradient.new(indices, values, sizes)` in SparseAdam: torch's constructor knows no sparse
    tensors on meta.
    """
    if len(args) == 3 and self.layout is torch.sparse_coo and isinstance(args[0], torch.Tensor):
        return torch.sparse_coo_tensor(*args, dtype=self.dtype, check_invariants=False)
    data = args[0] if len(args) == 1 else kwargs.get("data")
    if isinstance(data, (list, tuple)) and not isinstance(data, torch.Size):
        return torch.tensor(data, dtype=self.dtype, device=self.device)
    return own(self, *args, **kwargs)  # type: ignore[no-any-return]


# Written in C: the core calls these for the program in a trace.
_core.replace_tensor_method("new_tensor", _new_tensor)
_core.replace_tensor_method("new", _new)
