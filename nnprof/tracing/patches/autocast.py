"""Autocast in a trace: of the device that the model is for, not of the one its shadows are on."""

from __future__ import annotations

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


_initialize = copy_of(torch.autocast.__init__)


def _knowing_meta(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
    """Lets `torch.autocast(x.device.type)` pass in a trace.

    The device that a forward reads off its tensors is meta, for which torch knows no autocast.
    """
    if device_type == "meta" and _core.tracing():
        device_type = _device_cast_for()
    _initialize(self, device_type, *args, **kwargs)


def _device_cast_for() -> str:
    """The device whose autocast is on around; else the one that can be switched on here."""
    if torch.is_autocast_enabled("cpu"):
        return "cpu"
    return "cuda" if torch.is_autocast_enabled("cuda") or torch.cuda.is_available() else "cpu"


replace(torch.autocast.__init__, _knowing_meta)
