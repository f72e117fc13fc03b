"""Functions of torch and of libraries that behave otherwise while a trace runs.

One file for each matter. What is written in Python gets other code (`other_code.py`), tensors'
methods written in C other functions (csrc/bindings/tensor_slots.h); what is neither, or belongs to
a library that may not be loaded, is set by a file's `switch_on()`, which returns what undoes it.
All are process-wide: in threads without a trace the functions do what they always do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on"]

_PATCHES = [
    import_module(f"nnprof.tracing.patches.{name}")
    for name in (
        "autocast",
        "backward",
        "beam_search",
        "bitsandbytes",
        "changes",
        "constants",
        "devices",
        "flex_attention",
        "functional",
        "generators",
        "lazy_parameters",
        "numbers",
        "optimizer_phase",
        "scopes",
        "storages",
        "threads",
        "wrappers",
        "other_code",  # last, and so undone first: what undoes the others are no changes
    )
]
_SWITCHES = [patch.switch_on for patch in _PATCHES if hasattr(patch, "switch_on")]


def switch_on() -> list[Callable[[], object]]:
    """Puts all in place; returns what undoes them, the last one to be called first."""
    return [undo for switch_on in _SWITCHES for undo in switch_on()]
