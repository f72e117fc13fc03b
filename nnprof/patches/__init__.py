"""Functions of torch and of libraries that behave otherwise while a trace runs.

One file for each, with `switch_on()`, which returns what undoes it. They are process-wide: in
threads without a trace the functions do what they always do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on"]

_PATCHES = [
    import_module(f"nnprof.patches.{name}")
    for name in (
        "autocast",
        "backward",
        "beam_search",
        "bitsandbytes",
        "constants",
        "devices",
        "flex_attention",
        "functional",
        "lazy_parameters",
        "library_caches",
        "numbers",
        "optimizer_phase",
        "threads",
        "changes",  # last, and so undone first: what undoes the others are no changes
    )
]


def switch_on() -> list[Callable[[], object]]:
    """Puts all in place; returns what undoes them, the last one to be called first."""
    return [undo for patch in _PATCHES for undo in patch.switch_on()]
