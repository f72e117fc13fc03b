"""This rank's part of a DTensor, and of its gradient."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

__all__ = ["is_placed_alike", "is_shard", "local", "local_gradients"]


def is_shard(tensor: Tensor) -> bool:
    """Is it a DTensor whose part here is a plain tensor?"""
    part = getattr(tensor, "_local_tensor", None)
    return part is not None and not hasattr(part, "_local_tensor")


def local(tensor: Any) -> Tensor:
    """The part of a DTensor that is here, when what makes it has ended."""
    part: Any = tensor._local_tensor
    return part.trigger_wait() if hasattr(part, "trigger_wait") else part  # type: ignore[no-any-return]


def is_placed_alike(tensor: Any, gradient: Any) -> bool:
    """Is a gradient shared out among ranks as its tensor is?"""
    return is_shard(gradient) and tuple(gradient.placements) == tuple(tensor.placements)


@contextmanager
def local_gradients(parameters: Sequence[Tensor]) -> Iterator[None]:
    """The parts here of parameters have the parts of their gradients as theirs meanwhile."""
    parts = [(local(p), local(p.grad)) for p in parameters if p.grad is not None]
    for part, gradient in parts:
        part.grad = gradient
    try:
        yield
    finally:
        for part, _ in parts:
            part.grad = None
