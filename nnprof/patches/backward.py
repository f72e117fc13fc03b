"""The autograd engine in a trace: calls made while it runs belong to the backward phase."""

from __future__ import annotations

import functools
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor
from torch.autograd import graph

from nnprof import _core
from nnprof.errors import GraphNotRecordedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NO_GRAPH", "switch_on"]

NO_GRAPH = (
    "autograd is asked for gradients, and this trace records no graph: pass backward=True to "
    "nnprof.trace() or nnprof.measure()"
)

# Torch's own function gets other code for the time: other modules of torch hold it by name.
_run = cast("FunctionType", graph._engine_run_backward)
_own_code = _run.__code__
_original = FunctionType(_own_code, _run.__globals__, _run.__name__)

#: Where these stand among the positional arguments after the outputs.
_GRADIENTS, _CREATE_GRAPH = 0, 2


def switch_on() -> list[Callable[[], object]]:
    """Tells the core when the engine runs; returns what undoes it."""
    _run.__kwdefaults__ = {"nnprof_run": _run_in_phase}
    _run.__code__ = _through_nnprof.__code__
    return [
        functools.partial(setattr, _run, "__kwdefaults__", None),
        functools.partial(setattr, _run, "__code__", _own_code),
    ]


def _through_nnprof(t_outputs: Any, *args: Any, nnprof_run: Any, **kwargs: Any) -> Any:
    return nnprof_run(t_outputs, *args, **kwargs)


def _run_in_phase(t_outputs: Any, *args: Any, **kwargs: Any) -> Any:
    if not _core.tracing():
        return _original(t_outputs, *args, **kwargs)
    if not _core.traces_backward():
        raise GraphNotRecordedError(NO_GRAPH)
    # Outputs are shape-only: gradients that the program has made before the trace are real.
    given = [_shadow(gradient) for gradient in args[_GRADIENTS]]
    around = _core.enter_backward(bool(args[_CREATE_GRAPH]))
    try:
        return _original(t_outputs, tuple(given), *args[_GRADIENTS + 1 :], **kwargs)
    finally:
        _core.leave_stage(around)


def _shadow(gradient: Any) -> Any:
    return _core.shadow(gradient) if isinstance(gradient, Tensor) else gradient
