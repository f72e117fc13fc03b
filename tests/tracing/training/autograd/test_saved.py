"""What is done with tensors that the backward needs, and with changing them."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from tests.tracing.training.autograd.stories import Log, Stories, mlp

story = Stories()


@story
def hooks_on_saved_tensors() -> Any:
    log: Log = []
    yield

    def pack(tensor: Tensor) -> Any:
        log.append(("pack", tuple(tensor.shape)))
        return (tensor,)

    def unpack(packed: Any) -> Tensor:
        tensor: Tensor = packed[0]
        log.append(("unpack", tuple(tensor.shape)))
        return tensor

    model = mlp()
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        loss = model(torch.randn(2, 6)).sum()
    loss.backward()
    return log, model


@story
def saved_tensors_halved() -> Any:
    model = mlp()
    yield
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.half(), lambda t: t.float()):
        loss = model(torch.randn(2, 6)).sum()
    loss.backward()
    return model


@story
def save_on_cpu() -> Any:
    model = mlp()
    yield
    with torch.autograd.graph.save_on_cpu():
        loss = model(torch.randn(2, 6)).sum()
    loss.backward()
    return model


@story
def saved_tensor_is_visible() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    y = x.exp()
    assert y.grad_fn is not None
    return y.grad_fn._saved_result, y.grad_fn._saved_result is y  # type: ignore[attr-defined]


@story.raises("RuntimeError: one of the variables needed for gradient computation has")
def saved_output_changed_in_place() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    y = x.exp()
    y.add_(1)
    y.sum().backward()


@story.raises("RuntimeError: one of the variables needed for gradient computation has")
def saved_input_changed_in_place() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    hidden = x * 2
    out = hidden.square()
    hidden.zero_()
    out.sum().backward()


@story.raises("RuntimeError: one of the variables needed for gradient computation has")
def saved_weight_changed_in_place() -> Any:
    model = mlp()
    yield
    out = model(torch.randn(2, 6))
    with torch.no_grad():
        cast("Tensor", model[2].weight).add_(1)
    out.sum().backward()


@story.raises("RuntimeError: one of the variables needed for gradient computation has")
def saved_constant_changed_in_place() -> Any:
    x, factor = torch.randn(3, requires_grad=True), torch.randn(3)
    yield
    out = x * factor
    factor.add_(1)
    out.sum().backward()


@story
def constant_changed_through_data() -> Any:
    x, factor = torch.randn(3, requires_grad=True), torch.randn(3)
    yield
    out = x * factor
    factor.data.add_(1)
    out.sum().backward()
    return x.grad


@story
def unsaved_input_changed_in_place() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    hidden = x * 2
    out = hidden + 1
    hidden.zero_()
    out.sum().backward()
    return x.grad


@story.raises("RuntimeError: one of the variables needed for gradient computation has")
def saved_integers_changed_in_place() -> Any:
    x, index = torch.randn(3, requires_grad=True), torch.tensor([0, 2])
    yield
    out = x[index]
    index.add_(0)
    out.sum().backward()


@story.raises("RuntimeError: one of the variables needed for gradient computation has")
def optimizer_step_before_backward() -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(2, 6)
    yield
    model(x).sum().backward()
    loss = model(x).sum()
    optimizer.step()
    loss.backward()


test_as_in_a_real_run, test_of_what_was_made_before = story.tests()
