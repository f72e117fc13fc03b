"""Which hooks run in which order, and what they are given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.tracing.training.autograd.stories import Log, Stories, log_of, mlp, seen

story = Stories()


@story
def hooks_in_order() -> Any:
    model, x = mlp(), torch.randn(2, 6, requires_grad=True)
    log: Log = []
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
    x = torch.randn(3, requires_grad=True)
    log: Log = []
    yield
    y = x * 2
    y.register_hook(lambda grad: grad * 3)
    y.register_hook(log_of(log, "second"))
    x.register_hook(lambda grad: grad.double().float())
    y.sum().backward()
    return log, x.grad


@story.raises("RuntimeError: hook '<lambda>' has changed the size of")
def hook_returns_another_shape() -> Any:
    x = torch.randn(3, requires_grad=True)
    yield
    y = x * 2
    y.register_hook(lambda grad: grad.sum())
    y.sum().backward()


@story
def hooks_of_gradient_functions() -> Any:
    x = torch.randn(3, requires_grad=True)
    log: Log = []
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
    a, b = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    log: Log = []
    yield
    torch.autograd.graph.register_multi_grad_hook([a, b], lambda grads: log.append(seen(grads)))
    (a * b).sum().backward()
    return log


@story
def removed_hook() -> Any:
    x = torch.randn(3, requires_grad=True)
    log: Log = []
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


test_as_in_a_real_run, test_of_what_was_made_before = story.tests()
