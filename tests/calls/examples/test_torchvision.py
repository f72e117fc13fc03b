"""Inputs of torchvision's models, held against the GFLOPS that torchvision publishes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import nnprof
from nnprof.base.packages import import_torchvision
from nnprof.calls.examples import Sizes, example_inputs
from nnprof.errors import InputError
from nnprof.models import load_model
from nnprof.tracing.run import bare_output

torchvision = import_torchvision()


def published(name: str) -> list[float]:
    """10^9 MACs of each weight (torchvision calls them GFLOPS), to three digits."""
    weights = torchvision.models.get_model_weights(name)
    return [weight.meta["_ops"] for weight in weights]


# Of Inception, that its initialization will change.
@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
@pytest.mark.parametrize(
    "name",
    [
        "resnet50",
        "inception_v3",
        "swin_t",
        "swin_v2_t",
        "maxvit_t",
        *(f"efficientnet_b{i}" for i in range(8)),
        *(f"efficientnet_v2_{size}" for size in "sml"),
        "lraspp_mobilenet_v3_large",
        "r3d_18",
        "s3d",
        "mvit_v2_s",
        "swin3d_t",
        "raft_large",
    ],
)
def test_the_published_counts(name: str) -> None:
    macs = nnprof.measure(load_model(f"torchvision:{name}")).macs
    assert round(macs / 1e9, 3) in published(name)


def test_resnet50_to_the_last_digit() -> None:
    assert nnprof.measure(load_model("torchvision:resnet50")).macs == 4_089_184_256


def test_a_vision_transformer_of_another_size() -> None:
    with torch.device("meta"):
        model = torchvision.models.vit_b_16(image_size=384)
    assert round(nnprof.measure(model).macs / 1e9, 3) in published("vit_b_16")


def test_the_batch() -> None:
    model = load_model("torchvision:resnet18")
    assert nnprof.measure(model, batch=5).macs == 5 * nnprof.measure(model).macs


def test_a_detector_gets_a_list_of_images_of_its_own_size() -> None:
    detector = load_model("torchvision:ssd300_vgg16")
    arguments = example_inputs(detector, Sizes(batch=2), bare_output)
    assert arguments is not None
    (images,), _ = arguments
    assert [tuple(image.shape) for image in images] == [(3, 300, 300)] * 2


def test_the_dtype_is_the_models() -> None:
    model = load_model("torchvision:resnet18").bfloat16()
    assert nnprof.measure(model).macs == nnprof.measure(model.float()).macs


def test_a_model_that_derives_from_one_of_torchvision() -> None:
    class Mine(torchvision.models.ResNet):  # type: ignore[misc,name-defined]
        pass

    with torch.device("meta"):
        model: Any = Mine(torchvision.models.resnet.BasicBlock, [2, 2, 2, 2])
    assert round(nnprof.measure(model).macs / 1e9, 3) in published("resnet18")


def test_errors_say_what_to_do() -> None:
    with pytest.raises(InputError, match="ResNet takes images and no sequence"):
        nnprof.measure(load_model("torchvision:resnet18"), sequence=5)
    layer = torchvision.ops.MLP(4, [4])
    with pytest.raises(InputError, match=r"MLP is a layer of torchvision.*pass shape="):
        nnprof.measure(layer)
