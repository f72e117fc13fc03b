"""One call of a model inside a trace: what `measure` records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnprof.errors import GraphNotRecordedError
from nnprof.inputs import explain_call_failure, kept
from nnprof.trace import trace, wants_data

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from nnprof.training import Training

__all__ = ["run"]

_MANY = 64 * 1024 * 1024

#: Tensors of at most so many elements are really computed: integers and bools, floats that the
#: forward makes from known values alone (in a graph: none), and floats made from real inputs. At
#: first, and again when the model asked for the value of a larger one.
LIMITS: tuple[dict[str, Any], ...] = (
    {},
    {
        "integer_limit": _MANY,
        "float_limit": _MANY,
        "input_float_limit": _MANY,
        "graph_float_limit": _MANY,
    },
)


def run(
    model: Callable[..., Any],
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    *,
    autocast: torch.dtype | str | None = None,
    assume: float | Mapping[str, float] | None = None,
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    training: Training | None = None,
    target: torch.device | str | None = None,
    made: bool = False,
) -> tuple[trace, Any]:
    """The ended trace of one shape-only call, and what the call returned.

    `prepare` runs before it in the same trace, unrecorded, and returns the keyword arguments for
    the call from those given; `training` goes on to a whole training step. `made` arguments show
    the model's device. The arguments are as they were afterwards. Raises what the model raises, or
    an `InputError` where the arguments were why.
    """
    graph = training is not None
    attempts = list(LIMITS)
    while attempts:
        limits = attempts.pop(0)
        running = trace(
            model, backward=graph, autocast=autocast, assume=assume, target=target, **limits
        )
        try:
            with running, kept(arguments, keywords):
                given = keywords
                if prepare is not None:
                    with running.unrecorded():
                        given = prepare(keywords)
                running.mark_inputs(arguments, given, made=made)
                if training is None:
                    output = model(*arguments, **given)
                else:
                    with training.around(running, model):
                        output = model(*arguments, **given)
                        training.finish(running, output)
        except GraphNotRecordedError:
            # The forward itself asks for gradients: forces from an energy.
            graph = True
            attempts.insert(0, limits)
            continue
        except Exception as error:
            if attempts and (running.rerun_wanted or wants_data(error)):
                continue
            explain_call_failure(model, arguments, keywords, error)
            raise
        if not running.rerun_wanted:
            break
    return running, output
