"""Gradients that a program asks for: torch.autograd.grad, double backward, torch.func."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tracing.training.autograd.stories import Stories, mlp

story = Stories()


@story
def autograd_grad() -> Any:
    model, x = mlp(), torch.randn(2, 6, requires_grad=True)
    yield
    grads = torch.autograd.grad(model(x).sum(), [x, *model.parameters()])
    return grads, model, x.grad


@story
def autograd_grad_of_unused() -> Any:
    a, b = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    yield
    return torch.autograd.grad((a * 2).sum(), [a, b], allow_unused=True)


@story.raises("RuntimeError: The differentiated Tensor at index 1 appears to not have")
def autograd_grad_of_unused_is_an_error() -> Any:
    a, b = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    yield
    return torch.autograd.grad((a * 2).sum(), [a, b])


@story
def materialized_gradients() -> Any:
    a, b = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    yield
    return torch.autograd.grad((a * 2).sum(), [a, b], materialize_grads=True)


@story
def gradient_of_inner() -> Any:
    model, x = mlp(), torch.randn(2, 6)
    yield
    hidden = model[0](x)
    return torch.autograd.grad(model[1:](hidden).sum(), hidden)


@story
def batched_gradients() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    y = x.exp() * 2
    return torch.autograd.grad(y, x, torch.eye(3), is_grads_batched=True)


@story
def backward_of_inputs_only() -> Any:
    model = mlp()
    yield
    model(torch.randn(2, 6)).sum().backward(inputs=[model[0].weight])
    return model


@story.raises("RuntimeError: grad can be implicitly created only for scalar")
def backward_without_scalar() -> Any:
    mlp()(torch.randn(2, 6)).backward()


@story.raises("RuntimeError: Trying to backward through the graph a second time (or")
def backward_twice() -> Any:
    loss = mlp()(torch.randn(2, 6)).sum()
    loss.backward()
    loss.backward()


@story
def backward_twice_with_retained_graph() -> Any:
    model = mlp()
    yield
    loss = model(torch.randn(2, 6)).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    return model


@story.raises("RuntimeError: Mismatch in shape")
def wrong_shape_of_gradient() -> Any:
    out = mlp()(torch.randn(2, 6))
    out.backward(torch.ones(3, 2))


@story
def double_backward() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    (first,) = torch.autograd.grad(x.pow(3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    (third,) = torch.autograd.grad(second.sum(), x)
    return first, second, third


@story
def gradient_penalty() -> Any:
    model, x = mlp(), torch.randn(2, 6, requires_grad=True)
    yield
    (grad,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    penalty = (grad.norm(2, dim=1) - 1).square().mean()
    penalty.backward()
    return model, x.grad, grad


@story
def double_backward_of_convolution() -> Any:
    model, x = nn.Conv2d(2, 3, 3, padding=1), torch.randn(1, 2, 5, 5, requires_grad=True)
    yield
    out = F.softplus(model(x))
    (grad,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    grad.square().sum().backward()
    return model, x.grad


class ForceField(nn.Module):
    """Energy of positions, and the forces: its gradient, taken inside of the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        positions = positions.requires_grad_()
        energy = self.body(positions).sum()
        (gradient,) = torch.autograd.grad(energy, positions, create_graph=self.training)
        return energy, -gradient


@story
def loss_on_forces() -> Any:
    model = ForceField()
    yield
    energy, forces = model(torch.randn(5, 3))
    (energy + (forces - torch.randn(5, 3)).square().sum()).backward()
    return energy, forces, model


@story
def forces_in_eval() -> Any:
    return ForceField().eval()(torch.randn(5, 3))


@story
def functional_jacobian() -> Any:
    return torch.autograd.functional.jacobian(lambda x: x.exp() * 2, torch.randn(3))


@story
def functional_hessian() -> Any:
    return torch.autograd.functional.hessian(lambda x: x.pow(3).sum(), torch.randn(3))


@story
def functional_vjp() -> Any:
    return torch.autograd.functional.vjp(lambda x: x.exp(), torch.randn(3), torch.ones(3))


@story
def functional_hvp() -> Any:
    return torch.autograd.functional.hvp(lambda x: x.pow(3).sum(), torch.randn(3), torch.ones(3))


@story
def func_grad() -> Any:
    return torch.func.grad(lambda x: x.sin().sum())(torch.randn(3))


@story
def func_vmap_of_grad() -> Any:
    weight = torch.randn(4, 3)
    yield

    def loss(weight: Tensor, x: Tensor) -> Tensor:
        return (x @ weight).square().sum()

    return torch.func.vmap(torch.func.grad(loss), (None, 0))(weight, torch.randn(5, 4))


@story
def func_jacrev() -> Any:
    return torch.func.jacrev(lambda x: x.exp())(torch.randn(3))


@story
def func_per_sample_gradients_of_a_module() -> Any:
    model = mlp()
    yield
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, parameters, x)
        return out.sum()

    return torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, torch.randn(5, 6))


@story
def functional_call_with_leaves() -> Any:
    model = mlp()
    yield
    own = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    torch.func.functional_call(model, own, torch.randn(2, 6)).sum().backward()
    return model, {name: p.grad for name, p in own.items()}


test_as_in_a_real_run, test_of_what_was_made_before = story.tests()
