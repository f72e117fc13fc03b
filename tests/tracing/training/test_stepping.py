"""Optimizers that step where a plain loop does not: in hooks of the backward, with closures, on
gradients of gradients. What a step costs is what the same loop really costs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from torch import Tensor, nn

import nnprof
from nnprof.results.records import PHASES
from tests.helpers import oracles

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (3, 6)
FORWARD = 3 * (6 * 5 + 5 * 4)
BACKWARD = FORWARD + 3 * 5 * 4  # the first layer's input wants no gradient
ELEMENTS = 6 * 5 + 5 + 5 * 4 + 4


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))


# In hooks of the backward -------------------------------------------------------------------------


def step_in_hooks(model: nn.Module, make: Any) -> list[Any]:
    """torchtune's and transformers' way: an optimizer for each parameter, no gradient stays."""
    optimizers: dict[Tensor, Any] = {p: make([p]) for p in model.parameters()}

    def step(parameter: Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    return [p.register_post_accumulate_grad_hook(step) for p in model.parameters()]


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adafactor"])
def test_a_step_in_a_hook_is_the_optimizers(name: str) -> None:
    make = getattr(torch.optim, name)
    plain, hooked = mlp(), mlp()
    with nnprof.trace(plain, backward=True, target="cpu") as expected:
        optimizers = [make([p]) for p in plain.parameters()]
        plain(torch.ones(SHAPE)).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    hooks = step_in_hooks(hooked, make)
    with nnprof.trace(hooked, backward=True, target="cpu") as found:
        hooked(torch.ones(SHAPE)).sum().backward()
    for phase in PHASES:
        for number in ("macs", "flops", "calls"):
            of_plain = getattr(expected.profile().phase(phase), number)
            assert getattr(found.profile().phase(phase), number) == of_plain
    assert len(hooks) == 4


def test_moments_made_in_a_hook_are_the_optimizers_memory() -> None:
    model = mlp()
    step_in_hooks(model, torch.optim.AdamW)
    with nnprof.trace(model, backward=True, target="cpu") as running:
        model(torch.ones(SHAPE)).sum().backward()
    memory = running.profile().memory
    after = running.result.memory()["phases"]["optimizer"]["after"]
    assert after["optimizer"] == 2 * 4 * ELEMENTS + 4 * 4  # and a counter each
    assert after["gradients"] <= 4 * 6 * 5  # the last one
    assert memory.parameters == 4 * ELEMENTS


def test_state_from_before_is_not_made_again() -> None:
    model = mlp()
    step_in_hooks(model, torch.optim.AdamW)
    model(torch.ones(SHAPE)).sum().backward()
    before = [p.detach().clone() for p in model.parameters()]
    profile = nnprof.measure(model, SHAPE, backward=True)
    assert profile.phase("backward").macs == BACKWARD
    assert profile.phase("optimizer").flops >= 10 * ELEMENTS
    assert profile.memory.at_peak["optimizer"] == 2 * 4 * ELEMENTS + 4 * 4
    for parameter, value in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, value)


def test_a_hook_of_the_whole_backward() -> None:
    """A tensor hook on the input's gradient: the step comes while the engine still runs."""
    model, x = mlp(), torch.ones(SHAPE, requires_grad=True)
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
    with nnprof.trace(model, backward=True, optimizer=optimizer) as running:
        x.register_hook(lambda grad: optimizer.step())
        model(x).sum().backward()
    profile = running.profile()
    assert profile.phase("optimizer").flops == 2 * (5 * 4 + 4)
    assert profile.phase("backward").macs == BACKWARD + 3 * 6 * 5


def test_what_follows_a_step_in_a_hook_is_backward() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
    bias = cast("nn.Parameter", model[2].bias)
    bias.register_post_accumulate_grad_hook(lambda p: optimizer.step())
    with nnprof.trace(model, backward=True, optimizer=optimizer) as running:
        model(torch.ones(SHAPE)).sum().backward()
    ops = running.result.ops()
    assert ops["phase"][-1] == "backward"
    assert running.profile().phase("backward").macs == BACKWARD


# Closures -----------------------------------------------------------------------------------------


class SAM(torch.optim.Optimizer):
    """Foret et al.: the gradient is that of the worst point around. Wants a closure."""

    def __init__(self, parameters: Any, base: Any, rho: float = 0.05) -> None:
        super().__init__(parameters, {"rho": rho})
        self.base = base(self.param_groups)

    def parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"] if p.grad is not None]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        if closure is None:
            raise RuntimeError("SAM requires closure, but it was not provided")
        grads = [p.grad for p in self.parameters() if p.grad is not None]
        norm = torch.stack([grad.norm() for grad in grads]).norm()
        for parameter in self.parameters():
            self.state[parameter]["old"] = parameter.clone()
            parameter.add_(parameter.grad * (0.05 / (norm + 1e-12)))
        self.zero_grad()
        with torch.enable_grad():
            loss = closure()
        for parameter in self.parameters():
            parameter.copy_(self.state[parameter]["old"])
        self.base.step()
        return loss


class Lookaround(torch.optim.Optimizer):
    """Calls the closure twice before it steps; without one it makes a plain step."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure: Any) -> Any:  # type: ignore[override]
        for _ in range(2):
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(parameter.grad, alpha=0.1)
        return loss


class Hutchinson(torch.optim.Optimizer):
    """SophiaH's and AdaHessian's curvature: the gradients are differentiated once more."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        parameters = [p for group in self.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters]
        directions = [torch.randint_like(p, 2) * 2 - 1 for p in parameters]
        with torch.enable_grad():
            products = torch.autograd.grad(gradients, parameters, directions)
        for parameter, direction, product in zip(parameters, directions, products, strict=True):
            state = self.state[parameter]
            if not state:
                state["curvature"] = torch.zeros_like(parameter)
            state["curvature"].lerp_(direction * product, 0.1)
            parameter.sub_(parameter.grad / state["curvature"].clamp(min=1e-4), alpha=0.1)
        return loss


def squares(output: Tensor) -> Tensor:
    return output.square().sum()


def loop(
    model: nn.Module, optimizer: Any, *, first: bool = True, graph: bool = False
) -> Callable[[], Any]:
    def forward_backward() -> Tensor:
        optimizer.zero_grad()
        loss = squares(model(torch.ones(SHAPE)))
        loss.backward(create_graph=graph)
        return loss

    def step() -> None:
        if graph:
            forward_backward()
            optimizer.step()
            return
        if first:
            forward_backward()
        optimizer.step(forward_backward)

    return step


MAKERS: dict[str, tuple[Any, dict[str, Any], int]] = {
    "SAM": (lambda p: SAM(p, torch.optim.SGD), {}, 2),
    "SAM around AdamW": (lambda p: SAM(p, torch.optim.AdamW), {}, 2),
    "closure alone": (Lookaround, {"first": False}, 2),
    "gradients of gradients": (Hutchinson, {"graph": True}, 1),
    "LBFGS": (lambda p: torch.optim.LBFGS(p, max_iter=1), {"first": False}, 1),
    "LBFGS, iterating": (lambda p: torch.optim.LBFGS(p, max_iter=4), {"first": False}, 4),
}


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")
@pytest.mark.parametrize("stepped_before", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_a_step_counts_what_its_loop_really_does(name: str, stepped_before: bool) -> None:
    make, how, passes = MAKERS[name]
    model, real = mlp(), mlp()
    optimizer, really = make(model.parameters()), make(real.parameters())
    expected = oracles.flop_counter_macs(loop(real, really, **how))
    if stepped_before:
        loop(model, optimizer, **how)()
        model.zero_grad()
    before = [p.detach().clone() for p in model.parameters()], len(optimizer.state)
    settings = repr(optimizer)
    profile = nnprof.measure(model, SHAPE, backward=True, optimizer=optimizer, loss=squares)
    # FlopCounterMode knows no dot product, which LBFGS has between its directions.
    assert profile.macs - profile.phase("optimizer").macs == expected
    assert profile.phase("forward").macs == passes * FORWARD
    if name != "gradients of gradients":
        assert profile.phase("backward").macs == passes * BACKWARD
    assert profile.phase("optimizer").flops > 0
    for parameter, value in zip(model.parameters(), before[0], strict=True):
        assert torch.equal(parameter, value)
        assert parameter.grad is None
    assert len(optimizer.state) == before[1]
    assert repr(optimizer) == settings


def test_the_loss_of_a_closure_is_forward() -> None:
    """Also what it computes outside of modules."""
    model = mlp()
    optimizer = Lookaround(model.parameters())

    def closure() -> Tensor:
        loss = (model(torch.ones(SHAPE)) - 1).square().mean()
        loss.backward()
        return loss

    with nnprof.trace(model, backward=True, optimizer=optimizer) as running:
        optimizer.step(closure)
    ops = running.result.ops()
    phases = dict(zip(ops["op"], ops["phase"], strict=True))
    assert phases["aten::mean"] == "forward"
    assert phases["aten::sub_.Tensor"] == "optimizer"


def test_an_optimizer_in_an_optimizer() -> None:
    """What follows the inner step is still the outer one's."""

    class Outer(torch.optim.Optimizer):
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters, {})
            self.inner = torch.optim.SGD(self.param_groups, lr=0.1)

        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            self.inner.step()
            with torch.no_grad():
                for group in self.param_groups:
                    for parameter in group["params"]:
                        parameter.mul_(0.5)

    model = mlp()
    profile = nnprof.measure(model, SHAPE, backward=True, optimizer=Outer(model.parameters()))
    assert profile.phase("optimizer").flops == 3 * ELEMENTS
    assert profile.phase("forward").macs == FORWARD


def test_other_errors_of_a_step_are_its_own() -> None:
    class Breaks(Lookaround):
        def step(self, closure: Any = None) -> Any:
            raise ZeroDivisionError("a bug")

    model = mlp()
    with pytest.raises(ZeroDivisionError, match="a bug"):
        nnprof.measure(model, SHAPE, backward=True, optimizer=Breaks(model.parameters()))
    with contextlib.suppress(nnprof.NnprofError):
        assert nnprof.measure(model, SHAPE, backward=True).macs == FORWARD + BACKWARD
