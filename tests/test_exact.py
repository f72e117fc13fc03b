"""Numbers that are known to the last digit, by whatever way they are asked for."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import nnprof
from benchmarks.models import (
    LLAMA_2_7B,
    LLAMA_3_70B,
    LLAMA_3_405B,
    LlamaConfig,
    llama,
    torchvision_model,
)
from nnprof.base.packages import import_torchvision
from tests.helpers import oracles

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

IMAGE = (1, 3, 224, 224)
MODES = {"grad": torch.enable_grad, "no_grad": torch.no_grad, "inference": torch.inference_mode}
TINY_LLAMA = LlamaConfig(
    hidden=64, ffn=160, layers=2, heads=4, kv_heads=2, vocabulary=100, context=64
)

# Name: how to build it, its input, parameters, MACs.
KNOWN: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int, int]] = {
    "resnet50": (lambda: torchvision_model("resnet50"), IMAGE, 25_557_032, 4_089_184_256),
    "vit_b_16": (lambda: torchvision_model("vit_b_16"), IMAGE, 86_567_656, 17_563_828_224),
    "llama_2_7b": (lambda: llama(LLAMA_2_7B), (1, 2048), 6_738_415_616, 14_630_806_093_824),
    "llama_70b": (lambda: llama(LLAMA_3_70B), (1, 4096), 70_553_706_496, 306_669_254_868_992),
    "llama_405b": (lambda: llama(LLAMA_3_405B), (1, 8192), 405_853_388_800, 3_584_579_705_241_600),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", KNOWN)
def test_known_models(name: str, mode: str) -> None:
    build, shape, params, macs = KNOWN[name]
    model = build()
    for _ in range(3):  # a second and a third run find nothing left of the first
        with MODES[mode]():
            profile = nnprof.measure(model, shape)
        assert profile.params == params
        assert profile.trainable_params == params
        assert profile.macs == macs
        assert profile.flops > 2 * macs
        assert not profile.coverage.generic


def everything(profile: nnprof.Profile) -> list[Any]:
    """All that was counted, by call and in total."""
    names = ("op", "scope", "macs", "flops", "bytes_read", "bytes_written", "dtype")
    columns = [profile.ops[name].tolist() for name in names]
    totals = [profile.params, profile.macs, profile.flops, profile.bytes, profile.flops_by_kind]
    return totals + columns


@functools.lru_cache(maxsize=2)  # to make one takes longer than to measure it
def small_model(name: str, device: str) -> nn.Module:
    if name == "llama":
        return llama(TINY_LLAMA, torch.float32, device)
    return torchvision_model(name, device)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "convnext_tiny", "llama"])
def test_weights_make_no_difference(name: str, mode: str) -> None:
    shape = (2, 32) if name == "llama" else IMAGE

    models = [small_model(name, device) for device in ("meta", "cpu")]
    with MODES[mode]():
        without, with_weights = (everything(nnprof.measure(model, shape)) for model in models)
    assert without == with_weights


def test_real_inputs_make_no_difference() -> None:
    model = torchvision_model("resnet18", "cpu")
    made = nnprof.measure(model, IMAGE)
    given = nnprof.measure(model, inputs=torch.randn(IMAGE))
    assert everything(made) == everything(given)


def test_training_mode_counts_the_same_contractions() -> None:
    model = torchvision_model("resnet18")
    assert (
        nnprof.measure(model.train(), (2, 3, 224, 224)).macs
        == 2 * nnprof.measure(model.eval(), IMAGE).macs
    )


@pytest.mark.parametrize("autograd", [contextlib.nullcontext, torch.no_grad])
def test_seed_example(autograd: Callable[[], AbstractContextManager[Any]]) -> None:
    # As torchsummary 1.5.1 prints it.
    model = nn.Sequential(
        nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.Conv2d(1, 1, 3, padding=1, bias=False)
    )
    with autograd():
        profile = nnprof.measure(model, (1, 1, 512, 512))
    assert profile.params == profile.trainable_params == 18
    assert profile.macs == 4_718_592
    for path in ("0", "1"):
        assert profile[path].params == 9
        assert profile[path].macs == 2_359_296
        assert profile[path].output_shapes == [[1, 1, 512, 512]]
    summary = profile.summary()
    for line in (
        "Total params: 18",
        "Trainable params: 18",
        "Non-trainable params: 0",
        "Input size (MB): 1.00",
        "Forward/backward pass size (MB): 4.00",
        "Params size (MB): 0.00",
        "Estimated Total Size (MB): 5.00",
    ):
        assert line in summary
    rows = [line.split() for line in summary.splitlines() if "Conv2d-" in line]
    assert [row[0] for row in rows] == ["Conv2d-1", "Conv2d-2"]
    assert all(row[-1] == "9" for row in rows)
    assert all("1, 512, 512]" in " ".join(row) for row in rows)


def test_total_params_are_those_of_unique_parameters() -> None:
    tied = nn.Linear(8, 8)
    model = nn.Sequential(tied, nn.ReLU(), tied, nn.Linear(8, 4))
    model[3].bias.requires_grad_(False)
    profile = nnprof.measure(model, (2, 8))
    assert profile.params == sum(p.numel() for p in model.parameters()) == 108
    assert profile.trainable_params == 104
    assert profile.macs == 3 * oracles.linear((2, 8), (8, 8)) - oracles.linear((2, 8), (4, 8))


# torchvision's own numbers. --------------------------------------------------------------------


def classifier_weights() -> list[Any]:
    """Every set of weights of every classifier; the quantized ones have a listing of their own."""
    models = import_torchvision().models
    names = models.list_models(module=models)
    return [weights for name in names for weights in models.get_model_weights(name)]


class WithoutWeights(TorchFunctionMode):
    """Parameters and buffers on meta; other tensors are real: RegNet's constructor computes."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in (torch.empty, torch.zeros, torch.ones):
            kwargs["device"] = "meta"
        return function(*args, **kwargs)


def build_classifier(kind: Any, image_size: int) -> nn.Module:
    """The model that weights of this class are for, without them."""
    models = import_torchvision().models
    name = kind.__name__.removesuffix("_Weights")
    builder = next(
        models.get_model_builder(n)
        for n in models.list_models(module=models)
        if models.get_model_weights(n) is kind
    )
    options: dict[str, Any] = {}
    if name.startswith("ViT"):
        options["image_size"] = image_size
    elif name in ("GoogLeNet", "Inception_V3"):
        options["init_weights"] = False  # takes seconds, and warns
    if name == "GoogLeNet":
        options["aux_logits"] = False  # as with pretrained weights, which have none
    with WithoutWeights():
        model: nn.Module = builder(weights=None, **options)
    return model.eval()


@functools.lru_cache(maxsize=8)  # many models have several sets of weights
def counts_of_classifier(kind: Any, image_size: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """Parameters and MACs."""
    profile = nnprof.measure(build_classifier(kind, image_size), shape)
    return profile.params, profile.macs


def test_there_are_as_many_classifiers_as_torchvision_says() -> None:
    assert len({type(weights) for weights in classifier_weights()}) >= 79


@pytest.mark.parametrize("weights", classifier_weights(), ids=str)
def test_torchvision_classifiers(weights: Any) -> None:
    # `_ops` are GMACs to three decimals.
    crop = weights.transforms().crop_size
    kind: Any = type(weights)
    smallest = weights.meta["min_size"][0]
    params, macs = counts_of_classifier(kind, smallest, (1, 3, crop[0], crop[-1]))
    assert params == weights.meta["num_params"]
    assert round(macs / 1e9, 3) == weights.meta["_ops"]
