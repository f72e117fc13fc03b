"""torch.func over real parameters and real tensors, and over meta ones: MACs of the real run."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    stack_module_state,
    vjp,
    vmap,
)
from torch.utils.flop_counter import FlopCounterMode

from nnprof import measure

MODEL = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
PARAMETERS: dict[str, Tensor] = dict(MODEL.named_parameters())
VALUES = {name: p.detach() for name, p in PARAMETERS.items()}
CONVOLUTION = nn.Sequential(
    nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(100, 2)
)
FILTERS = {name: p.detach() for name, p in CONVOLUTION.named_parameters()}
#: Of one row through MODEL.
ROW = 4 * 6 + 6 * 3


def net(x: Tensor, values: dict[str, Tensor] = VALUES) -> Tensor:
    hidden = torch.tanh(F.linear(x, values["0.weight"], values["0.bias"]))
    return F.linear(hidden, values["2.weight"], values["2.bias"])


def over_parameters(x: Tensor) -> Tensor:
    return net(x, PARAMETERS)


def loss(values: dict[str, Tensor], x: Tensor) -> Tensor:
    return functional_call(MODEL, values, (x,)).square().mean()


def energy(x: Tensor) -> Tensor:
    return net(x).square().sum()


class Doubled(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 2


def through_a_mesh(x: Tensor) -> Tensor:
    rows, _ = torch.meshgrid(x, torch.arange(4.0), indexing="ij")
    return (rows @ torch.ones(4, 2)).sum()


REVERSE: dict[str, tuple[Callable[[Tensor], Any], tuple[int, ...]]] = {
    "grad": (lambda x: grad(loss)(VALUES, x), (5, 4)),
    "grad over parameters": (lambda x: grad(loss)(PARAMETERS, x), (5, 4)),
    "grad and value": (lambda x: grad_and_value(loss)(VALUES, x), (5, 4)),
    "grad of the input": (grad(energy), (4,)),
    "grad of grad": (grad(lambda x: grad(energy)(x).square().sum()), (4,)),
    "vmap of grad": (lambda x: vmap(grad(loss), (None, 0))(VALUES, x), (5, 4)),
    "vjp": (lambda x: vjp(net, x)[1](torch.ones(5, 3)), (5, 4)),
    "vjp over parameters": (lambda x: vjp(over_parameters, x)[1](torch.ones(5, 3)), (5, 4)),
    "vjp of values": (lambda x: vjp(lambda v: net(x, v), VALUES)[1](torch.ones(5, 3)), (5, 4)),
    "vmap of vjp": (lambda x: vmap(vjp(net, x)[1])(torch.ones(2, 5, 3)), (5, 4)),
    "jacrev": (jacrev(net), (4,)),
    "jacrev over parameters": (jacrev(over_parameters), (4,)),
    "jacrev of values": (lambda x: jacrev(lambda v: net(x, v))(VALUES), (4,)),
    "jacrev of jacrev": (jacrev(jacrev(net)), (4,)),
    "vmap of jacrev": (vmap(jacrev(net)), (5, 4)),
    "convolutions": (
        lambda x: grad(lambda v: functional_call(CONVOLUTION, v, (x,)).sum())(FILTERS),
        (2, 3, 5, 5),
    ),
    "embedding": (
        lambda x: grad(lambda w: (F.embedding(torch.arange(3), w) @ w.t()).sum())(x),
        (6, 4),
    ),
    "a mesh of real points": (grad(through_a_mesh), (4,)),
    "custom function": (grad(lambda x: energy(Doubled.apply(x))), (4,)),
    "functional_call": (lambda x: functional_call(MODEL, VALUES, (x,)), (5, 4)),
    "detached": (grad(lambda x: (net(x) * net(x.detach())).sum()), (4,)),
    "jacobian": (lambda x: torch.autograd.functional.jacobian(net, x), (4,)),
    "hvp": (lambda x: torch.autograd.functional.hvp(energy, x, torch.ones(4)), (4,)),
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("case", REVERSE)
def test_reverse_mode(case: str, device: str) -> None:
    function, sizes = REVERSE[case]
    with FlopCounterMode(display=False) as real:
        function(torch.randn(sizes))
    expected = real.get_total_flops() // 2
    assert measure(function, inputs=torch.randn(sizes, device=device)).macs == expected


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node")  # torch's own
@pytest.mark.parametrize("tangents", [0, 1, 3])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_linearize(device: str, tangents: int) -> None:
    """The function once, and once more for each tangent: what is known before it is not repeated.

    Torch itself runs the function some times more, to make a graph of it.
    """
    layer = nn.Linear(4, 6, device=device)

    def program(x: Tensor) -> Any:
        output, along = torch.func.linearize(lambda v: torch.tanh(layer(v)), x)
        return output, [along(torch.ones_like(x)) for _ in range(tangents)]

    x = torch.randn(5, 4, device=device)
    assert measure(program, inputs=x).macs == 5 * 4 * 6 * (1 + tangents)
    if device == "cpu":  # as before outside of a trace
        output, found = program(x)
        expected = torch.func.jvp(lambda v: torch.tanh(layer(v)), (x,), (torch.ones_like(x),))
        assert torch.allclose(output, expected[0])
        assert all(torch.allclose(one, expected[1]) for one in found)


def along(x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        return forward_ad.unpack_dual(net(dual)).tangent


def along_a_product(x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        return forward_ad.unpack_dual(dual @ dual.mT).tangent


# By hand: FlopCounterMode counts products with tangents that are zero, which nobody computes. A
# tangent takes the product of each layer again, twice where the weights have one, too.
FORWARD: dict[str, tuple[Callable[[Tensor], Any], tuple[int, ...], int]] = {
    "jvp": (lambda x: jvp(net, (x,), (torch.ones_like(x),)), (5, 4), 2 * 5 * ROW),
    "jvp over parameters": (
        lambda x: jvp(over_parameters, (x,), (torch.ones_like(x),)),
        (5, 4),
        2 * 5 * ROW,
    ),
    "jvp of values": (
        lambda x: jvp(lambda v: net(x, v), (VALUES,), (VALUES,)),
        (5, 4),
        2 * 5 * ROW + 5 * 18,
    ),
    "jacfwd": (jacfwd(net), (4,), ROW + 4 * ROW),
    "vmap of jacfwd": (vmap(jacfwd(net)), (5, 4), 5 * (ROW + 4 * ROW)),
    # Forward and backward to the input, and four tangents of both.
    "hessian": (hessian(energy), (4,), 5 * 2 * ROW),
    "hessian over parameters": (
        hessian(lambda x: over_parameters(x).square().sum()),
        (4,),
        5 * 2 * ROW,
    ),
    "vmap of hessian": (vmap(hessian(energy)), (5, 4), 5 * 5 * 2 * ROW),
    "dual numbers": (along, (5, 4), 2 * 5 * ROW),
    "dual numbers on both sides": (along_a_product, (5, 4), 3 * 5 * 4 * 5),
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("case", FORWARD)
def test_forward_mode(case: str, device: str) -> None:
    function, sizes, expected = FORWARD[case]
    function(torch.randn(sizes))
    assert measure(function, inputs=torch.randn(sizes, device=device)).macs == expected


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_each_of_an_ensemble(device: str) -> None:
    models = [nn.Linear(4, 3) for _ in range(3)]

    def together(x: Tensor) -> Tensor:
        stacked, buffers = stack_module_state(models)
        call = vmap(lambda p, b, x: functional_call(models[0], (p, b), (x,)), (0, 0, None))
        return call(stacked, buffers, x)

    assert measure(together, inputs=torch.randn(5, 4, device=device)).macs == 3 * 5 * 12


def test_of_a_training_step() -> None:
    """A penalty on the gradient in the loss: double backward through a transform."""

    class Penalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            weight, bias = self.layer.weight, self.layer.bias
            slope = grad(lambda y: F.linear(y, weight, bias).square().sum())(x)
            return F.linear(x, weight, bias).square().sum() + slope.square().sum()

    model, x = Penalised(), torch.randn(5, 4)
    with FlopCounterMode(display=False) as real:
        model(x).backward()
    profile = measure(model, inputs=x, backward=True)
    assert profile.macs == real.get_total_flops() // 2
    assert all(p.grad is not None for p in model.parameters())
