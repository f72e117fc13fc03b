"""Optimizers in a trace: calls made in a `step()` belong to the optimizer phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.optim import optimizer

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on"]


def switch_on() -> list[Callable[[], object]]:
    """Tells the core when an optimizer steps; returns what undoes it."""
    before = optimizer.register_optimizer_step_pre_hook(_enter)
    after = optimizer.register_optimizer_step_post_hook(_leave)
    return [before.remove, after.remove]


def _enter(stepping: Any, args: Any, kwargs: Any) -> None:
    if _core.tracing():
        _core.enter_optimizer()


def _leave(stepping: Any, args: Any, kwargs: Any) -> None:
    if _core.tracing():
        _core.leave_optimizer()
