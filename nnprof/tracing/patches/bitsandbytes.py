"""bitsandbytes packs four-bit weights anew for the CPU at the first forward: not in a trace.

It would write shape-only tensors into the state of the user's weights, where no model holds them.
Products count the same in either form.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on"]

_MODULE, _FUNCTION = "bitsandbytes.nn.modules", "_convert_weight_packed_for_cpu"


def switch_on() -> list[Callable[[], object]]:
    """Leaves weights as they are, where the library is loaded; returns what undoes it."""
    module = sys.modules.get(_MODULE)
    pack = getattr(module, _FUNCTION, None)
    if pack is None:
        return []
    setattr(module, _FUNCTION, _packing(pack))
    return [functools.partial(setattr, module, _FUNCTION, pack)]


@functools.cache
def _packing(pack: Callable[..., Any]) -> Callable[..., Any]:
    def packed(weight: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
        return (weight, state) if _core.tracing() else pack(weight, state, *args, **kwargs)

    return packed
