"""Attributes of modules read the same inside a trace as outside, whoever defines them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nnprof


class Plain(nn.Module):
    """Has one attribute of each origin."""

    of_class = "of the class"

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("running", torch.zeros(2))
        self.inner = nn.Linear(2, 2)
        self.of_instance = "of the instance"

    @property
    def computed(self) -> str:
        return "computed"

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Answering(Plain):
    """Answers for attributes that it does not have."""

    def __getattr__(self, name: str) -> Any:
        return "answered" if name == "made_up" else super().__getattr__(name)


class Watching(Plain):
    """Is asked for every attribute."""

    def __getattribute__(self, name: str) -> Any:
        if name == "watched":
            return "seen"
        return super().__getattribute__(name)


class Holder(dict[str, Any]):
    """A dict whose lookup is its own."""

    def __getitem__(self, name: str) -> Any:
        return "from the holder"


NAMES = ("weight", "running", "inner", "of_class", "of_instance", "computed", "training")


def inside(model: nn.Module, read: Any) -> Any:
    """What ``read`` returns when the model's forward asks."""
    found: list[Any] = []

    def forward(x: Tensor) -> Tensor:
        found.append(read())
        return x

    model.forward = forward
    nnprof.measure(model, (1, 2))
    return found[0]


def message(model: nn.Module, name: str) -> str:
    with pytest.raises(AttributeError) as caught:
        getattr(model, name)
    return str(caught.value)


@pytest.mark.parametrize("kind", [Plain, Answering, Watching])
@pytest.mark.parametrize("name", NAMES)
def test_every_attribute_is_found(kind: type[nn.Module], name: str) -> None:
    model = kind()
    outside = getattr(model, name)
    assert inside(model, lambda: getattr(model, name)) is outside


@pytest.mark.parametrize("kind", [Plain, Answering, Watching])
def test_a_missing_attribute_raises_what_torch_raises(kind: type[nn.Module]) -> None:
    model = kind()
    outside = message(model, "absent")
    assert inside(model, lambda: message(model, "absent")) == outside
    assert "absent" in outside


def test_own_lookups_are_asked() -> None:
    answering, watching = Answering(), Watching()
    assert inside(answering, lambda: answering.made_up) == "answered"
    assert inside(watching, lambda: watching.watched) == "seen"


def test_a_holder_of_another_kind_is_asked_its_own_way() -> None:
    model = Plain()
    model.__dict__["_modules"] = Holder(inner=model.inner)
    outside: Any = model.inner
    assert inside(model, lambda: model.inner) == outside == "from the holder"


def test_a_lookup_given_to_the_class_in_the_forward_takes_effect() -> None:
    class Changed(Plain):
        pass

    model = Changed()

    def read() -> Any:
        Changed.__getattr__ = lambda self, name: "changed"  # type: ignore[method-assign,assignment,return-value]
        return model.absent

    assert inside(model, read) == "changed"
    assert model.absent == "changed"


def test_a_class_derived_in_the_forward_reads_its_attributes_afterwards() -> None:
    model = Plain()
    kind = inside(model, lambda: type("Derived", (Plain,), {"__getattr__": lambda s, n: "late"}))
    assert kind.__new__(kind).absent == "late"
    plain = inside(model, lambda: type("Derived", (Plain,), {}))()
    assert message(plain, "absent") == "'Derived' object has no attribute 'absent'"
    assert plain.inner.weight.shape == (2, 2)
