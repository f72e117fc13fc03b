"""What is run: with shapes alone to be counted, on a device to be timed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from nnprof.tracing.training import Training

__all__ = ["ModelCall"]


@dataclass(frozen=True)
class ModelCall:
    """One call of a model: made once from what `measure` was asked, and handed on."""

    model: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    #: Runs before it, unrecorded, and returns the call's keyword arguments from those given.
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    #: What follows the forward in a training step.
    training: Training | None = None
    autocast: torch.dtype | str | None = None
    #: The arguments were made for it: they show the model's device.
    made: bool = False
