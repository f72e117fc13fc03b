"""What models of timm take: the image that their own `default_cfg` names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnprof.base.modules import modules_of
from nnprof.calls.examples.tensors import floats
from nnprof.errors import InputError

if TYPE_CHECKING:
    from nnprof.calls.examples import Arguments, Sizes

__all__ = ["make"]


def make(model: Any, sizes: Sizes) -> Arguments:
    """The arguments of one call of `model`: images of its `default_cfg`, batch 1.

    A size or a number of channels that the model was made for (`img_size=`, `in_chans=`) goes
    before. Raises `InputError` where `model` is a layer and no model, and for a sequence.
    """
    name = type(model).__name__
    if sizes.sequence is not None:
        raise InputError(f"{name} takes images and no sequence: leave it out")
    configured = getattr(model, "default_cfg", None) or {}
    if "input_size" not in configured:
        raise InputError(
            f"{name} has no default_cfg that tells its image size: pass shape=, batch included, "
            "as in shape=(1, 3, 224, 224)"
        )
    channels, *pixels = configured["input_size"]
    batch = 1 if sizes.batch is None else sizes.batch
    return (floats(model, batch, _channels(model, channels), *_pixels(model, pixels)),), {}


def _pixels(model: Any, usual: list[int]) -> list[int]:
    """Height and width; transformers keep theirs, for their position embeddings depend on it."""
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    return list(size) if isinstance(size, tuple) and len(size) == len(usual) else usual


def _channels(model: Any, usual: int) -> int:
    """Of the layer that takes the image, where `default_cfg` names it."""
    first = model.default_cfg.get("first_conv")
    if not isinstance(first, str):
        return usual
    try:
        layer = model.get_submodule(first)
    except AttributeError:  # a model of features alone names its parts otherwise
        return usual
    channels = getattr(layer, "in_channels", None)
    return channels // _pixels_a_channel(model) if isinstance(channels, int) else usual


def _pixels_a_channel(model: Any) -> int:
    """How many pixels a stem lays among the channels before its first layer."""
    stems = (module for module in modules_of(model) if type(module).__name__ == "SpaceToDepth")
    stem: Any = next(stems, None)
    return 1 if stem is None else stem.bs**2
