"""What models of diffusers take, read from their `config`.

The arguments of `forward` go by their names, which mean the same in nearly every class: a maker for
each name, and by class what differs.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from nnprof.calls.examples.diffusers.call import Call, Maker
from nnprof.calls.examples.diffusers.tables import BY_CLASS, BY_NAME, IF_REQUIRED, TEXTS
from nnprof.errors import InputError

if TYPE_CHECKING:
    from nnprof.calls.examples import Arguments, Sizes

__all__ = ["make"]


def make(model: Any, sizes: Sizes) -> Arguments:
    """The arguments of one denoising step, or of one pass through an autoencoder, as keywords.

    Latents have the sizes that the config names (`sample_size`...), else those of 1024 x 1024
    pixels, or of 81 frames of 480 x 832; an autoencoder gets pixels. Batch 1, without the doubling
    for classifier-free guidance. `sizes.sequence` is the number of text tokens; the usual one is
    that of the family's own pipeline.

    Raises `InputError` where a required argument is of no known meaning, and for a sequence where
    the model takes no text.
    """
    name = type(model).__name__
    if not hasattr(model, "config"):
        raise InputError(f"{name} is a layer of diffusers, not one of its models: pass shape=")
    call = Call(model, 1 if sizes.batch is None else sizes.batch, sizes.sequence)
    parameters = inspect.signature(model.forward).parameters.values()
    required = {p.name for p in parameters if p.default is p.empty}
    makers = BY_NAME | {k: v for k, v in IF_REQUIRED.items() if k in required} | _of_class(model)
    unknown = sorted(required - makers.keys())
    if unknown:
        raise InputError(f"what {name} takes as {', '.join(unknown)} is not known: pass inputs=")
    made = {p.name: makers[p.name](call) for p in parameters if p.name in makers}
    if sizes.sequence is not None and not made.keys() & TEXTS:
        raise InputError(f"{name} takes no text and so no sequence: leave it out")
    return (), {k: value for k, value in made.items() if value is not None or k in required}


def _of_class(model: Any) -> dict[str, Maker]:
    """What `BY_CLASS` says of the model's class and its bases, the closest last."""
    found: dict[str, Maker] = {}
    for base in reversed(type(model).__mro__):
        found |= BY_CLASS.get(base.__name__, {})
    return found
