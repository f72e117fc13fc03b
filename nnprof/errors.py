"""Every exception nnprof raises on purpose.

All derive from `NnprofError`. Those that stand for an error PyTorch itself would raise derive from
PyTorch's type too, because models catch it: `except RuntimeError` around an attention fallback must
still work while the model is traced.
"""

from __future__ import annotations

__all__ = [
    "BadTypeError",
    "BadValueError",
    "BuildMismatchError",
    "DataDependentError",
    "DisturbedError",
    "GraphNotRecordedError",
    "InputError",
    "InternalError",
    "MissingExtraError",
    "ModelError",
    "NestedTraceError",
    "NnprofError",
    "OutOfRangeError",
    "ShapeError",
    "UnknownLayerError",
    "UnsupportedError",
]


class NnprofError(Exception):
    """Base of all errors raised by nnprof: catch this one to catch them all."""


class InputError(NnprofError, ValueError):
    """An argument of an nnprof call is wrong: the message names it and what to pass instead."""


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
    """PyTorch would reject these tensors here (sizes, dtypes): fix the model or its input."""


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


class InternalError(NnprofError):
    """A bug in nnprof: please report it with the message and the output of `nnprof --version`."""
