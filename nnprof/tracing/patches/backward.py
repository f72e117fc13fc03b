"""The autograd engine in a trace: calls made while it runs belong to the backward phase."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import graph

from nnprof import _core
from nnprof.errors import GraphNotRecordedError
from nnprof.tracing.patches.other_code import copy_of, replace

__all__ = ["NO_GRAPH"]

NO_GRAPH = (
    "autograd is asked for gradients, and this trace records no graph: pass backward=True to "
    "nnprof.trace() or nnprof.measure()"
)

_original = copy_of(graph._engine_run_backward)
#: Where these stand among the positional arguments after the outputs.
_GRADIENTS, _RETAIN_GRAPH, _CREATE_GRAPH, _INPUTS = range(4)


def _run_in_phase(t_outputs: Any, *args: Any, **kwargs: Any) -> Any:
    if not _core.tracing():
        return _original(t_outputs, *args, **kwargs)
    if not _core.traces_backward():
        raise GraphNotRecordedError(NO_GRAPH)
    # Outputs are shape-only: gradients that the program has made before the trace are real.
    given = tuple(_shadow(gradient) for gradient in args[_GRADIENTS])
    # Gradients of chosen inputs are captured by the engine itself.
    if kwargs.get("accumulate_grad") and not args[_INPUTS] and _all_tensors((*t_outputs, *given)):
        as_one = _core.as_one_task(t_outputs, given, bool(args[_RETAIN_GRAPH]))
        if as_one is not None:
            t_outputs, given = as_one[:1], as_one[1:]
    around = _core.enter_backward(bool(args[_CREATE_GRAPH]))
    try:
        return _original(t_outputs, given, *args[_GRADIENTS + 1 :], **kwargs)
    finally:
        _core.leave_stage(around)


def _shadow(gradient: Any) -> Any:
    return _core.shadow(gradient) if isinstance(gradient, Tensor) else gradient


def _all_tensors(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, Tensor) for value in values)


replace(graph._engine_run_backward, _run_in_phase)
