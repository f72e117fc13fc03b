"""The cost of one call, as a trace counts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import nnprof

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CallCost", "cost_of", "macs", "meta"]


@dataclass(frozen=True)
class CallCost:
    """Kinds of FLOPs that do not occur are left out, contractions (2 x MACs) too."""

    macs: int
    kinds: dict[str, int]
    bytes_read: int
    bytes_written: int
    flops_skipped: int


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, device="meta", dtype=dtype)


def macs(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """The MACs of all that the function calls."""
    with torch.no_grad(), nnprof.trace() as running:
        function(*args, **kwargs)
    return running.profile().macs


def cost_of(function: Callable[..., Any], *args: Any, **kwargs: Any) -> CallCost:
    """Make the tensors outside: what makes them would count."""
    with torch.no_grad(), nnprof.trace() as running:
        function(*args, **kwargs)
    profile = running.profile()
    assert not profile.coverage.generic
    kinds = {kind: count for kind, count in profile.flops_by_kind.items() if count}
    kinds.pop("contraction", None)
    skipped = profile.flops - profile.flops_executed
    return CallCost(profile.macs, kinds, profile.bytes_read, profile.bytes_written, skipped)
