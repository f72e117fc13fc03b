"""What a measured function changes in a model it reaches is put back, taken back by it or not."""

from __future__ import annotations

import functools
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import nnprof
from tests.helpers.unchanged import State

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS, SIZE = 4, 40


class Inner:
    """An object in an object of a module."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []


class Net(nn.Module):
    """Holds state of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIZE, SIZE)
        self.norm = nn.BatchNorm1d(SIZE)
        self.register_buffer("steps", torch.zeros(SIZE))
        self.cache: dict[str, Any] = {"layers": [{"keys": None}, {"keys": None}]}
        self.recent: deque[Tensor] = deque(maxlen=2)
        self.names = {"one"}
        self.inner = SimpleNamespace(deeper=Inner())
        self.layer.weight.note = ["before"]  # type: ignore[attr-defined]
        self.layer.register_forward_hook(lambda module, inputs, output: None)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.layer(x))
        return out


# Ways to change it, before it is called and after. --------------------------------------------


def hook_left(net: Net) -> Any:
    net.layer.register_forward_hook(lambda module, inputs, output: output.clone())


def hook_taken_back(net: Net) -> Any:
    return net.layer.register_forward_hook(lambda m, inputs, output: output.clone()).remove


def hooks_cleared(net: Net) -> Any:
    net.layer._forward_hooks.clear()


def evaluated(net: Net) -> Any:
    net.eval()


def evaluated_and_back(net: Net) -> Any:
    net.eval()
    return net.train


def frozen(net: Net) -> Any:
    net.layer.weight.requires_grad_(False)


def frozen_and_back(net: Net) -> Any:
    net.requires_grad_(False)
    return net.requires_grad_


def buffer_registered(net: Net) -> Any:
    net.layer.register_buffer("more", torch.ones(3), persistent=False)


def attribute_set(net: Net) -> Any:
    net.mode = "other"  # type: ignore[assignment]
    del net.names


def deep_containers(net: Net) -> Any:
    net.cache["layers"][0]["keys"] = torch.ones(3)
    net.cache["layers"][1].clear()
    net.recent.append(torch.ones(2))
    net.names.add("two")
    net.inner.deeper.seen.append(torch.ones(2))
    net.inner.more = 1


def parameters_attributes(net: Net) -> Any:
    net.layer.weight.note.append("after")  # type: ignore[attr-defined]
    net.layer.weight.grad_sample = torch.ones(3)  # type: ignore[attr-defined]
    net.layer.bias.grad_sample = [torch.ones(3)]  # type: ignore[attr-defined]
    net.steps.seen = 1  # type: ignore[union-attr]


def hooks_on_tensors(net: Net) -> Any:
    net.layer.weight.register_hook(lambda gradient: gradient)
    net.layer.bias.register_post_accumulate_grad_hook(lambda parameter: None)


def another_class(net: Net) -> Any:
    net.layer.__class__ = type("Other", (nn.Linear,), {})


def gradients_cleared(net: Net) -> Any:
    net.zero_grad()


CHANGES: list[Callable[[Net], Any]] = [
    hook_left,
    hook_taken_back,
    hooks_cleared,
    evaluated,
    evaluated_and_back,
    frozen,
    frozen_and_back,
    buffer_registered,
    attribute_set,
    deep_containers,
    parameters_attributes,
    hooks_on_tensors,
    another_class,
    gradients_cleared,
]
by_change = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)

# Ways to reach it. ------------------------------------------------------------------------------

Call = "Callable[[Net, Tensor], Tensor]"
GLOBAL: dict[str, Any] = {}


def named_by_a_global(x: Tensor) -> Tensor:
    return GLOBAL["call"](GLOBAL["net"], x)


class Engine:
    """No module: calls one."""

    shared: Any = None

    def __init__(self, net: Net | None, call: Any) -> None:
        self.net, self.call = net, call

    def step(self, x: Tensor) -> Tensor:
        return self.call(self.net or Engine.shared, x)

    __call__ = step


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def around(*args: Any) -> Any:
        return function(*args)

    return around


def ways(net: Net, call: Any) -> dict[str, Any]:
    GLOBAL.update(net=net, call=call)
    Engine.shared = net
    listed, engine = [{"net": net}], Engine(net, call)
    return {
        "closure": lambda x: call(net, x),
        "list in a closure": lambda x: call(listed[0]["net"], x),
        "object in a closure": lambda x: engine.step(x),
        "global": named_by_a_global,
        "default": lambda x, model=net: call(model, x),
        "partial": functools.partial(call, net),
        "method": engine.step,
        "callable object": engine,
        "class attribute": Engine(None, call).step,
        "decorator": decorated(lambda x: call(net, x)),
        "lambda in a lambda": lambda x: (lambda y: call(net, y))(x),
    }


WAYS = list(ways(Net(), print))


def changing(change: Callable[[Net], Any]) -> Callable[[Net, Tensor], Tensor]:
    def call(net: Net, x: Tensor) -> Tensor:
        undo = change(net)
        out: Tensor = net(x)
        if undo is not None:
            undo()
        return out

    return call


def trained() -> Net:
    torch.manual_seed(0)
    net = Net()
    net(torch.ones(ROWS, SIZE)).sum().backward()
    return net


def assert_put_back(net: Net, measure: Callable[[], tuple[int, ...]]) -> None:
    x = torch.randn(ROWS, SIZE)
    expected = net.eval()(x)
    net.train()
    state = State(net, [])
    assert len({measure() for _ in range(3)}) == 1
    state.assert_same()
    torch.testing.assert_close(net.eval()(x), expected, rtol=0, atol=0)


def totals(profile: nnprof.Profile) -> tuple[int, ...]:
    return profile.macs, profile.flops, profile.bytes


@by_change
def test_changes_by_a_measured_function(change: Callable[[Net], Any]) -> None:
    net = trained()
    function = ways(net, changing(change))["closure"]
    assert_put_back(net, lambda: totals(nnprof.measure(function, (ROWS, SIZE))))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", [hook_taken_back, evaluated, frozen, deep_containers])
def test_ways_to_a_model(way: str, change: Callable[[Net], Any]) -> None:
    net = trained()
    function = ways(net, changing(change))[way]
    assert_put_back(net, lambda: totals(nnprof.measure(function, (ROWS, SIZE))))


@pytest.mark.parametrize("change", [c for c in CHANGES if c is not frozen_and_back])
def test_changes_by_a_training_step(change: Callable[[Net], Any]) -> None:
    net = trained()
    call = changing(change)
    measured = functools.partial(nnprof.measure, lambda x: call(net, x), (ROWS, SIZE))
    assert_put_back(net, lambda: totals(measured(backward=True)))


@by_change
def test_changes_to_a_model_that_is_an_argument(change: Callable[[Net], Any]) -> None:
    net, x = trained(), torch.randn(ROWS, SIZE)
    measured = functools.partial(nnprof.measure, changing(change), inputs=(net, x))
    assert_put_back(net, lambda: totals(measured()))


# What a trace without a model cannot find before is told by the functions that change it.
@pytest.mark.parametrize(
    "change",
    [
        hook_left,
        hook_taken_back,
        evaluated,
        evaluated_and_back,
        frozen_and_back,
        buffer_registered,
        attribute_set,
        hooks_on_tensors,
        gradients_cleared,
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_changes_in_a_trace(change: Callable[[Net], Any], known: bool) -> None:
    net, x = trained(), torch.randn(ROWS, SIZE)

    def measure() -> tuple[int, ...]:
        with nnprof.trace(net if known else None) as running:
            changing(change)(net, x)
        return totals(running.profile())

    assert_put_back(net, measure)


def test_a_hook_from_before_that_is_removed_in_a_trace() -> None:
    net, x = Net(), torch.randn(ROWS, SIZE)
    handle = net.norm.register_forward_hook(lambda module, inputs, output: output * 2)

    def measure() -> tuple[int, ...]:
        with nnprof.trace() as running:
            handle.remove()
            net(x)
        return totals(running.profile())

    assert_put_back(net, measure)


def test_hooks_of_all_modules() -> None:
    from torch.nn.modules import module

    def function(x: Tensor) -> Tensor:
        module.register_module_forward_hook(lambda m, inputs, output: None)
        return net(x)

    net = Net()
    nnprof.measure(function, (ROWS, SIZE))
    assert not module._global_forward_hooks


def test_a_module_made_in_a_trace_keeps_what_it_was_made_with() -> None:
    with nnprof.trace():
        made = Net()
        out = made(torch.ones(ROWS, SIZE))
    assert list(dict(made.named_children())) == ["layer", "norm"]
    assert out.shape == (ROWS, SIZE)


def test_what_a_function_collects_is_its_own() -> None:
    shapes, net = [], Net()

    def function(x: Tensor) -> Tensor:
        shapes.append(net(x).shape)
        return x

    nnprof.measure(function, (ROWS, SIZE))
    assert shapes == [(ROWS, SIZE)]
