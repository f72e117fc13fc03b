"""Every exception nnprof raises.

All derive from `NnprofError`. Those that stand for an error PyTorch itself would raise derive from
PyTorch's type too, because models catch it: `except RuntimeError` around an attention fallback must
still work while the model is traced. What the model's own code raises comes out of `measure` as a
`RaisedError` that is also of the class which the code raised.
"""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BadTypeError",
    "BadValueError",
    "BuildMismatchError",
    "DataDependentError",
    "DisturbedError",
    "GraphNotRecordedError",
    "InputError",
    "InternalError",
    "LazyModuleError",
    "MissingExtraError",
    "ModelError",
    "NestedTraceError",
    "NnprofError",
    "OutOfRangeError",
    "RaisedError",
    "ShapeError",
    "UnknownLayerError",
    "UnsupportedError",
    "only_nnprof_errors",
    "raise_as_ours",
]


class NnprofError(Exception):
    """Base of all errors raised by nnprof: catch this one to catch them all."""


class InputError(NnprofError, ValueError):
    """An argument of an nnprof call is wrong: the message names it and what to pass instead."""


class LazyModuleError(InputError):
    """A parameter has no shape before the first call: run the model once, then trace it.

    `measure` of a model does so itself, on a copy.
    """


class ModelError(NnprofError):
    """A model named by a string cannot be had: correct the name, or fix what its module raises."""


class MissingExtraError(ModelError, ImportError):
    """An optional package is not installed: run the pip line in the message."""


class UnknownLayerError(NnprofError, KeyError):
    """`profile[path]` found no such layer: take a close match or see `profile.layers`."""

    def __str__(self) -> str:
        # KeyError prints the repr of its argument, which garbles a sentence.
        return str(self.args[0]) if self.args else ""


class ShapeError(NnprofError, RuntimeError):
    """An operator refuses these tensors (sizes, dtypes), as PyTorch's does: see model and input."""


class OutOfRangeError(NnprofError, IndexError):
    """PyTorch would raise IndexError here (a dimension or an index out of range)."""


class BadValueError(NnprofError, ValueError):
    """PyTorch would raise ValueError here (an argument with a value it does not take)."""


class BadTypeError(NnprofError, TypeError):
    """PyTorch would raise TypeError here (an argument of a type it does not take)."""


class UnsupportedError(NnprofError, NotImplementedError):
    """No one knows this operator's output without data: add a rule with `register_rule`."""


class DataDependentError(NnprofError, RuntimeError):
    """The model asks for a value that only a real run knows: pass the answer with `assume=`."""


class GraphNotRecordedError(NnprofError, RuntimeError):
    """Gradients were asked for in a trace that records no graph: pass `backward=True`."""


class NestedTraceError(NnprofError, RuntimeError):
    """A trace was started inside another one on the same thread: end the outer one first."""


class DisturbedError(NnprofError):
    """What was measured cannot be trusted and is not kept: leave the machine alone, try again."""


class BuildMismatchError(NnprofError, ImportError):
    """The extension was built for another torch than the one running: rebuild as it says."""


class RaisedError(NnprofError):
    """The model's own code raised it: `__cause__` is the original, whose class this is of too."""


class InternalError(NnprofError):
    """A bug in nnprof: please report it with the message and the output of `nnprof --version`."""


# --- other exceptions as ours --------------------------------------------------------------------

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def only_nnprof_errors(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """All that `function` raises is an `NnprofError`, but for interrupts and a lack of memory."""

    @functools.wraps(function)
    def called(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            return function(*args, **kwargs)
        except NnprofError:
            raise
        except Exception as error:
            raise_as_ours(error, _kind_of(error))

    return called


def raise_as_ours(error: Exception, kind: type[NnprofError]) -> NoReturn:
    """Raises `error` as an error of `kind` that is of its own class, too, and has its notes.

    As it is where it is one of ours already, where memory ran out, and where it cannot be made.
    """
    if isinstance(error, (NnprofError, MemoryError)) or _is_out_of_memory(error):
        raise error
    ours = _as_ours(error, kind)
    raise ours.with_traceback(None) from error


def _as_ours(error: Exception, kind: type[NnprofError]) -> NnprofError:
    try:
        return _made(kind, type(error), _arguments(error), error.__dict__)
    except TypeError:
        ours = kind(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            ours.add_note(note)
        return ours


def _made(
    kind: type[NnprofError], raised: type[Exception], args: tuple[Any, ...], state: dict[str, Any]
) -> NnprofError:
    joined = _joined(kind, raised)
    # A class of the model's may take other arguments than it keeps: it is not made anew.
    own_init = isinstance(joined.__init__, types.FunctionType)
    error = joined.__new__(joined, *args) if own_init else joined(*args)
    if isinstance(error, OSError):
        OSError.__init__(error, *args)  # hidden by that of another base, it fills in the file
    error.__dict__.update(state)
    return error


def _arguments(error: Exception) -> tuple[Any, ...]:
    """What makes it anew: `args` of an OSError leave out its files."""
    return OSError.__reduce__(error)[1] if isinstance(error, OSError) else error.args  # type: ignore[return-value]


def _joined(kind: type[NnprofError], raised: type[Exception]) -> type[NnprofError]:
    bases = (kind,) if issubclass(kind, raised) else (kind, raised)
    names = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce__": _reduced}
    return type(raised.__name__, bases, {**names, "_parts": (kind, raised)})


def _reduced(error: Any) -> tuple[Any, ...]:
    """For pickle, which finds no class that was made while running."""
    return _made, (*error._parts, _arguments(error), error.__dict__)


def _is_out_of_memory(error: Exception) -> bool:
    return type(error).__name__ == "OutOfMemoryError"


def _kind_of(error: BaseException) -> type[NnprofError]:
    """Whose error was it? A line of nnprof's raised it, or it was called with wrong arguments."""
    called = error.__traceback__
    if called is None or called.tb_next is None:
        return InputError
    innermost = called.tb_next
    while innermost.tb_next is not None:
        innermost = innermost.tb_next
    module = str(innermost.tb_frame.f_globals.get("__name__", ""))
    return InternalError if module.partition(".")[0] == "nnprof" else RaisedError
