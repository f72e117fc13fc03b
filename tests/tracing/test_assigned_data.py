"""`tensor.data = other` in a forward: counted, and put back afterwards."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nnprof
from nnprof import measure

MACS = 4 * 64 * 64


class Assigning(nn.Linear):
    def __init__(self, assign: Callable[[nn.Linear, Tensor], Any]) -> None:
        super().__init__(64, 64)
        self.assign = [assign]

    def forward(self, x: Tensor) -> Tensor:
        self.assign[0](self, x)
        return super().forward(x)


def binary(layer: nn.Linear, x: Tensor) -> None:
    layer.weight.data = layer.weight.data.sign()


def clipped(layer: nn.Linear, x: Tensor) -> None:
    for parameter in layer.parameters():
        parameter.data = parameter.data.clamp(-1, 1)


def replaced(layer: nn.Linear, x: Tensor) -> None:
    layer.weight.data = torch.randn(64, 64)
    layer.bias.data = torch.zeros(64)


def and_back(layer: nn.Linear, x: Tensor) -> None:
    own = layer.weight.data
    layer.weight.data = own.sign()
    layer.weight.data = own


def of_another_dtype(layer: nn.Linear, x: Tensor) -> None:
    layer.to(torch.float64)
    assert layer.weight.dtype == layer.bias.dtype == torch.float64
    layer.to(torch.float32)


def of_an_activation(layer: nn.Linear, x: Tensor) -> None:
    h = F.relu(layer.bias)
    h.data = h.data.abs()
    assert h.shape == (64,)


def of_the_input(layer: nn.Linear, x: Tensor) -> None:
    x.data = x.data * 2


def of_a_detached(layer: nn.Linear, x: Tensor) -> None:
    weight = layer.weight.detach()
    weight.data = weight.data * 2


ASSIGNMENTS = (
    binary,
    clipped,
    replaced,
    and_back,
    of_another_dtype,
    of_an_activation,
    of_the_input,
    of_a_detached,
)


def state(*tensors: Tensor) -> list[Any]:
    return [
        (t.detach().clone().tolist(), t.data_ptr(), t.dtype, t.requires_grad, t._version, t.grad)
        for t in tensors
    ]


@pytest.mark.parametrize("training", [None, "", "adam", "own"])
@pytest.mark.parametrize("assign", ASSIGNMENTS)
def test_counted_and_put_back(assign: Callable[..., Any], training: str | None) -> None:
    model, x = Assigning(assign), torch.randn(4, 64)
    own = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    options: dict[str, Any] = {"backward": training is not None}
    if training:
        options["optimizer"] = own if training == "own" else training
    before = state(*model.parameters(), x)
    profile = measure(model, inputs=x, **options)
    assert profile.phase("forward").macs == MACS
    assert profile.phase("backward").macs == (MACS if options["backward"] else 0)
    assert state(*model.parameters(), x) == before
    # It trains as if nothing had been.
    model(x).sum().backward()
    assert model.weight.grad is not None
    assert model.weight.grad.shape == (64, 64)


def test_put_back_after_an_error() -> None:
    def fails(layer: nn.Linear, x: Tensor) -> None:
        binary(layer, x)
        raise KeyError

    model = Assigning(fails)
    before = state(*model.parameters())
    with pytest.raises(KeyError):
        measure(model, (4, 64))
    assert state(*model.parameters()) == before


def test_of_a_tensor_of_no_module() -> None:
    weight = torch.randn(64, 64, requires_grad=True)
    before = state(weight)
    with nnprof.trace(backward=True) as running:
        weight.data = weight.data.sign()
        F.linear(torch.randn(4, 64), weight).sum().backward()
        assert weight.grad is not None
    assert running.profile().macs == 2 * MACS
    assert state(weight) == before
    F.linear(torch.randn(4, 64), weight).sum().backward()
    assert weight.grad is not None


def test_has_no_data_to_read() -> None:
    def read(layer: nn.Linear, x: Tensor) -> None:
        binary(layer, x)
        layer.weight.data.tolist()

    with pytest.raises(RuntimeError):
        measure(Assigning(read), (4, 64))
