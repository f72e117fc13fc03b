"""Inputs of timm's models."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import nnprof
from nnprof.base.packages import import_torchvision
from nnprof.calls.examples import NO_SIZES, example_inputs
from nnprof.errors import InputError
from nnprof.models import load_model
from nnprof.tracing.run import bare_output

import_torchvision()
timm = pytest.importorskip("timm")


@pytest.mark.parametrize(
    ("name", "gmacs"),
    # The GMACs of the model cards of resnet50.a1_in1k, convnext_base.fb_in1k, inception_v4.tf_in1k.
    [("resnet50", 4.1), ("convnext_base", 15.4), ("inception_v4", 12.3)],
)
def test_published_counts(name: str, gmacs: float) -> None:
    macs = nnprof.measure(load_model(f"timm:{name}")).macs
    assert round(macs / 1e9, 1) == gmacs


def made(name: str, **options: Any) -> tuple[Any, tuple[int, ...]]:
    with torch.device("meta"):
        model = timm.create_model(name, **options)
    arguments = example_inputs(model, NO_SIZES, bare_output)
    assert arguments is not None
    return model, tuple(arguments[0][0].shape)


@pytest.mark.parametrize(
    ("name", "options", "sizes"),
    [
        ("inception_v4", {}, (1, 3, 299, 299)),
        ("naflexvit_base_patch16_gap", {}, (1, 3, 384, 384)),
        ("resnet18", {"in_chans": 1}, (1, 1, 224, 224)),
        ("tresnet_m", {}, (1, 3, 224, 224)),
        ("tresnet_m", {"in_chans": 4}, (1, 4, 224, 224)),
        ("resnet18", {"features_only": True}, (1, 3, 224, 224)),
        ("swin_tiny_patch4_window7_224", {"img_size": 448}, (1, 3, 448, 448)),
        ("vit_tiny_patch16_224", {"img_size": (224, 448), "in_chans": 8}, (1, 8, 224, 448)),
    ],
)
def test_sizes_that_the_model_takes(
    name: str, options: dict[str, Any], sizes: tuple[int, ...]
) -> None:
    model, found = made(name, **options)
    assert found == sizes
    model(torch.empty(sizes, device="meta"))  # timm itself refuses other sizes
    assert nnprof.measure(model).macs > 0


def test_the_batch() -> None:
    model = load_model("timm:resnet18")
    assert nnprof.measure(model, batch=3).macs == 3 * nnprof.measure(model).macs


def test_errors_say_what_to_do() -> None:
    with pytest.raises(InputError, match="ResNet takes images and no sequence"):
        nnprof.measure(load_model("timm:resnet18"), sequence=5)
    with pytest.raises(InputError, match=r"Mlp has no default_cfg.*pass shape="):
        nnprof.measure(timm.layers.Mlp(4))
