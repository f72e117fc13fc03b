"""What models of diffusers take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnprof.errors import InputError

if TYPE_CHECKING:
    from nnprof.example_inputs import Arguments, Sizes

__all__ = ["make"]


def make(model: Any, sizes: Sizes) -> Arguments:
    """The arguments of one call of `model`; raises `InputError` where they cannot be known."""
    raise InputError(f"{type(model).__name__}: pass shape= or inputs=")
