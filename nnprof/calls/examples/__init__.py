"""Inputs for a model that nobody gave any: what the libraries' own models say of themselves.

One file a library. None of them imports its library: a model of it in hand means that it is there.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from nnprof.calls.examples import diffusers, timm, torchvision, transformers
from nnprof.calls.examples.tensors import batch_of
from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nnprof.calls.examples.tensors import Runner

__all__ = ["NO_SIZES", "Library", "Sizes", "check_sizes", "example_inputs"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Sizes(NamedTuple):
    """What the user asked for; None leaves it to the library's usual size."""

    batch: int | None = None
    sequence: int | None = None


#: Every size the library's own.
NO_SIZES = Sizes()


class Library(NamedTuple):
    """`make` gives the arguments of one call of a model whose class comes from `package`.

    Beside those keyword arguments that are given, which it leaves out. The last argument runs what
    the model makes of others of its inputs.
    """

    package: str
    make: Callable[[Any, Sizes, Mapping[str, Any], Runner], Arguments]


def _alone(make: Callable[[Any, Sizes], Arguments]) -> Callable[..., Arguments]:
    """For a library whose arguments do not depend on each other, but for the batch."""

    def made(model: Any, sizes: Sizes, given: Mapping[str, Any], _: Runner) -> Arguments:
        args, keywords = make(model, sizes._replace(batch=sizes.batch or batch_of(given)))
        if args and given:
            names = list(inspect.signature(model.forward).parameters)
            if given.keys() & set(names[: len(args)]):
                args, keywords = (), {**dict(zip(names, args, strict=False)), **keywords}
        return args, {name: value for name, value in keywords.items() if name not in given}

    return made


LIBRARIES = (
    Library("transformers", transformers.make),
    Library("diffusers", _alone(diffusers.make)),
    Library("timm", _alone(timm.make)),
    Library("torchvision", _alone(torchvision.make)),
)


def check_sizes(**sizes: Any) -> None:
    """Raises `InputError` for one that is given and below 1, or no whole number."""
    for name, size in sizes.items():
        if size is not None and (type(size) is not int or size < 1):
            raise InputError(f"{name}= must be a whole number of at least 1, not {size!r}")


def example_inputs(
    model: Any, sizes: Sizes, run: Runner, given: Mapping[str, Any] | None = None
) -> Arguments | None:
    """The arguments of one usual call of `model`, or None for a model of none of the libraries.

    Without those that are `given` by keyword, and fitting to them. `run` runs a part of the model
    where only that tells how long another input is.

    Of the library that the model's class comes from, or else the closest of its base classes: a
    model of one's own that derives from a transformers class is one of transformers.

    Raises `InputError` where the library is known and the model's inputs are not, where it takes no
    sequence, and for sizes below 1.
    """
    check_sizes(**sizes._asdict())
    makers = {library.package: library.make for library in LIBRARIES}
    for base in type(model).__mro__:
        make = makers.get(base.__module__.partition(".")[0])
        if make is not None:
            return make(model, sizes, given or {}, run)
    return None
