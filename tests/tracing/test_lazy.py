"""Lazy modules are measured on a copy that the input gives shapes; the user's stay lazy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nnprof
from nnprof.errors import InputError, LazyModuleError
from tests.helpers.unchanged import State

IMAGE = (2, 3, 8, 8)


class Lazy(nn.Module):
    """With layers that are lazy and ones that are not, and a state."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d()
        self.hidden, self.head = nn.LazyLinear(10), nn.Linear(10, 3)
        self.calls = 0
        self.head.register_forward_hook(self.count)

    def count(self, *_: Any) -> None:
        self.calls += 1

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu()
        out: Tensor = self.head(self.hidden(x.flatten(1)))
        return out


class StateOfLazy(State):
    """Of a lazy model: parameters without shapes have no content."""

    def take(self) -> dict[str, Any]:
        lazy = {
            (path, name): (type(module), id(tensor), type(tensor))
            for path, module in self.model.named_modules()
            for name, tensor in [*module._parameters.items(), *module._buffers.items()]
        }
        names = {path: list(vars(module)) for path, module in self.model.named_modules()}
        hooks = {p: list(m._forward_pre_hooks) for p, m in self.model.named_modules()}
        random = torch.get_rng_state().tolist()
        weight = self.model.head.weight.tolist()  # type: ignore[union-attr,operator]
        return {
            "lazy": lazy,
            "names": names,
            "hooks": hooks,
            "random": random,
            "calls": self.model.calls,
            "weight": weight,
        }


def numbers(profile: nnprof.Profile) -> Any:
    layers = [(x.path, x.type, x.calls, x.params, x.macs, x.flops, x.bytes) for x in profile.layers]
    return profile.params, profile.macs, profile.flops, profile.bytes, layers, profile.facts.name


OPTIONS: dict[str, dict[str, Any]] = {
    "forward": {},
    "backward": {"backward": True},
    "optimizer by name": {"backward": True, "optimizer": "adamw"},
    "hardware": {"hardware": "h200"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_as_after_a_first_call(name: str) -> None:
    model, called = Lazy(), Lazy()
    called(torch.randn(IMAGE))
    state = StateOfLazy(model, [])
    expected = numbers(nnprof.measure(called, IMAGE, **OPTIONS[name]))
    for _ in range(3):
        assert numbers(nnprof.measure(model, IMAGE, **OPTIONS[name])) == expected
        state.assert_same()
    assert isinstance(model.conv, nn.LazyConv2d)
    assert isinstance(model.conv.weight, nn.UninitializedParameter)
    # And it becomes what it would have become.
    assert model(torch.randn(IMAGE)).shape == (2, 3)
    assert type(model.conv) is nn.Conv2d


def test_real_inputs_on_a_device() -> None:
    model, x = Lazy(), torch.randn(IMAGE)
    state = StateOfLazy(model, [])
    profile = nnprof.measure(model, inputs=x, device="cpu", time_budget=0.5)
    state.assert_same()
    assert profile.times is not None
    assert profile.times.end_to_end is not None
    assert profile.times.end_to_end.eager_s is not None


def test_tensors_with_a_shape_are_shared() -> None:
    """So an optimizer of these, and only these, may step."""
    model = Lazy()
    optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)
    profile = nnprof.measure(model, IMAGE, backward=True, optimizer=optimizer)
    assert profile.phase("optimizer").flops > 0
    assert not optimizer.state


def test_an_optimizer_of_parameters_without_shapes_is_refused() -> None:
    model = Lazy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(nnprof.NnprofError, match=r"no shape yet.*pass its name"):
        nnprof.measure(model, IMAGE, backward=True, optimizer=optimizer)


def test_what_the_forward_never_calls_has_no_shape() -> None:
    class Unused(Lazy):
        def forward(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(LazyModuleError, match="'weight' of module 'conv'"):
        nnprof.measure(Unused(), IMAGE)


def test_a_trace_of_a_lazy_model_is_refused() -> None:
    with pytest.raises(LazyModuleError, match="run the model once"):
        nnprof.trace(Lazy()).__enter__()


def test_a_wrong_input_is_explained() -> None:
    with pytest.raises(InputError, match="takes"):
        nnprof.measure(Lazy(), [(2, 3, 8, 8), (1,)])
    with pytest.raises(RuntimeError):
        nnprof.measure(Lazy(), (2, 3))
