"""Without a loss of its own an output is trained by the sum of all floating tensors in it."""

from __future__ import annotations

import collections
import dataclasses
import types
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import nnprof
from nnprof.calls.outputs import tensors_in


@dataclasses.dataclass
class Data:
    first: Any
    second: Any


@dataclasses.dataclass(slots=True)
class Slotted:
    first: Any
    second: Any


@dataclasses.dataclass
class Inherits(Data):
    third: Any = None


class Named(NamedTuple):
    first: Any
    second: Any


class Plain:
    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second


class Slots:
    __slots__ = ("first", "second")

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second


class Dict(collections.UserDict):  # type: ignore[type-arg]
    pass


class Listed(list):  # type: ignore[type-arg]
    extra: Any


def listed(first: Any, second: Any) -> Any:
    made = Listed([first])
    made.extra = second
    return made


def attrs_class(first: Any, second: Any) -> Any:
    attrs = pytest.importorskip("attrs")
    return attrs.make_class("Attrs", ["first", "second"])(first, second)


OUTPUTS: dict[str, Any] = {
    "dataclass": Data,
    "dataclass with slots": Slotted,
    "named tuple": Named,
    "object": Plain,
    "slots": Slots,
    "attrs": attrs_class,
    "namespace": lambda a, b: types.SimpleNamespace(first=a, second=b),
    "UserDict": lambda a, b: Dict(first=a, second=b),
    "OrderedDict": lambda a, b: collections.OrderedDict(first=a, second=b),
    "mapping proxy": lambda a, b: types.MappingProxyType({"first": a, "second": b}),
    "UserList": lambda a, b: collections.UserList([a, b]),
    "deque": lambda a, b: collections.deque([a, b]),
    "list with an attribute": listed,
    "in one another": lambda a, b: Dict(x=[Data(1, Plain(a, "text"))], y=({"z": Slots(b, None)},)),
    "distribution": lambda a, b: torch.distributions.Normal(a, b.exp(), validate_args=False),
    "generator": lambda a, b: (value for value in (a, b)),
    "map": lambda a, b: map(Plain, [a], [b]),
}


class Two(nn.Module):
    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        return self.make(self.first(x), self.second(x))


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_tensor_is_found(name: str) -> None:
    profile = nnprof.measure(Two(OUTPUTS[name]), (2, 4), backward=True)
    assert profile.phase("backward").macs == 2 * 2 * 4 * 4


def test_in_the_order_of_reading_and_each_once() -> None:
    a, b, c, d = (torch.full((1,), float(i)) for i in range(4))
    plain = Plain(c, [a, d])
    output = Dict(x=b, y=Inherits(a, plain), z=plain)
    assert [int(t) for t in tensors_in(output)] == [1, 0, 2, 3]


def test_circles_and_deep_nesting_end() -> None:
    x = torch.ones(1)
    circle = Plain(x, None)
    circle.second = [circle, {"again": circle}]
    assert list(tensors_in(circle)) == [x]
    deep: Any = x
    for _ in range(5000):
        deep = [deep]
    assert list(tensors_in(deep)) == [x]


def test_a_model_that_an_output_refers_to_is_no_output() -> None:
    model = nn.Linear(4, 4)
    output = Plain(torch.ones(1), {"model": model, "method": model.forward, "class": nn.Linear})
    assert len(list(tensors_in(output))) == 1


@pytest.mark.parametrize("make", [Plain, Data, Dict])
def test_a_loss_of_its_own_comes_first(make: Any) -> None:
    class Own(Two):
        def forward(self, x: Tensor) -> Any:
            output = make(first=self.first(x), second=None)
            loss = self.second(x).mean()
            if isinstance(output, Dict):
                output["loss"] = loss
            else:
                output.loss = loss
            return output

    profile = nnprof.measure(Own(None), (2, 4), backward=True)
    assert profile["second"].macs == 2 * 2 * 4 * 4
    assert profile["first"].macs == 2 * 4 * 4


@pytest.mark.parametrize("make", [lambda a, b: Plain(1, "x"), lambda a, b: None, lambda a, b: []])
def test_nothing_to_train_is_said(make: Any) -> None:
    with pytest.raises(nnprof.NnprofError, match="pass loss="):
        nnprof.measure(Two(make), (2, 4), backward=True)
