"""What a training step does with autograd is done alike in a trace: which leaves get a gradient,
of what shape, which hooks run in which order, which errors are raised."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import nullcontext
from inspect import isgeneratorfunction
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import nnprof
from tests import oracles

if TYPE_CHECKING:
    from collections.abc import Callable

# A story is a function that makes its own tensors and modules, takes a step, and tells what it saw:
# tensors stand for their shape, strides, dtype and whether they want a gradient.

STORIES: list[Any] = []
Log = list[Any]


def story(function: Callable[[], Any], bug: str = "") -> Callable[[], Any]:
    marks = [pytest.mark.xfail(strict=True, reason=bug)] if bug else []
    STORIES.append(pytest.param(function, id=function.__name__, marks=marks))
    return function


def buggy(reason: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    return lambda function: story(function, reason)


def seen(value: Any) -> Any:
    if isinstance(value, Tensor):
        strides = tuple(
            stride for size, stride in zip(value.shape, value.stride(), strict=True) if size > 1
        )
        return str(value.dtype), tuple(value.shape), strides, value.requires_grad
    if isinstance(value, dict):
        return {key: seen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [seen(item) for item in value]
    if isinstance(value, nn.Module):
        return {name: seen(parameter.grad) for name, parameter in value.named_parameters()}
    return value


def told(function: Callable[[], Any], trace: Any = None, made_before: bool = False) -> Any:
    torch.manual_seed(0)
    trace = trace or nullcontext()
    if made_before:
        steps = function()
        next(steps)
        with trace:
            return outcome(lambda: next(steps))
    with trace:
        return outcome(lambda: _in_one_go(function))


def _in_one_go(function: Callable[[], Any]) -> Any:
    result = function()
    if not isinstance(result, Generator):
        return result
    next(result)
    return next(result)


def outcome(function: Callable[[], Any]) -> Any:
    try:
        return seen(function())
    except StopIteration as end:
        return seen(end.value)
    except Exception as error:  # which one is part of the story
        kinds = [kind for kind in type(error).__mro__ if not kind.__module__.startswith("nnprof")]
        return f"raises {kinds[0].__name__}", str(error).split(".")[0].split(":")[0][:60]


def assert_as_in_a_real_run(function: Callable[[], Any], made_before: bool) -> None:
    expected = told(function)
    assert told(function, nnprof.trace(backward=True, target="cpu"), made_before) == expected


def log_of(log: Log, name: str, answer: Any = None) -> Callable[..., Any]:
    """A hook that notes what it was given."""

    def hook(*args: Any) -> Any:
        log.append((name, seen([arg for arg in args if not isinstance(arg, nn.Module)])))
        return answer

    return hook


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


# Which leaves get a gradient ----------------------------------------------------------------------


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


@story
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
    model, log = mlp(), []
    yield
    model[0].weight.register_post_accumulate_grad_hook(log_of(log, "accumulated"))
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
    embedding, head, log = nn.Embedding(7, 5), nn.Linear(5, 7, bias=False), []
    head.weight = embedding.weight
    yield
    embedding.weight.register_post_accumulate_grad_hook(log_of(log, "accumulated"))
    embedding.weight.register_hook(log_of(log, "gradient"))
    head(embedding(torch.tensor([[1, 2, 1]]))).sum().backward()
    return embedding, head.weight.grad is embedding.weight.grad, log


@story
def shared_module_called_twice() -> Any:
    layer, log = nn.Linear(4, 4), []
    yield
    layer.register_full_backward_hook(log_of(log, "module"))
    layer(layer(torch.randn(2, 4))).sum().backward()
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
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
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


@story
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


# Asking for gradients -----------------------------------------------------------------------------


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


@story
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


@story
def backward_without_scalar() -> Any:
    mlp()(torch.randn(2, 6)).backward()


@story
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


@story
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


# Hooks --------------------------------------------------------------------------------------------


@story
def hooks_in_order() -> Any:
    model, x, log = mlp(), torch.randn(2, 6, requires_grad=True), []
    yield
    for name, parameter in model.named_parameters():
        parameter.register_hook(log_of(log, f"gradient of {name}"))
        parameter.register_post_accumulate_grad_hook(log_of(log, f"accumulated {name}"))
    for name, module in model.named_children():
        module.register_full_backward_pre_hook(log_of(log, f"before {name}"))
        module.register_full_backward_hook(log_of(log, f"after {name}"))
    x.register_hook(log_of(log, "input"))
    model(x).sum().backward()
    return log, model, x.grad


@story
def hook_changes_the_gradient() -> Any:
    x, log = torch.randn(3, requires_grad=True), []
    yield
    y = x * 2
    y.register_hook(lambda grad: grad * 3)
    y.register_hook(log_of(log, "second"))
    x.register_hook(lambda grad: grad.double().float())
    y.sum().backward()
    return log, x.grad


@story
def hook_returns_another_shape() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    y = x * 2
    y.register_hook(lambda grad: grad.sum())
    y.sum().backward()


@story
def hooks_of_gradient_functions() -> Any:
    x, log = torch.randn(3, requires_grad=True), []
    yield
    y = (x * 2).exp()
    assert y.grad_fn is not None
    y.grad_fn.register_hook(log_of(log, "hook"))
    y.grad_fn.register_prehook(log_of(log, "prehook"))
    y.sum().backward()
    return log, type(y.grad_fn).__name__, [type(f).__name__ for f, _ in y.grad_fn.next_functions]


@story
def walk_to_the_leaf() -> Any:
    model = nn.Linear(3, 2)
    yield
    function = model(torch.randn(1, 3)).grad_fn
    variables = [getattr(f, "variable", None) for f, _ in function.next_functions if f]
    return type(function).__name__, [v is model.bias for v in variables], len(variables)


@story
def optimizer_in_the_backward() -> Any:
    model, log = mlp(), []
    yield
    for parameter in model.parameters():
        optimizer = torch.optim.SGD([parameter], lr=0.1)

        def step(p: Tensor, optimizer: Any = optimizer) -> None:
            log.append(seen(p.grad))
            optimizer.step()
            optimizer.zero_grad()

        parameter.register_post_accumulate_grad_hook(step)
    model(torch.randn(2, 6)).sum().backward()
    return model, log


@story
def multi_grad_hook() -> Any:
    a, b, log = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True), []
    yield
    torch.autograd.graph.register_multi_grad_hook([a, b], lambda grads: log.append(seen(grads)))
    (a * b).sum().backward()
    return log


@story
def removed_hook() -> Any:
    x, log = torch.randn(3, requires_grad=True), []
    yield
    x.register_hook(log_of(log, "hook")).remove()
    (x * 2).sum().backward()
    return log


@story
def anomaly_mode() -> Any:
    model = mlp()
    yield
    with torch.autograd.set_detect_anomaly(True, check_nan=False):
        model(torch.randn(2, 6)).sum().backward()
    return model


@story
def anomaly_mode_that_looks_for_nan() -> Any:
    model = mlp()
    yield
    with torch.autograd.set_detect_anomaly(True):
        model(torch.randn(2, 6)).sum().backward()
    return model


# Saved tensors ------------------------------------------------------------------------------------


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


@story
def saved_output_changed_in_place() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    y = x.exp()
    y.add_(1)
    y.sum().backward()


@story
def saved_input_changed_in_place() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    hidden = x * 2
    out = hidden.square()
    hidden.zero_()
    out.sum().backward()


@story
def saved_weight_changed_in_place() -> Any:
    model = mlp()
    yield
    out = model(torch.randn(2, 6))
    with torch.no_grad():
        model[2].weight.add_(1)
    out.sum().backward()


@story
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


@story
def saved_integers_changed_in_place() -> Any:
    x, index = torch.randn(3, requires_grad=True), torch.tensor([0, 2])
    yield
    out = x[index]
    index.add_(0)
    out.sum().backward()


@story
def optimizer_step_before_backward() -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(2, 6)
    yield
    model(x).sum().backward()
    loss = model(x).sum()
    optimizer.step()
    loss.backward()


# In place -----------------------------------------------------------------------------------------


@story
def leaf_changed_in_place() -> Any:
    torch.randn(3, requires_grad=True).add_(1)


@story
def view_of_leaf_changed_in_place() -> Any:
    torch.randn(3, requires_grad=True)[0].add_(1)


@story
def leaf_changed_in_place_without_grad() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    with torch.no_grad():
        x.add_(1)
    (x * 2).sum().backward()
    return x.grad, x._version


@story
def leaf_set_by_index() -> Any:
    x = torch.randn(3, requires_grad=True)
    x[0] = 1.0


@story
def inner_changed_in_place() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    y = x * 2
    y.add_(1).mul_(3)
    y.sum().backward()
    return x.grad, y, y._version


@story
def views_changed_in_place() -> Any:
    x, base = torch.randn(3, requires_grad=True), torch.zeros(4, 3)
    base[1] = x
    yield
    base[2:].add_(x)
    base.sum().backward()
    return x.grad, base, type(base.grad_fn).__name__


@story
def view_made_before_the_write() -> Any:
    x, base = torch.randn(3, requires_grad=True), torch.zeros(4, 3)
    yield
    row = base[1]
    base.mul_(x)
    row.sum().backward()
    return x.grad, row, type(row.grad_fn).__name__


@story
def output_of_split_changed_in_place() -> Any:
    x = torch.randn(4, requires_grad=True)
    yield
    first, _ = (x * 2).split(2)
    first.add_(1)
    first.sum().backward()


@buggy("views that were made without grad mode are not marked")
def chunk_under_no_grad_changed_in_place() -> Any:
    x = torch.randn(4, requires_grad=True)
    yield
    with torch.no_grad():
        view = x.view(2, 2)
    view.add_(1)


@story
def relu_in_place() -> Any:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    yield
    model(torch.randn(2, 4)).sum().backward()
    return model


@story
def masked_fill_and_masked_scatter() -> Any:
    x = torch.randn(2, 3, requires_grad=True)
    mask = torch.tensor([True, False, True])
    yield
    y = (x * 2).masked_fill_(mask, 0.0)
    y.sum().backward()
    return x.grad


@story
def out_argument() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    torch.add(x, 1, out=torch.empty(3))


@story
def requires_grad_of_inner_turned_off() -> Any:
    y = torch.randn(3, requires_grad=True) * 2
    y.requires_grad_(False)


@story
def detach_in_place() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    y = x * 2
    y.detach_()
    return y, y.is_leaf


# Checkpoints --------------------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoint_runs_again_once(reentrant: bool) -> None:
    model, head = mlp(), nn.Linear(3, 2)
    calls: Log = []

    def part(x: Tensor) -> Tensor:
        calls.append(torch.is_grad_enabled())
        out: Tensor = model(x)
        return out

    def step() -> Any:
        calls.clear()
        x = torch.randn(2, 6, requires_grad=True)
        head(checkpoint(part, x, use_reentrant=reentrant)).sum().backward()
        found = seen([model, head, x.grad]), list(calls)
        model.zero_grad()
        head.zero_grad()
        return found

    expected = step()
    with nnprof.trace(model, backward=True) as running:
        assert step() == expected
    ops = running.result.ops()
    again = ops["recomputed"] != 0
    # The other kind stops once it has all that the backward needs.
    last = 0 if reentrant else 2 * 4 * 3
    assert ops["macs"][again].sum() == 2 * (6 * 5 + 5 * 4 + 4 * 3) - last
    phases = {phase for phase, one in zip(ops["phase"], again, strict=True) if one}
    assert phases == {"backward"}
    assert running.profile().macs == oracles.flop_counter_macs(step)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_of_a_chain(reentrant: bool) -> None:
    model = nn.Sequential(*(mlp().append(nn.Linear(3, 6)) for _ in range(3)))

    def step() -> None:
        x = torch.randn(2, 6, requires_grad=True)
        for part in model:
            x = checkpoint(part, x, use_reentrant=reentrant)
        x.sum().backward()

    with nnprof.trace(model, backward=True) as running:
        step()
    ops = running.result.ops()
    last = 0 if reentrant else 3 * 2 * 3 * 6
    forward = running.profile().phase("forward").macs
    assert ops["macs"][ops["recomputed"] != 0].sum() == forward - last
    assert running.profile().macs == oracles.flop_counter_macs(step)


@story
def checkpoint_with_dropout() -> Any:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 4))
    x = torch.randn(2, 4, requires_grad=True)
    yield
    checkpoint(model, x, use_reentrant=False).sum().backward()
    return model, x.grad


@story
def checkpoint_that_recomputes_other_tensors() -> Any:
    calls = []
    yield

    def part(x: Tensor) -> Tensor:
        calls.append(1)
        return x.exp() if len(calls) == 1 else x.exp().exp()

    x = torch.randn(2, requires_grad=True)
    checkpoint(part, x, use_reentrant=False).sum().backward()


@story
def nested_checkpoints() -> Any:
    inner, outer = nn.Linear(4, 4), nn.Linear(4, 4)
    yield

    def part(x: Tensor) -> Any:
        return outer(checkpoint(inner, x, use_reentrant=False).relu())

    x = torch.randn(2, 4, requires_grad=True)
    checkpoint(part, x, use_reentrant=False).sum().backward()
    return inner, outer, x.grad


@story
def checkpoint_without_gradient() -> Any:
    model = nn.Linear(4, 4)
    yield
    with torch.no_grad():
        return checkpoint(model, torch.randn(2, 4), use_reentrant=False)


@story
def checkpoint_sequential() -> Any:
    model, x = mlp(), torch.randn(2, 6, requires_grad=True)
    yield
    out = torch.utils.checkpoint.checkpoint_sequential(model, 2, x, use_reentrant=False)
    out.sum().backward()
    return model, x.grad


@story
def selective_checkpoint() -> Any:
    from torch.utils.checkpoint import create_selective_checkpoint_contexts as contexts

    model, x = mlp(), torch.randn(2, 6, requires_grad=True)
    kept = [torch.ops.aten.addmm.default]
    out = checkpoint(model, x, use_reentrant=False, context_fn=lambda: contexts(kept))
    out.sum().backward()
    return model, x.grad


# Functions of the user's own ----------------------------------------------------------------------


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


@story
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


# Modules and losses -------------------------------------------------------------------------------


def trained(model: nn.Module, *inputs: Tensor, **kwargs: Any) -> Any:
    yield
    out = model(*inputs, **kwargs)
    out = out[0] if isinstance(out, tuple) else out
    out.square().mean().backward()
    return model, [x.grad for x in inputs]


MODULES: dict[str, Callable[[], Any]] = {
    "group norm": lambda: trained(nn.GroupNorm(2, 4), torch.randn(2, 4, 3, 3, requires_grad=True)),
    "batch norm": lambda: trained(nn.BatchNorm2d(4), torch.randn(2, 4, 3, 3, requires_grad=True)),
    "batch norm in eval": lambda: trained(
        nn.BatchNorm2d(4).eval(), torch.randn(2, 4, 3, 3, requires_grad=True)
    ),
    "instance norm": lambda: trained(
        nn.InstanceNorm2d(4, affine=True), torch.randn(2, 4, 3, 3, requires_grad=True)
    ),
    "layer norm": lambda: trained(nn.LayerNorm(4), torch.randn(2, 4, requires_grad=True)),
    "rms norm": lambda: trained(nn.RMSNorm(4), torch.randn(2, 4, requires_grad=True)),
    "weight norm": lambda: trained(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), torch.randn(2, 4)
    ),
    "spectral norm": lambda: trained(
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)), torch.randn(2, 4)
    ),
    "attention": lambda: trained(
        nn.MultiheadAttention(8, 2, batch_first=True),
        *[torch.randn(2, 5, 8, requires_grad=True)] * 3,
    ),
    "attention without weights": lambda: trained(
        nn.MultiheadAttention(8, 2),
        *[torch.randn(5, 2, 8, requires_grad=True)] * 3,
        need_weights=False,
    ),
    "transformer layer": lambda: trained(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.randn(2, 5, 8)
    ),
    "lstm": lambda: trained(nn.LSTM(4, 3, 2), torch.randn(5, 2, 4, requires_grad=True)),
    "gru": lambda: trained(
        nn.GRU(4, 3, bidirectional=True), torch.randn(5, 2, 4, requires_grad=True)
    ),
    "rnn": lambda: trained(nn.RNN(4, 3, batch_first=True), torch.randn(5, 2, 4)),
    "transposed convolution": lambda: trained(
        nn.ConvTranspose2d(3, 4, 3, stride=2), torch.randn(2, 3, 4, 4, requires_grad=True)
    ),
    "max pool": lambda: trained(nn.MaxPool2d(2), torch.randn(2, 3, 4, 4, requires_grad=True)),
    "average pool": lambda: trained(
        nn.AdaptiveAvgPool2d(2), torch.randn(2, 3, 5, 5, requires_grad=True)
    ),
    "upsample": lambda: trained(
        nn.Upsample(scale_factor=2, mode="bilinear"), torch.randn(2, 3, 4, 4, requires_grad=True)
    ),
    "prelu": lambda: trained(nn.PReLU(3), torch.randn(2, 3, 4, requires_grad=True)),
    "embedding with padding": lambda: trained(
        nn.Embedding(5, 4, padding_idx=0), torch.tensor([[0, 1, 2]])
    ),
    "embedding with a norm": lambda: trained(
        nn.Embedding(5, 4, max_norm=1.0), torch.tensor([[0, 1, 2]])
    ),
    "embedding bag": lambda: trained(nn.EmbeddingBag(5, 4), torch.tensor([[0, 1, 2]])),
}


@pytest.mark.parametrize("made_before", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_modules_train_as_in_a_real_run(name: str, made_before: bool) -> None:
    assert_as_in_a_real_run(MODULES[name], made_before)


def of_logits(loss: Callable[[Tensor], Tensor], *shape: int) -> Callable[[], Any]:
    def step() -> Any:
        logits = torch.randn(shape, requires_grad=True)
        yield
        value = loss(logits)
        value.backward()
        return value, logits.grad

    return step


CLASSES = torch.tensor([0, 2, 1, 2])

LOSSES: dict[str, Callable[[], Any]] = {
    "cross entropy": of_logits(lambda x: F.cross_entropy(x, CLASSES), 4, 3),
    "cross entropy, smoothed and weighted": of_logits(
        lambda x: F.cross_entropy(x, CLASSES, weight=torch.rand(3), label_smoothing=0.1), 4, 3
    ),
    "cross entropy of pixels": of_logits(
        lambda x: F.cross_entropy(x, torch.randint(0, 3, (2, 4, 4)), ignore_index=1), 2, 3, 4, 4
    ),
    "cross entropy of probabilities": of_logits(
        lambda x: F.cross_entropy(x, torch.rand(4, 3)), 4, 3
    ),
    "negative log likelihood": of_logits(lambda x: F.nll_loss(x.log_softmax(1), CLASSES), 4, 3),
    "mse": of_logits(lambda x: F.mse_loss(x, torch.randn(4, 3)), 4, 3),
    "l1": of_logits(lambda x: F.l1_loss(x, torch.randn(4, 3)), 4, 3),
    "smooth l1": of_logits(lambda x: F.smooth_l1_loss(x, torch.randn(4, 3)), 4, 3),
    "huber": of_logits(lambda x: F.huber_loss(x, torch.randn(4, 3)), 4, 3),
    "bce": of_logits(lambda x: F.binary_cross_entropy(x.sigmoid(), torch.rand(4, 3)), 4, 3),
    "bce with logits": of_logits(
        lambda x: F.binary_cross_entropy_with_logits(x, torch.rand(4, 3)), 4, 3
    ),
    "kl": of_logits(
        lambda x: F.kl_div(x.log_softmax(1), torch.rand(4, 3), reduction="batchmean"), 4, 3
    ),
    "ctc": of_logits(
        lambda x: F.ctc_loss(
            x.log_softmax(2),
            torch.randint(1, 5, (3, 4)),
            torch.full((3,), 8),
            torch.full((3,), 4),
        ),
        8,
        3,
        5,
    ),
    "hinge embedding": of_logits(lambda x: F.hinge_embedding_loss(x, torch.ones(4, 3)), 4, 3),
    "cosine embedding": of_logits(
        lambda x: F.cosine_embedding_loss(x, torch.randn(4, 3), torch.ones(4)), 4, 3
    ),
    "triplet margin": of_logits(
        lambda x: F.triplet_margin_loss(x, torch.randn(4, 3), torch.randn(4, 3)), 4, 3
    ),
    "multi margin": of_logits(lambda x: F.multi_margin_loss(x, CLASSES), 4, 3),
    "poisson": of_logits(lambda x: F.poisson_nll_loss(x, torch.rand(4, 3)), 4, 3),
    "contrastive": of_logits(
        lambda x: F.cross_entropy(F.normalize(x, dim=1) @ x.t() / 0.1, torch.arange(4)), 4, 3
    ),
    "logsumexp": of_logits(lambda x: x.logsumexp(1).mean(), 4, 3),
    "entropy": of_logits(
        lambda x: torch.distributions.Categorical(logits=x).entropy().mean(), 4, 3
    ),
    "reparametrised": of_logits(
        lambda x: torch.distributions.Normal(x, x.exp()).rsample().square().mean(), 4, 3
    ),
}


@pytest.mark.parametrize("made_before", [True, False])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_as_in_a_real_run(name: str, made_before: bool) -> None:
    assert_as_in_a_real_run(LOSSES[name], made_before)


INDEX = torch.tensor([[0, 1, 1], [1, 0, 1]])

INDEXING: dict[str, Callable[[Tensor], Tensor]] = {
    "gather": lambda x: x.gather(0, INDEX),
    "take_along_dim": lambda x: torch.take_along_dim(x, INDEX, 0),
    "scatter": lambda x: torch.zeros(2, 3).scatter(0, INDEX, x),
    "scatter_add": lambda x: torch.zeros(2, 3).scatter_add(0, INDEX, x),
    "scatter_reduce": lambda x: torch.zeros(2, 3).scatter_reduce(0, INDEX, x, "amax"),
    "index": lambda x: x[torch.tensor([0, 1, 1])],
    "index of two": lambda x: x[torch.tensor([0, 1]), torch.tensor([2, 2])],
    "index by mask": lambda x: x[torch.tensor([True, False])],
    "index_select": lambda x: x.index_select(1, torch.tensor([0, 0, 2])),
    "index_add": lambda x: torch.zeros(4, 3).index_add(0, torch.tensor([0, 3]), x),
    "index_put": lambda x: torch.zeros(4, 3).index_put((torch.tensor([0, 3]),), x),
    "index_put_": lambda x: torch.zeros(4, 3).index_put_((torch.tensor([0, 3]),), x),
    "index_copy": lambda x: torch.zeros(4, 3).index_copy(0, torch.tensor([0, 3]), x),
    "masked_fill": lambda x: x.masked_fill(torch.tensor([True, False, True]), 0.0),
    "where": lambda x: torch.where(torch.tensor([True, False, True]), x, 0.0),
    "topk": lambda x: x.topk(2)[0],
    "sort": lambda x: x.sort()[0],
    "max": lambda x: x.max(1)[0],
    "amax": lambda x: x.amax(1),
    "median": lambda x: x.median(1)[0],
    "cumsum": lambda x: x.cumsum(1),
    "cumprod": lambda x: x.cumprod(1),
    "repeat_interleave": lambda x: x.repeat_interleave(torch.tensor([1, 2]), 0),
    "flip and roll": lambda x: x.flip(0).roll(1, 1),
    "pad": lambda x: F.pad(x, (1, 1)),
    "unfold": lambda x: x.unfold(1, 2, 1),
    "stack and unbind": lambda x: torch.stack(x.unbind(0), 1),
    "clamp": lambda x: x.clamp(-1, 1),
    "round": lambda x: x.round() * x,
    "norm": lambda x: x.norm(),
    "std": lambda x: x.std(1),
    "svd": lambda x: torch.linalg.svdvals(x),
    "rfft": lambda x: torch.fft.rfft(x).abs(),
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
}


@pytest.mark.parametrize("made_before", [True, False])
@pytest.mark.parametrize("name", INDEXING)
def test_gradients_through_indices(name: str, made_before: bool) -> None:
    step = of_logits(lambda x: INDEXING[name](x).sum(), 2, 3)
    assert_as_in_a_real_run(step, made_before)


@story
def clip_grad_norm() -> Any:
    model = mlp()
    yield
    model(torch.randn(2, 6)).sum().backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return model, norm


@story
def clip_grad_value() -> Any:
    model = mlp()
    yield
    model(torch.randn(2, 6)).sum().backward()
    nn.utils.clip_grad_value_(model.parameters(), 1.0)
    return model


@story
def gradients_read_and_written_by_the_user() -> Any:
    model = mlp()
    yield
    model(torch.randn(2, 6)).sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.grad.mul_(0.5)
        parameter.grad = parameter.grad + 0.01 * parameter.detach()
    return model


@story
def plain_gradient_descent() -> Any:
    model = mlp()
    yield
    for _ in range(2):
        model(torch.randn(2, 6)).sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
                parameter.grad = None
    return [p._version for p in model.parameters()], model


# Autocast -----------------------------------------------------------------------------------------


@story
def autocast_step() -> Any:
    model, x, log = mlp(), torch.randn(2, 6), []
    yield
    for name, module in model.named_children():
        module.register_full_backward_hook(log_of(log, name))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(x)
        loss = F.cross_entropy(out, torch.tensor([0, 1]))
    loss.backward()
    return log, out, loss, model


@story
def autocast_convolution() -> Any:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    x, log = torch.randn(2, 3, 5, 5, requires_grad=True), []
    yield
    for name, module in model.named_children():
        module.register_full_backward_hook(log_of(log, name))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(x).sum()
    loss.backward()
    return log, loss, model, x.grad


@story
def autocast_casts_a_weight_once() -> Any:
    layer, log = nn.Linear(4, 4), []
    yield
    layer.weight.register_post_accumulate_grad_hook(log_of(log, "accumulated"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(layer(torch.randn(2, 4)))
    out.sum().backward()
    return layer, log


@story
def gradient_scaler() -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    yield
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(model(torch.randn(2, 6)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    return model


# All of them --------------------------------------------------------------------------------------

#: Those that make tensors before the trace.
STORIES_OF_REAL_LEAVES = [story for story in STORIES if isgeneratorfunction(story.values[0])]


@pytest.mark.parametrize("function", STORIES)
def test_as_in_a_real_run(function: Callable[[], Any]) -> None:
    assert_as_in_a_real_run(function, made_before=False)


@pytest.mark.parametrize("function", STORIES_OF_REAL_LEAVES)
def test_of_what_was_made_before(function: Callable[[], Any]) -> None:
    assert_as_in_a_real_run(function, made_before=True)
