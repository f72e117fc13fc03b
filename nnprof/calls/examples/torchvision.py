"""What models of torchvision take: images, clips and frames as its own weights were given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnprof.base.modules import modules_of
from nnprof.calls.examples.tensors import floats
from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnprof.calls.examples import Arguments, Sizes

__all__ = ["make"]


def make(model: Any, sizes: Sizes) -> Arguments:
    """The arguments of one call of `model`.

    Of the sizes at which torchvision publishes the GFLOPS of its weights, batch 1: images for
    classifiers and segmenters, a list of images for detectors, 16 frames for video classifiers, two
    images for optical flow. Raises `InputError` where `model` is a layer and no model, and for a
    sequence.
    """
    if sizes.sequence is not None:
        raise InputError(f"{type(model).__name__} takes images and no sequence: leave it out")
    batch = 1 if sizes.batch is None else sizes.batch
    # torchvision.models.resnet: a classifier; torchvision.models.video.resnet: its package's.
    modules = [base.__module__.split(".") for base in type(model).__mro__]
    for library, *parts in modules:
        if library == "torchvision" and parts[:1] == ["models"]:
            return _BY_PACKAGE.get(parts[1], _classifier)(model, batch)
    raise InputError(
        f"{type(model).__name__} is a layer of torchvision, not one of its models: pass shape= "
        "with the sizes of what it takes"
    )


def _classifier(model: Any, batch: int) -> Arguments:
    size = _image_size(model)
    return (floats(model, batch, 3, size, size),), {}


def _image_size(model: Any) -> int:
    own = getattr(model, "image_size", None)  # a vision transformer's, which it insists on
    if isinstance(own, int):
        return own
    for base in type(model).__mro__:
        if base.__name__ in _IMAGE_SIZES:
            return _IMAGE_SIZES[base.__name__](model)
    return 224


def _efficientnet(model: Any) -> int:
    """Its constructors keep no name; the depth and the last width tell them apart."""
    blocks = sum(type(m).__name__ in ("MBConv", "FusedMBConv") for m in modules_of(model))
    width = model.features[-1].out_channels
    return _EFFICIENTNET_SIZES.get((blocks, width), 224)


def _swin(model: Any) -> int:
    # The second version was trained on windows of 8 x 8, the first one on 7 x 7.
    second = any(type(m).__name__ == "SwinTransformerBlockV2" for m in modules_of(model))
    return 256 if second else 224


_IMAGE_SIZES: dict[str, Callable[[Any], int]] = {
    "Inception3": lambda _: 299,
    "EfficientNet": _efficientnet,
    "SwinTransformer": _swin,
}

#: (blocks, channels of the last convolution) -> pixels. B0 to B7, then S, M and L of version 2.
_EFFICIENTNET_SIZES = {
    (16, 1280): 224,
    (23, 1280): 240,
    (23, 1408): 288,
    (26, 1536): 300,
    (32, 1792): 380,
    (39, 2048): 456,
    (45, 2304): 528,
    (55, 2560): 600,
    (40, 1280): 384,
    (57, 1280): 480,
    (79, 1280): 480,
}


def _segmenter(model: Any, batch: int) -> Arguments:
    return (floats(model, batch, 3, 520, 520),), {}


def _detector(model: Any, batch: int) -> Arguments:
    """Images of the size that the model itself would resize them to."""
    transform = model.transform
    height, width = transform.fixed_size or (transform.min_size[-1],) * 2
    return ([floats(model, 3, height, width) for _ in range(batch)],), {}


def _video(model: Any, batch: int) -> Arguments:
    sizes = next((_CLIPS[b.__name__] for b in type(model).__mro__ if b.__name__ in _CLIPS), None)
    return (floats(model, batch, 3, *(sizes or (16, 112, 112))),), {}


#: Frames, height, width of the models that do not take the 112 pixels of the video ResNets.
_CLIPS = {
    "MViT": (16, 224, 224),
    "S3D": (16, 224, 224),
    "SwinTransformer3d": (16, 224, 224),
}


def _optical_flow(model: Any, batch: int) -> Arguments:
    # Of the count that torchvision publishes; the networks take any multiple of 8.
    frames = tuple(floats(model, batch, 3, 512, 512) for _ in range(2))
    return frames, {}


_BY_PACKAGE: dict[str, Callable[[Any, int], Arguments]] = {
    "segmentation": _segmenter,
    "detection": _detector,
    "video": _video,
    "optical_flow": _optical_flow,
}
