"""`profile.summary()` beside torchsummary itself."""

from __future__ import annotations

import contextlib
import io
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn

import nnprof

torchsummary = pytest.importorskip("torchsummary")

SEED_EXAMPLE = """\
----------------------------------------------------------------
        Layer (type)               Output Shape         Param #
================================================================
            Conv2d-1           [1, 1, 512, 512]               9
            Conv2d-2           [1, 1, 512, 512]               9
================================================================
Total params: 18
Trainable params: 18
Non-trainable params: 0
----------------------------------------------------------------
Input size (MB): 1.00
Forward/backward pass size (MB): 4.00
Params size (MB): 0.00
Estimated Total Size (MB): 5.00
----------------------------------------------------------------"""


class TwoConvolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        self.second = nn.Conv2d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> Any:
        return self.second(self.first(x))


class Residual(nn.Module):
    """A block within containers of both kinds, and one activation called at two places."""

    def __init__(self) -> None:
        super().__init__()
        layers = OrderedDict(conv=nn.Conv2d(3, 3, 3, padding=1), norm=nn.BatchNorm2d(3))
        self.body = nn.Sequential(layers)
        self.more = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1, bias=False)])
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> Any:
        y = self.relu(self.body(x))
        for layer in self.more:
            y = layer(y)
        return self.relu(x + y)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3, stride=2)
        self.stem.requires_grad_(False)
        self.block = Residual()
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000))

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.block(self.stem(x)))


def torchsummary_of(model: nn.Module, shape: tuple[int, ...]) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        torchsummary.summary(model, shape[1:], batch_size=shape[0], device="cpu")
    return text.getvalue().rstrip("\n")


def test_the_seed_example() -> None:
    assert nnprof.measure(TwoConvolutions(), (1, 1, 512, 512)).summary() == SEED_EXAMPLE


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("make", [TwoConvolutions, Net])
def test_is_torchsummarys_own_text(make: type[nn.Module], batch: int) -> None:
    model = make().eval()
    shape = (batch, 1 if make is TwoConvolutions else 3, 32, 32)
    assert nnprof.measure(model, shape).summary() == torchsummary_of(model, shape)


def test_resnet18() -> None:
    from nnprof.base.packages import import_torchvision

    torchvision = import_torchvision()
    model = torchvision.models.resnet18().eval()
    shape = (1, 3, 224, 224)
    assert nnprof.measure(model, shape).summary() == torchsummary_of(model, shape)
