"""The models of the zoo: names from the libraries' own lists, and an input for each.

Every family gives names and, for a name, a model on the meta device (or on the CPU, where its
constructor needs values) with the arguments of one call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nnprof.models import import_torchvision, load_model

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Case:
    """A model and one call of it."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Family:
    """Names that belong together, and how to make a case of one."""

    names: Callable[[], list[str]]
    case: Callable[[str], Case]


def image(*sizes: int) -> Tensor:
    return torch.empty(sizes, device="meta")


# torchvision ------------------------------------------------------------------------------------

#: Of the models whose constructors say nothing of the images they take: batch included.
_CLASSIFIER_SIZES = {"inception_v3": 299}
_VIDEO_SIZES = dict.fromkeys(("mvit", "swin3d", "s3d"), (1, 3, 16, 224, 224))


def _torchvision_names(package: str) -> list[str]:
    torchvision = import_torchvision()
    module = torchvision.models if not package else getattr(torchvision.models, package)
    return list(torchvision.models.list_models(module=module))


def _classifier(name: str) -> Case:
    size = _CLASSIFIER_SIZES.get(name, 224)
    return Case(load_model(f"torchvision:{name}"), (image(1, 3, size, size),), {})


def _segmenter(name: str) -> Case:
    return Case(load_model(f"torchvision:{name}"), (image(1, 3, 520, 520),), {})


def _detector(name: str) -> Case:
    return Case(load_model(f"torchvision:{name}"), ([image(3, 320, 320)],), {})


def _video(name: str) -> Case:
    sizes = next((s for start, s in _VIDEO_SIZES.items() if name.startswith(start)), None)
    return Case(load_model(f"torchvision:{name}"), (image(*(sizes or (1, 3, 16, 112, 112))),), {})


def _flow(name: str) -> Case:
    frames = (image(1, 3, 128, 256), image(1, 3, 128, 256))
    return Case(load_model(f"torchvision:{name}"), frames, {})


# timm -------------------------------------------------------------------------------------------


def _timm_names() -> list[str]:
    import_torchvision()
    import timm

    return list(timm.list_models())


def _timm(name: str) -> Case:
    model = load_model(f"timm:{name}")
    sizes = model.default_cfg.get("input_size", (3, 224, 224))
    return Case(model, (image(1, *sizes),), {})


# transformers -----------------------------------------------------------------------------------


def _transformers() -> Any:
    import zoo_transformers

    return zoo_transformers


FAMILIES = {
    "torchvision": Family(lambda: _torchvision_names(""), _classifier),
    "torchvision.segmentation": Family(lambda: _torchvision_names("segmentation"), _segmenter),
    "torchvision.detection": Family(lambda: _torchvision_names("detection"), _detector),
    "torchvision.video": Family(lambda: _torchvision_names("video"), _video),
    "torchvision.optical_flow": Family(lambda: _torchvision_names("optical_flow"), _flow),
    "timm": Family(_timm_names, _timm),
    "transformers": Family(
        lambda: _transformers().names(), lambda name: _transformers().case(name)
    ),
}
