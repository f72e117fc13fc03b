"""Views of tensor subclasses, which torch gives the storage of what they are views of.

That is how it tells that the two are one. It wants both on one device; in a trace one may be
shape-only, and the other a parameter from before.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from nnprof import _core
from nnprof.base.process import replaced

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["switch_on"]

_NAME = "_functionalize_unsafe_set"


def switch_on() -> list[Callable[[], object]]:
    """Lets them share a storage across devices; returns what undoes it."""
    own = getattr(torch, _NAME)
    return [replaced(torch, _NAME, _sharing(own))]


@functools.cache
def _sharing(own: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(own)
    def sharing(view: Tensor, viewed: Tensor) -> None:
        (_core.share_storage if _core.tracing() else own)(view, viewed)

    return sharing
