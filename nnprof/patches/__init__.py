"""Functions of torch and of libraries that behave otherwise while a trace runs.

One file for each, with `switch_on()`, which returns what undoes it. They are process-wide: in
threads without a trace the functions do what they always do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnprof.patches import (
    autocast,
    backward,
    beam_search,
    bitsandbytes,
    changes,
    constants,
    devices,
    flex_attention,
    functional,
    lazy_parameters,
    library_caches,
    numbers,
    optimizer_phase,
    threads,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on"]

_PATCHES = (
    autocast,
    backward,
    beam_search,
    bitsandbytes,
    changes,
    constants,
    devices,
    flex_attention,
    functional,
    lazy_parameters,
    library_caches,
    numbers,
    optimizer_phase,
    threads,
)


def switch_on() -> list[Callable[[], object]]:
    """Puts all in place; returns what undoes them, the last one to be called first."""
    return [undo for patch in _PATCHES for undo in patch.switch_on()]
