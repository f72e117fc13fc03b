"""Values for tensors that hold none, such that a forward with them is a usual one.

A kernel's time and the power it draws depend on the values a little (zeros are up to 15 % faster),
and a wrong kind of value (a negative variance, a mask that hides all) makes the forward compute
NaNs, so the values are drawn to be like those of a trained model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

__all__ = ["Place", "Values"]

_SEED = 20_240_229

#: Numbers drawn for a tensor; a larger one repeats them. No row length is a multiple of it.
_DRAWN = 4_194_301


class Place(NamedTuple):
    """Where a tensor without values stands: the module's class, the name in it, and the sizes."""

    owner: str
    name: str
    sizes: tuple[int, ...]
    kind: str  # "parameter", "buffer", "input", or "attribute" of any object


#: What everyone begins with: no guess.
_WELL_KNOWN = ("running_", "num_batches_tracked")

#: Fills a whole storage, seen as one dimension.
_Fill = Callable[["Values", torch.Tensor, Place], object]


class Values:
    """Draws values on one device, from a generator of its own."""

    def __init__(self, device: torch.device) -> None:
        self._generator = torch.Generator(device).manual_seed(_SEED)
        #: What was filled with something other than random numbers: "inv_freq (frequencies)".
        self.guesses: dict[str, None] = {}

    def fill(self, flat: torch.Tensor, place: Place) -> None:
        """Writes values for `place` to `flat`, all elements of its storage."""
        if flat.is_complex():
            flat = torch.view_as_real(flat).flatten()
        rules: tuple[_Rule, ...] = _FLOATS if flat.is_floating_point() else _INTEGERS
        if flat.dtype == torch.bool:
            rules = _BOOLEANS
        rule = next(rule for rule in rules if rule.applies(place))
        if place.kind in ("buffer", "attribute") and not place.name.startswith(_WELL_KNOWN):
            self.guesses[f"{place.name or 'a tensor'} ({rule.name})"] = None
        rule.fill(self, flat, place)

    def normal(self, flat: torch.Tensor, mean: float, deviation: float) -> None:
        count = min(flat.numel(), _DRAWN)
        drawn = torch.empty(count, device=flat.device).normal_(
            mean, deviation, generator=self._generator
        )
        # By copies, for narrow dtypes have no normal_ of their own.
        for start in range(0, flat.numel(), _DRAWN):
            part = flat[start : start + _DRAWN]
            part.copy_(drawn[: part.numel()])

    def bits(self, flat: torch.Tensor) -> None:
        count = min(flat.numel(), _DRAWN)
        drawn = torch.empty(count, device=flat.device).random_(2, generator=self._generator)
        for start in range(0, flat.numel(), _DRAWN):
            part = flat[start : start + _DRAWN]
            part.copy_(drawn[: part.numel()])


def _weights(values: Values, flat: torch.Tensor, place: Place) -> None:
    """As most layers begin: variances stay what they are from layer to layer."""
    fan_in = 1
    for size in place.sizes[1:]:
        fan_in *= size
    values.normal(flat, 0.0, max(fan_in, 1) ** -0.5)


def _frequencies(values: Values, flat: torch.Tensor, place: Place) -> None:
    """Of rotary position embeddings with the usual base: 10000^(-i/n)."""
    steps = torch.arange(flat.numel(), device=flat.device, dtype=torch.float32)
    flat.copy_(10_000.0 ** (-steps / flat.numel()))


def _positions(values: Values, flat: torch.Tensor, place: Place) -> None:
    length = place.sizes[-1] if place.sizes else 1
    flat.copy_(torch.arange(flat.numel(), device=flat.device) % max(length, 1))


class _Rule(NamedTuple):
    name: str
    applies: Callable[[Place], bool]
    fill: _Fill


def _small(values: Values, flat: torch.Tensor, place: Place) -> None:
    values.normal(flat, 0.0, 0.02)


def _near_one(values: Values, flat: torch.Tensor, place: Place) -> None:
    values.normal(flat, 1.0, 0.02)


def _named(*endings: str) -> Callable[[Place], bool]:
    return lambda place: place.name.endswith(endings)


def _always(place: Place) -> bool:
    return True


#: The first rule that applies is taken.
_FLOATS = (
    _Rule("normal", lambda p: p.kind == "input", lambda v, flat, p: v.normal(flat, 0.0, 1.0)),
    _Rule("frequencies", _named("inv_freq"), _frequencies),
    _Rule("ones", _named("var", "std", "scale", "cluster_size"), lambda v, flat, p: flat.fill_(1)),
    _Rule("zeros", _named("running_mean"), lambda v, flat, p: flat.zero_()),
    _Rule("near 1", lambda p: p.name == "weight" and len(p.sizes) < 2, _near_one),
    _Rule("N(0, 0.02)", lambda p: "Embedding" in p.owner or len(p.sizes) < 2, _small),
    _Rule("N(0, 1/fan-in)", lambda p: p.kind == "parameter", _weights),
    _Rule("N(0, 0.02)", _always, _small),
)
_INTEGERS = (
    _Rule("0 and 1", lambda p: p.kind == "input", lambda v, flat, p: v.bits(flat)),
    _Rule("positions", _named("position_ids"), _positions),
    _Rule("zeros", _always, lambda v, flat, p: flat.zero_()),
)
#: Masks that let everything through, in the sense of most.
_BOOLEANS = (_Rule("true", _always, lambda v, flat, p: flat.fill_(True)),)
