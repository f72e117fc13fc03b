"""Beam search goes on to its longest.

transformers ends it early where no running beam can become better than the finished ones. That
compares scores, which nobody knows in a trace. There it is taken that each can, as it is where no
sequence ends early.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["switch_on"]

_MODULE, _CLASS, _QUESTION = (
    "transformers.generation.utils",
    "GenerationMixin",
    "_check_early_stop_heuristic",
)
#: Its arguments: what the running beams reach, and whether each batch may improve as yet.
_SCORES, _SO_FAR = "running_beam_scores", "is_early_stop_heuristic_unsatisfied"


def switch_on() -> list[Callable[[], object]]:
    """Answers for the beam search that is loaded; returns what undoes it."""
    owner = getattr(sys.modules.get(_MODULE), _CLASS, None)
    ask = vars(owner).get(_QUESTION) if owner is not None else None
    if not isinstance(ask, staticmethod):
        return []
    setattr(owner, _QUESTION, staticmethod(_going_on(ask.__func__)))
    return [functools.partial(setattr, owner, _QUESTION, ask)]


def _is_meta(tensor: Tensor) -> bool:
    return tensor.is_meta


@functools.cache
def _going_on(ask: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(ask)

    @functools.wraps(ask)
    def asked(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        if _core.tracing() and _core.with_true_devices(_is_meta, given[_SCORES]):
            _core.assume("beam search goes on to its longest: no running beam is given up early")
            return given[_SO_FAR]
        return ask(*args, **kwargs)

    return asked
