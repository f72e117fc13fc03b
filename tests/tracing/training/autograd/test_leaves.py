"""Which leaves get a gradient, and of what shape."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from tests.tracing.training.autograd.stories import Log, Stories, log_of, mlp, seen

story = Stories()


@story
def plain_step() -> Any:
    model = mlp()
    yield
    model(torch.randn(2, 6)).sum().backward()
    return model


@story
def input_wants_a_gradient() -> Any:
    model, x = mlp(), torch.randn(2, 6, requires_grad=True)
    yield
    model(x).sum().backward()
    return model, x.grad


@story
def frozen_layers() -> Any:
    model = mlp()
    yield
    model[0].requires_grad_(False)
    model[2].bias.requires_grad_(False)
    out = model(torch.randn(2, 6))
    out.sum().backward()
    return model, out


@story.raises("RuntimeError: element 0 of tensors does not require grad and does not")
def all_frozen() -> Any:
    model = mlp().requires_grad_(False)
    yield
    model(torch.randn(2, 6)).sum().backward()


@story
def frozen_during_the_step() -> Any:
    model = mlp()
    yield
    hidden = model[0](torch.randn(2, 6))
    model[0].requires_grad_(False)
    model[1:](hidden).sum().backward()
    return model


@story
def unused_layer() -> Any:
    model = mlp()
    yield
    model[2:](torch.randn(2, 5)).sum().backward()
    return model


@story
def two_steps_accumulate() -> Any:
    model = mlp()
    log: Log = []
    yield
    weight = cast("nn.Parameter", model[0].weight)
    weight.register_post_accumulate_grad_hook(log_of(log, "accumulated"))
    grads = []
    for _ in range(2):
        model(torch.randn(2, 6)).sum().backward()
        grads.append(model[0].weight.grad)
    return model, log, grads[0] is grads[1]


@story
def zero_grad_to_none() -> Any:
    model = mlp()
    yield
    model(torch.randn(2, 6)).sum().backward()
    model.zero_grad()
    before = seen(model)
    model(torch.randn(2, 6)).sum().backward()
    return before, model


@story
def zero_grad_in_place() -> Any:
    model = mlp()
    yield
    model(torch.randn(2, 6)).sum().backward()
    first = model[0].weight.grad
    model.zero_grad(set_to_none=False)
    model(torch.randn(2, 6)).sum().backward()
    return model, first is model[0].weight.grad


@story
def tied_embedding() -> Any:
    embedding, head = nn.Embedding(7, 5), nn.Linear(5, 7, bias=False)
    log: Log = []
    head.weight = embedding.weight
    yield
    embedding.weight.register_post_accumulate_grad_hook(log_of(log, "accumulated"))
    embedding.weight.register_hook(log_of(log, "gradient"))
    head(embedding(torch.tensor([[1, 2, 1]]))).sum().backward()
    return embedding, head.weight.grad is embedding.weight.grad, log


@story
def shared_module_called_twice() -> Any:
    layer = nn.Linear(4, 4)
    log: Log = []
    yield
    layer.register_full_backward_hook(log_of(log, "module"))
    layer(layer(torch.randn(2, 4, requires_grad=True))).sum().backward()
    return layer, log


@story
def leaves_outside_any_module() -> Any:
    a, b = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    scale = torch.tensor(2.0, requires_grad=True)
    yield
    loss = (a * b.exp() * scale).sum()
    loss.backward()
    return a.grad, b.grad, scale.grad, a.is_leaf, loss.is_leaf


@story
def leaf_made_shape_only() -> Any:
    x = (torch.randn(3) * 2).requires_grad_()
    yield
    detached = (torch.randn(4) * x.sum()).detach().requires_grad_()
    ((x * 2).sum() + (detached * 3).sum()).backward()
    return x.grad, detached.grad


@story
def retain_grad_of_inner() -> Any:
    model, x = mlp(), torch.randn(2, 6)
    yield
    hidden = model[0](x)
    hidden.retain_grad()
    model[1:](hidden).sum().backward()
    return hidden.grad, hidden.retains_grad, hidden.is_leaf


@story
def transposed_parameter() -> Any:
    weight = nn.Parameter(torch.randn(5, 3).t())
    yield
    (torch.randn(2, 3) @ weight).sum().backward()
    return weight.grad


@story
def channels_last_convolution() -> Any:
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(2, 3, 6, 6).to(memory_format=torch.channels_last).requires_grad_()
    yield
    model(x).square().sum().backward()
    return model, x.grad


@story
def complex_parameter() -> Any:
    weight = nn.Parameter(torch.randn(4, dtype=torch.complex64))
    x = torch.randn(3, 4, requires_grad=True)
    yield
    out = torch.fft.ifft(torch.fft.fft(x) * weight)
    out.abs().sum().backward()
    return weight.grad, x.grad


@story
def view_as_real_parameter() -> Any:
    weight = nn.Parameter(torch.randn(4, 2))
    x = torch.randn(3, 4, dtype=torch.complex64)
    yield
    torch.view_as_real(x * torch.view_as_complex(weight).conj()).sum().backward()
    return weight.grad


@story
def double_parameter_in_float_model() -> Any:
    scale = nn.Parameter(torch.ones(3, dtype=torch.float64))
    x = torch.randn(2, 3, requires_grad=True)
    yield
    (x * scale).sum().backward()
    return scale.grad, x.grad


@story
def scalar_times_vector() -> Any:
    scale = nn.Parameter(torch.tensor(1.0))
    yield
    (scale * torch.randn(4, 5)).sum().backward()
    return scale.grad


@story.raises("RuntimeError: Only Tensors of floating point and complex dtype can")
def gradient_of_integers() -> Any:
    return torch.ones(3, dtype=torch.int64, requires_grad=True)


@story
def no_grad_and_enable_grad() -> Any:
    model, x = mlp(), torch.randn(2, 6)
    yield
    with torch.no_grad():
        hidden = model[0](x)
        with torch.enable_grad():
            inner = model[0](x)
    out = model[2](hidden.relu())
    out.sum().backward()
    return hidden, inner, out, model


@story
def inference_mode() -> Any:
    model, x = mlp(), torch.randn(2, 6)
    yield
    with torch.inference_mode():
        out = model(x)
    model(x).sum().backward()
    return out, model


@story
def detach_shares_data() -> Any:
    model, x = mlp(), torch.randn(2, 6)
    yield
    hidden = model[0](x)
    loss = model[1:](hidden.detach()).sum() + hidden.sum()
    loss.backward()
    return model


@story
def loss_in_the_model_output() -> Any:
    model = mlp()
    yield
    out = model(torch.randn(2, 6))
    torch.autograd.backward([out, out.sum()], [torch.ones_like(out), None])
    return model


test_as_in_a_real_run, test_of_what_was_made_before = story.tests()
