"""Why code failed in a trace: notes on what it raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnprof.errors import DataDependentError, GraphNotRecordedError

if TYPE_CHECKING:
    from nnprof import _core

__all__ = ["NO_DATA_NOTE", "note_guesses", "wants_data"]

NO_DATA_NOTE = (
    "nnprof: nothing is computed in a trace, so the tensor has no data to read. For a kernel of "
    "its own (Triton, pybind) wrap it as a custom operator with a fake kernel and add a rule with "
    "nnprof.register_rule"
)

#: What torch says when Python asks a meta tensor for its data, past the dispatcher.
_DATA_ERRORS = (
    "shouldn't be called on a tensor with unallocated storage",
    "can't convert meta device type tensor to numpy",
    "Cannot access data pointer of Tensor",
    "Tensor.item() cannot be called on meta tensors",
)


def wants_data(error: BaseException) -> bool:
    """Was it raised because the program read a tensor's data directly (tolist, numpy)?"""
    return any(text in str(error) for text in _DATA_ERRORS)


def note_guesses(tracer: _core.Tracer, error: BaseException) -> None:
    """Says with an error what the trace had guessed before it: that may be why."""
    guesses = tracer.assumptions
    if not guesses or isinstance(error, (DataDependentError, GraphNotRecordedError)):
        return
    shown = "; ".join(guesses[:_GUESSES_SHOWN])
    more = len(guesses) - _GUESSES_SHOWN
    note = f"nnprof: guessed in this trace: {shown}" + (f"; and {more} more" if more > 0 else "")
    if modules := sorted(tracer.guessing_modules):
        answers = ", ".join(f'"{path}": VALUE' for path in modules[:_GUESSES_SHOWN])
        note += (
            ". Where a guessed index led here, say what is read of it, with "
            f"assume={{{answers}}}, or a list or a function for several"
        )
    if any(_ANSWERED in guess for guess in guesses):
        note += (
            ". Where one answer to several questions led here, answer each by itself, with "
            "assume=lambda q: ANSWER if q.line == LINE else None: what is left open is told next"
        )
    error.add_note(note)


_GUESSES_SHOWN = 4
#: How the core lists what `assume=` answered; a count may follow.
_ANSWERED = "as the caller said"
