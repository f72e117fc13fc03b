"""Autocast in a trace: of the device that the model is for, not of the one its shadows are on."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from nnprof import _core
from nnprof.tracing.patches.other_code import copy_of, replace

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on_region"]


def switch_on_region(dtype: torch.dtype, device: str) -> Callable[[], object]:
    """Autocast of a device, which need not be here: torch.autocast would refuse it."""
    before = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    torch.set_autocast_enabled(device, True)
    torch.set_autocast_dtype(device, dtype)
    torch.autocast_increment_nesting()

    def restore() -> None:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled(device, before[0])
        torch.set_autocast_dtype(device, before[1])

    return restore


_NO_CUDA = "CUDA is not available or torch_xla is imported"

_initialize = copy_of(torch.autocast.__init__)


def _knowing_meta(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
    """Lets `torch.autocast(x.device.type)` pass in a trace, and `torch.autocast("cuda")` cast.

    The device that a forward reads off its tensors is meta, for which torch knows no autocast. That
    of CUDA it switches off, with a warning, where there is none: a trace needs none.
    """
    if not _core.tracing():
        _initialize(self, device_type, *args, **kwargs)
        return
    if device_type == "meta":
        device_type = _device_cast_for()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _NO_CUDA)
        _initialize(self, device_type, *args, **kwargs)
    if device_type == "cuda" and not torch.cuda.is_available():
        self._enabled = bool(_wants(*args, **kwargs))


def _wants(dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None) -> bool:
    """Of the arguments of torch.autocast after the device: whether it is to be on."""
    return enabled


def _device_cast_for() -> str:
    """The device whose autocast is on around; else the one that can be switched on here."""
    if torch.is_autocast_enabled("cpu"):
        return "cpu"
    return "cuda" if torch.is_autocast_enabled("cuda") or torch.cuda.is_available() else "cpu"


replace(torch.autocast.__init__, _knowing_meta)
