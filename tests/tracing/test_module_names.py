"""Models whose attributes have the names of nn.Module's own methods."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnprof import measure
from nnprof.tracing.quantization import store_as_config_says

NAMES = (
    "modules",
    "parameters",
    "children",
    "buffers",
    "named_modules",
    "named_parameters",
    "named_children",
    "named_buffers",
    "state_dict",
    "apply",
)


class Named(nn.Module):
    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.register_buffer("scale", torch.ones(8))
        for name, value in values.items():
            self.__dict__[name] = value

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) * self.scale


class Outer(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


@pytest.mark.parametrize("value", [[], {"lr": 3}, 7, None])
@pytest.mark.parametrize("nested", [False, True])
def test_counted_as_without_them(nested: bool, value: Any) -> None:
    def model(names: dict[str, Any]) -> nn.Module:
        return Outer(Named(names)) if nested else Named(names)

    named, plain = model(dict.fromkeys(NAMES, value)), model({})
    for options in (
        {},
        {"backward": True, "optimizer": "adamw"},
        {"backward": True, "checkpoint": "inner.first" if nested else "first"},
        {"hardware": "h200"},
    ):
        found, expected = (measure(m, (4, 8), **options) for m in (named, plain))
        assert found.macs == expected.macs
        assert found.params == expected.params == 144
        assert [layer.path for layer in found.layers] == [layer.path for layer in expected.layers]
        assert found.memory.peak == expected.memory.peak


def test_measured_on_a_device() -> None:
    model = Named({"modules": [1], "parameters": {}, "buffers": 3, "children": None})
    profile = measure(model, (4, 8), device="cpu", time_budget=0.5)
    assert profile.end_to_end_s is not None


def test_children_of_these_names() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.modules = nn.ModuleList([nn.Linear(8, 8)])  # type: ignore[method-assign]
            self.parameters = nn.Linear(8, 8)  # type: ignore[method-assign]

        def forward(self, x: Tensor) -> Tensor:
            layers: Any = self._modules
            return layers["parameters"](layers["modules"][0](x))

    profile = measure(Holder(), (4, 8), backward=True, optimizer="sgd")
    assert profile.macs == 2 * 256 + 512 + 256
    assert profile.params == 144


class Shadowed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.modules = [1]  # type: ignore[assignment]
        self.parameters = {}  # type: ignore[assignment]
        self.named_modules = "none"  # type: ignore[assignment]
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def test_an_optimizer_that_makes_its_state() -> None:
    model = Shadowed()
    profile = measure(
        model, (4, 8), backward=True, optimizer=torch.optim.AdamW(model.layer.parameters())
    )
    assert profile.memory.after("backward")["optimizer"] >= 2 * 72 * 4


def test_a_quantized_checkpoint() -> None:
    model = Shadowed()
    config = {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_skip_modules": []}
    store_as_config_says(model, SimpleNamespace(quantization_config=config))
    assert measure(model, (4, 8)).memory.parameters == 8 * 8 + 4 * 8 + 4 * 8
