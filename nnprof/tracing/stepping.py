"""How an optimizer of the user's wants to be stepped: alone, with a closure, on gradients that have
a graph.

Sharpness-aware optimizers (SAM) move the weights and call a closure for the gradients there; LBFGS
calls one as often as it likes; those that estimate a Hessian (SophiaH, AdaHessian) differentiate
the gradients once more. None of them says so in a way that could be asked: most raise when they do
not get it.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nnprof import _core
from nnprof.tracing.optimizers import OptimizerState, with_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch.optim import Optimizer

    from nnprof.tracing.trace import trace

    Closure = Callable[[], Any]

__all__ = ["GradientGraphWantedError", "calls_closure_first", "make_state", "step"]


class GradientGraphWantedError(Exception):
    """The optimizer differentiates gradients: the backward must be run with create_graph=True."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error  #: that it raised without


def calls_closure_first(optimizer: Optimizer) -> bool:
    """Is the closure all there is to a step, as for LBFGS? Such a `step` has no default for it."""
    parameter = inspect.signature(optimizer.step).parameters.get("closure")
    return parameter is not None and parameter.default is inspect.Parameter.empty


def step(optimizer: Optimizer, closure: Closure) -> None:
    """Steps, with the closure where the optimizer does without no other.

    Raises GradientGraphWantedError where the gradients need a graph.
    """
    if calls_closure_first(optimizer):
        optimizer.step(closure)
        return
    try:
        with _as_before(), _wanting_a_graph():
            optimizer.step()
    except Exception as error:
        if not _wants_closure(error):
            raise
    else:
        return
    with _wanting_a_graph():
        optimizer.step(closure)


def make_state(
    optimizer: Optimizer, running: trace, whole_step: Callable[[], object], *, graph: bool
) -> None:
    """Lets an optimizer that has not stepped yet make its state, unrecorded.

    By a step on empty gradients where that does, by a `whole_step` with forward and backward where
    the optimizer wants more; `graph`: it is known to. The trace puts it back at its end.
    """
    running.keep(optimizer, OptimizerState(optimizer, gradients=True).restore)
    if optimizer.state:
        return
    if not graph and not calls_closure_first(optimizer):
        try:
            with _as_before(), _wanting_a_graph():
                with_state(optimizer, running)
        except Exception as error:
            if not _wants_closure(error):
                raise
        else:
            return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    before = [p.grad for p in parameters]
    with running.unrecorded():
        try:
            whole_step()
        finally:
            for parameter, grad in zip(parameters, before, strict=True):
                parameter.grad = grad


def _wants_closure(error: Exception) -> bool:
    return "closure" in f"{type(error).__name__} {error}".lower()


@contextmanager
def _wanting_a_graph() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if any(sign in text for sign in ("create_graph", "grad_fn", "not require grad")):
            raise GradientGraphWantedError(error) from error
        raise


@contextmanager
def _as_before() -> Iterator[None]:
    """A step that raises has not told that it is over."""
    around = _core.stage_depth()
    try:
        yield
    except BaseException:
        _core.leave_stage(around)
        raise
