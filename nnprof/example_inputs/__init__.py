"""Inputs for a model that nobody gave any: what the libraries' own models say of themselves.

One file a library. None of them imports its library: a model of it in hand means that it is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from nnprof.errors import InputError
from nnprof.example_inputs import diffusers, timm, torchvision, transformers

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NO_SIZES", "Library", "Sizes", "example_inputs"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Sizes(NamedTuple):
    """What the user asked for; None leaves it to the library's usual size."""

    batch: int | None = None
    sequence: int | None = None


#: Every size the library's own.
NO_SIZES = Sizes()


class Library(NamedTuple):
    """`make` gives the arguments of one call of a model whose class comes from `package`."""

    package: str
    make: Callable[[Any, Sizes], Arguments]


LIBRARIES = (
    Library("transformers", transformers.make),
    Library("diffusers", diffusers.make),
    Library("timm", timm.make),
    Library("torchvision", torchvision.make),
)


def example_inputs(model: Any, sizes: Sizes) -> Arguments | None:
    """The arguments of one usual call of `model`, or None for a model of none of the libraries.

    Of the library that the model's class comes from, or else the closest of its base classes: a
    model of one's own that derives from a transformers class is one of transformers.

    Raises `InputError` where the library is known and the model's inputs are not, where it takes no
    sequence, and for sizes below 1.
    """
    for name, size in sizes._asdict().items():
        if size is not None and (type(size) is not int or size < 1):
            raise InputError(f"{name}= must be a whole number of at least 1, not {size!r}")
    makers = {library.package: library.make for library in LIBRARIES}
    for base in type(model).__mro__:
        make = makers.get(base.__module__.partition(".")[0])
        if make is not None:
            return make(model, sizes)
    return None
