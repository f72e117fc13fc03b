"""Subclasses of torch.autograd.Function."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tracing.training.autograd.stories import Stories

story = Stories()


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        result: Tensor = 2 * x * grad
        return result


class AddInPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x.add_(1)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class SortedWithIndices(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        values, indices = x.sort()
        ctx.mark_non_differentiable(indices)
        ctx.save_for_backward(indices)
        ctx.size = x.size(0)
        return values, indices

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> Tensor:
        (indices,) = ctx.saved_tensors
        return torch.zeros(ctx.size, device=grad.device).index_add(0, indices, grad)


class OnceDifferentiable(Square):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        result: Tensor = 2 * x * grad
        return result


class TwoOutputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float, flag: bool) -> tuple[Tensor, Tensor]:
        ctx.factor = factor
        ctx.set_materialize_grads(flag)
        return x * factor, x + factor

    @staticmethod
    def backward(ctx: Any, first: Tensor | None, second: Tensor | None) -> Any:
        assert first is not None
        return first * ctx.factor if second is None else first * ctx.factor + second, None, None


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class SetupContext(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.exp()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        product: Tensor = result * grad
        return product


@story
def own_function() -> Any:
    model, x = nn.Linear(4, 4), torch.randn(2, 4, requires_grad=True)
    yield
    y = Square.apply(model(x))
    y.sum().backward()
    return model, x.grad, type(y.grad_fn).__name__


@story
def own_function_on_a_leaf() -> Any:
    x = torch.randn(2, 4, requires_grad=True)
    yield
    Square.apply(x).sum().backward()
    return x.grad


@story
def own_function_on_a_parameter() -> Any:
    model = nn.Linear(4, 4)
    yield
    F.linear(torch.randn(2, 4), Square.apply(model.weight), model.bias).sum().backward()
    return model


@story
def own_function_in_place() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    y = x * 2
    z = AddInPlace.apply(y)
    z.sum().backward()
    return x.grad, z is y, y._version


@story
def own_function_with_indices() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    values, indices = SortedWithIndices.apply(x * 2)
    values.sum().backward()
    return x.grad, indices.requires_grad, values


@story
def own_function_twice_differentiated() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    (first,) = torch.autograd.grad(Square.apply(x).sum(), x, create_graph=True)
    return first, torch.autograd.grad(first.sum(), x)


@story.raises("RuntimeError: element 0 of tensors does not require grad and does not")
def once_differentiable() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    (first,) = torch.autograd.grad(OnceDifferentiable.apply(x).sum(), x, create_graph=True)
    first.sum().backward()


@story
def own_function_of_which_one_output_is_used() -> Any:
    x, found = torch.randn(3, requires_grad=True), []
    yield
    for flag in (True, False):
        first, _ = TwoOutputs.apply(x, 2.0, flag)
        found.append(torch.autograd.grad(first.sum(), x))
    return found


@story
def straight_through() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    (StraightThrough.apply(x) * x).sum().backward()
    return x.grad


@story
def own_function_with_setup_context() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    SetupContext.apply(x).sum().backward()
    return x.grad, torch.func.grad(lambda x: SetupContext.apply(x).sum())(torch.randn(3))


@story
def own_function_without_gradient() -> Any:
    return Square.apply(torch.randn(3)), Square.apply(torch.randn(3)).grad_fn is None


test_as_in_a_real_run, test_of_what_was_made_before = story.tests()
