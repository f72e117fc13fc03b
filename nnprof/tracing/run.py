"""One call of a model inside a trace: what `measure` records."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from nnprof.calls.inputs import explain_call_failure, kept
from nnprof.calls.model_call import ModelCall
from nnprof.errors import (
    DataDependentError,
    GraphNotRecordedError,
    NnprofError,
    RaisedError,
    UnsupportedError,
    raise_as_ours,
)
from nnprof.tracing.failures import wants_data
from nnprof.tracing.lazy import consumed
from nnprof.tracing.stepping import GradientGraphWantedError
from nnprof.tracing.trace import trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnprof.tracing.questions import Assume
    from nnprof.tracing.training import Training

__all__ = ["bare_output", "run"]

_MANY = 64 * 1024 * 1024

#: Tensors of at most so many elements are really computed: integers, bools, floats that the
#: forward makes from known values alone, and floats made from real inputs and buffers. At first,
#: and again when the model asked for the value of a larger one.
LIMITS: tuple[dict[str, Any], ...] = (
    {"may_rerun": True},
    {"integer_limit": _MANY, "float_limit": _MANY, "input_float_limit": _MANY},
)


def run(
    call: ModelCall, *, assume: Assume | None = None, target: torch.device | str | None = None
) -> tuple[trace, Any]:
    """The ended trace of one shape-only call, and what the call returned.

    The arguments are as they were afterwards. What the model raises is raised as an `NnprofError`
    too, and as an `InputError` where the arguments were why.
    """
    model, arguments, keywords = call.model, call.arguments, call.keywords
    training = call.training
    graph = training is not None
    attempts = list(LIMITS)
    while attempts:
        limits = attempts.pop(0)
        running = trace(
            model, backward=graph, autocast=call.autocast, assume=assume, target=target, **limits
        )
        running.also_remember(arguments, keywords, training and training.loss)
        try:
            with running, kept(arguments, keywords):
                given = keywords
                if call.prepare is not None:
                    with running.unrecorded():
                        given = call.prepare(keywords)
                running.mark_inputs(arguments, given, made=call.made)
                output = _called(model, arguments, given, running, training)
        except GraphNotRecordedError:
            # The forward itself asks for gradients: forces from an energy.
            graph = True
            attempts.insert(0, limits)
            continue
        except GradientGraphWantedError as wanted:
            assert training is not None  # it is what raises this
            if training.gradient_graph:
                raise_as_ours(wanted.error, RaisedError)
            training = replace(training, gradient_graph=True)
            attempts.insert(0, limits)
            continue
        except Exception as error:
            if attempts and (running.rerun_wanted or wants_data(error)):
                continue
            explain_call_failure(model, arguments, keywords, error)
            raise_as_ours(error, _kind_of(error))
        if not running.rerun_wanted:
            break
    return running, output


def bare_output(method: Callable[..., Any], keywords: dict[str, Any]) -> Any:
    """What one shape-only call returns, without gradients: how inputs look at parts of a model."""
    with torch.no_grad():
        _, output = run(ModelCall(method, keywords=keywords))
    return output


def _called(
    model: Callable[..., Any],
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    running: trace,
    training: Training | None,
) -> Any:
    if training is None:
        return consumed(model(*arguments, **keywords), keep=False)
    return training.run(running, model, lambda: model(*arguments, **keywords))


def _kind_of(error: Exception) -> type[NnprofError]:
    """What became of the model's call: did it ask for data, did a trace alone make torch raise?"""
    if wants_data(error):
        return DataDependentError
    if isinstance(error, RuntimeError) and "meta" in str(error).lower() and _raised_by_torch(error):
        return UnsupportedError
    return RaisedError


def _raised_by_torch(error: BaseException) -> bool:
    traceback = error.__traceback__
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return str(traceback.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == "torch"
