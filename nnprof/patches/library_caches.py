"""Caches of libraries: what a trace computes must not stay in them.

transformers keeps position embeddings in caches that belong to a function, where no model holds
them: a later real forward would be handed a tensor without data, and a second measure would count
less than the first. It leaves the cache alone while torch.compile looks on, so for the time of a
trace it is told that.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on"]

#: The module that has the cache, and the function that it asks.
_MODULE, _QUESTION = "transformers.pytorch_utils", "is_torchdynamo_compiling"


def switch_on() -> list[Callable[[], object]]:
    """Keeps a trace out of the caches that are loaded; returns what undoes it."""
    module = sys.modules.get(_MODULE)
    ask = getattr(module, _QUESTION, None)
    if ask is None:
        return []
    setattr(module, _QUESTION, _asking(ask))
    return [functools.partial(setattr, module, _QUESTION, ask)]


@functools.cache
def _asking(ask: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: _core.tracing() or ask()
