"""`tolist()` and `numpy()` in a trace read values that are known.

They go past the dispatcher, straight to a tensor's memory. A shape-only tensor has none, its values
may be known all the same; and what was written to a real one may not be. Where nobody knows them,
each number is asked for, as `item()` asks for one.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import _C, Tensor

from nnprof import _core

__all__: list[str] = []

#: What torch calls on the way to the memory is no part of the program.
_apart: Any = functools.partial(
    getattr(_C, "_ExcludeDispatchKeyGuard"),  # noqa: B009  torch's stubs leave it out
    _C.DispatchKeySet(_core.intercept_key()),
)


def _tolist(own: Any, self: Tensor) -> Any:
    known = _core.known_values(self, False)
    if known is None:
        return _asked(self) if _lacks_memory(self) else own(self)
    with _apart():
        return own(known)


def _numpy(own: Any, self: Tensor, *, force: bool = False) -> Any:
    # An array shares memory with its tensor: what is written to it is not written to the user's.
    known = _core.known_values(self, True)
    if known is None:
        if not _lacks_memory(self) or (self.requires_grad and not force):
            return own(self, force=force)
        with _apart():
            array = own(torch.empty(self.shape, dtype=self.dtype, device="cpu"))
        array[...] = _asked(self)
        return array
    with _apart():
        # Torch refuses it for what needs a gradient.
        return own(known.requires_grad_() if self.requires_grad else known, force=force)


def _lacks_memory(tensor: Tensor) -> bool:
    return bool(_core.with_true_devices(lambda: tensor.is_meta))


def _asked(tensor: Tensor) -> Any:
    """Its numbers, in lists in lists, as the caller or the training loop answers for each."""
    if tensor.dim() == 0:
        return tensor.detach().item()
    return [_asked(part) for part in tensor.detach().unbind()]


# Written in C: the core calls these for the program in a trace.
_core.replace_tensor_method("tolist", _tolist)
_core.replace_tensor_method("numpy", _numpy)
