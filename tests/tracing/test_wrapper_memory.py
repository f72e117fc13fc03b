"""A tensor that wraps others has no memory of its own: parameters are what the inner ones hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import nnprof

aten = torch.ops.aten
ROWS, WIDTH = 3, 64
VIEWS = (aten.detach.default, aten.alias.default, aten.view.default)


class Int8(Tensor):
    """Weight-only int8: it says nothing of what it holds."""

    def __new__(cls, data: Tensor, scale: Tensor) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, data.shape, dtype=torch.float32)

    def __init__(self, data: Tensor, scale: Tensor) -> None:
        self.parts = {"data": data, "scale": scale}

    def __repr__(self) -> str:  # type: ignore[override]
        return "Int8"

    def dense(self) -> Tensor:
        return self.parts["data"].float() * self.parts["scale"]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in VIEWS:
            return cls(func(args[0].parts["data"], *args[1:]), args[0].parts["scale"])

        def dense(value: Any) -> Any:
            return value.dense() if isinstance(value, Int8) else value

        return func(*tree_map(dense, args), **(kwargs or {}))


class Flattened(Tensor):
    """Tells its parts; one of them may be a wrapper again."""

    inner: Tensor  # type: ignore[assignment]

    def __new__(cls, inner: Tensor, offset: Tensor) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=torch.float32)

    def __init__(self, inner: Tensor, offset: Tensor) -> None:
        self.inner, self.offset = inner, offset

    def __repr__(self) -> str:  # type: ignore[override]
        return "Flattened"

    def __tensor_flatten__(self) -> Any:
        return ["inner", "offset"], None

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in VIEWS:
            return cls(func(args[0].inner, *args[1:]), args[0].offset)

        def dense(value: Any) -> Any:
            return value.inner + value.offset if isinstance(value, Flattened) else value

        return func(*tree_map(dense, args), **(kwargs or {}))


def int8(rows: int = WIDTH) -> Tensor:
    return Int8(torch.zeros(rows, WIDTH, dtype=torch.int8), torch.ones(rows, 1))


STORED = WIDTH * WIDTH + 4 * WIDTH  # one of int8, and its scales
WEIGHTS: dict[str, tuple[Any, int]] = {
    "int8": (int8, STORED),
    "flattened": (lambda: Flattened(torch.zeros(WIDTH, WIDTH), torch.ones(WIDTH)), 4 * 65 * WIDTH),
    "nested": (lambda: Flattened(int8(), torch.ones(WIDTH)), STORED + 4 * WIDTH),
}


def made_of(weight: Any, layers: int) -> nn.Sequential:
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(layers)))
    for layer in model:
        layer.weight = nn.Parameter(weight(), requires_grad=False)
    return model


@pytest.mark.parametrize("name", WEIGHTS)
def test_parameters_hold_what_their_parts_hold(name: str) -> None:
    weight, stored = WEIGHTS[name]
    profile = nnprof.measure(made_of(weight, 4), (ROWS, WIDTH))
    assert profile.params == 4 * WIDTH * WIDTH
    assert profile.macs == 4 * ROWS * WIDTH * WIDTH
    assert profile.memory.parameters == profile.memory.at_peak["parameters"] == 4 * stored
    # At the most: a weight in floats and one on the way to it, an activation before and after.
    most = 4 * stored + 2 * 4 * WIDTH * WIDTH + 3 * 4 * ROWS * WIDTH
    assert 4 * stored < profile.memory.peak <= most
    assert profile.memory.inputs == 4 * ROWS * WIDTH
    assert not profile.facts.never_called


def test_the_real_weight_is_held_once() -> None:
    """One copy in floats, made for its layer and freed after it."""
    memory = nnprof.measure(made_of(int8, 8), (ROWS, WIDTH)).memory
    dense, activation = 4 * WIDTH * WIDTH, 4 * ROWS * WIDTH
    # The product of weight and scales is made from the weight in floats.
    assert memory.peak == 8 * STORED + 2 * dense + 2 * activation


def test_a_shared_wrapper_is_counted_once() -> None:
    model = made_of(int8, 2)
    model[1].weight = model[0].weight
    profile = nnprof.measure(model, (ROWS, WIDTH))
    assert profile.params == WIDTH * WIDTH
    assert profile.memory.parameters == STORED


def test_wrappers_that_share_their_parts() -> None:
    model, shared = made_of(int8, 2), int8()
    for layer in model:
        layer.weight = nn.Parameter(shared.detach(), requires_grad=False)
    assert nnprof.measure(model, (ROWS, WIDTH)).memory.parameters == STORED


def test_a_wrapper_as_a_buffer_and_as_an_input() -> None:
    class Holds(nn.Module):
        table: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", int8())

        def forward(self, x: Tensor, other: Tensor) -> Tensor:
            return F.linear(F.linear(x, self.table), other)

    profile = nnprof.measure(Holds(), inputs=(torch.ones(ROWS, WIDTH), int8(8)))
    assert profile.memory.buffers == STORED
    # As on an accelerator, which gives memory by 512 bytes.
    assert profile.memory.inputs == 1024 + 8 * WIDTH + 512
    assert profile.macs == ROWS * WIDTH * (WIDTH + 8)


def test_parts_in_slots() -> None:
    class Slotted(Int8):
        __slots__ = ("extra",)

        def __init__(self, data: Tensor, scale: Tensor) -> None:
            super().__init__(data, scale)
            self.extra = torch.zeros(7)

    def weight() -> Tensor:
        return Slotted(torch.zeros(WIDTH, WIDTH, dtype=torch.int8), torch.ones(WIDTH, 1))

    assert nnprof.measure(made_of(weight, 1), (ROWS, WIDTH)).memory.parameters == STORED + 28


def test_views_of_a_wrapper_hold_nothing() -> None:
    weight = int8()
    with nnprof.trace() as running:
        kept = [weight.detach() for _ in range(10)]
        F.linear(torch.ones(ROWS, WIDTH), kept[0])
    with nnprof.trace() as once:
        F.linear(torch.ones(ROWS, WIDTH), weight.detach())
    assert running.profile().memory.peak == once.profile().memory.peak


def test_the_model_computes_as_before() -> None:
    model, x = made_of(int8, 2), torch.randn(ROWS, WIDTH)
    expected = model(x)
    nnprof.measure(model, inputs=x)
    torch.testing.assert_close(model(x), expected)
    assert isinstance(model[0].weight, Int8)
