"""Devices as a caller names them."""

from __future__ import annotations

from typing import Any

import torch

from nnprof.errors import InputError

__all__ = ["as_device"]


def as_device(device: Any) -> torch.device:
    """The `torch.device`; raises `InputError` for what names none."""
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{device!r} is no device: pass 'cpu' or 'cuda'") from error
