"""Prefill and decode: a language model's two ways to run, with its own key-value cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnprof.errors import InputError

if TYPE_CHECKING:
    from nnprof.example_inputs import Sizes

__all__ = ["phase_inputs"]


def phase_inputs(model: Any, phase: str, sizes: Sizes, context: int | None) -> dict[str, Any]:
    """The keyword arguments of one prefill, or of one decode step against a full cache."""
    raise InputError(f"phase={phase!r} is not there yet")
