"""One trace at a time on any module: other threads wait."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from torch import nn

from nnprof import _core
from nnprof.tracing.held import held_by

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["claimed_tracer", "release"]

_module_free = threading.Condition()


def claimed_tracer(
    model: Callable[..., Any] | None, also: tuple[Any, ...], options: dict[str, Any]
) -> _core.Tracer:
    """A tracer whose modules no other thread is tracing; waits until that is so."""
    with _module_free:
        while True:
            tracer = _core.Tracer(**options)
            if isinstance(model, nn.Module):
                tracer.add_modules(model, "")
            for held in held_by(model, *also):
                tracer.remember(held)
            if tracer.claim_modules():
                return tracer
            _module_free.wait()


def release(tracer: _core.Tracer) -> None:
    """Lets other threads trace its modules."""
    with _module_free:
        tracer.release_modules()
        _module_free.notify_all()
