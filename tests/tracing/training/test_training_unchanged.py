"""A traced training step leaves model, gradients, optimizer and process as they were."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import nnprof
from nnprof.errors import GraphNotRecordedError
from tests.tracing.training.picture import picture


def make() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.0),
        nn.Linear(4 * 36, 50),  # larger than what is computed for real
    )


def image() -> Tensor:
    return torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)


def versions(model: nn.Module) -> list[Any]:
    tensors = [*model.parameters(), *model.buffers()]
    return [(t._version, t.grad._version if t.grad is not None else None) for t in tensors]


def real_gradients(model: nn.Module) -> list[list[float]]:
    """Of a real step, from where `make` left the model."""
    model.zero_grad()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    model(image()).square().sum().backward()
    return [p.grad.flatten().tolist() for p in model.parameters() if p.grad is not None]


Step = Callable[[nn.Sequential, torch.optim.Optimizer], None]


def backward_only(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    model(image()).sum().backward()


def whole_step(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=False)
    model(image()).sum().backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def two_steps(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    whole_step(model, optimizer)
    model(image()).sum().backward()
    optimizer.step()


def freezing(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    model[:4].requires_grad_(False)
    torch.rand(3)
    random.random()
    model(image()).sum().backward()


def hooking(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    weight = cast("nn.Parameter", model[5].weight)
    weight.register_hook(lambda grad: grad)
    weight.register_post_accumulate_grad_hook(lambda parameter: None)
    model(image()).sum().backward()


def raising(error: BaseException) -> Step:
    """In the middle of the backward pass."""

    def refuse(grad: Tensor) -> None:
        raise error

    def step(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
        hidden = model[:2](image())
        hidden.register_hook(refuse)
        model[2:](hidden).sum().backward()

    return step


def raising_after_the_optimizer(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    whole_step(model, optimizer)
    raise ValueError("late")


STEPS: dict[str, Step] = {
    "backward": backward_only,
    "whole step": whole_step,
    "two steps": two_steps,
    "freezing": freezing,
    "hooking": hooking,
    "error in backward": raising(ValueError("half way")),
    "interrupt in backward": raising(KeyboardInterrupt()),
    "error after the optimizer": raising_after_the_optimizer,
}


def take_traced(step: Step, model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    try:
        with nnprof.trace(model, backward=True):
            step(model, optimizer)
    except (ValueError, KeyboardInterrupt):
        pass


def trained_before(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    model(image()).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("before", [False, True], ids=["fresh", "trained"])
@pytest.mark.parametrize("name", STEPS)
def test_nothing_changes(name: str, before: bool) -> None:
    model = make()
    optimizer = torch.optim.AdamW(model.parameters())
    if before:
        trained_before(model, optimizer)
    expected = picture(model, optimizer)
    for _ in range(2):
        take_traced(STEPS[name], model, optimizer)
        now = picture(model, optimizer)
        assert now.keys() == expected.keys()
        assert [key for key in now if now[key] != expected[key]] == []


@pytest.mark.parametrize("name", ["backward", "whole step"])
def test_versions_stay(name: str) -> None:
    model = make()
    optimizer = torch.optim.AdamW(model.parameters())
    trained_before(model, optimizer)
    expected = versions(model)
    take_traced(STEPS[name], model, optimizer)
    assert versions(model) == expected


@pytest.mark.parametrize("before", [False, True], ids=["fresh", "trained"])
@pytest.mark.parametrize("name", STEPS)
def test_a_real_step_works_afterwards(name: str, before: bool) -> None:
    expected = real_gradients(make())
    model = make()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    if before:
        trained_before(model, optimizer)
    take_traced(STEPS[name], model, optimizer)
    assert real_gradients(model) == expected
    optimizer.step()
    model(image()).sum().backward()


def test_the_learning_rate_stays() -> None:
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with nnprof.trace(model, backward=True):
        whole_step(model, optimizer)
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_a_graph_from_before_works_afterwards() -> None:
    expected, model = real_gradients(make()), make()
    loss = model(image()).square().sum()
    take_traced(backward_only, model, torch.optim.SGD(model.parameters(), lr=0.1))
    loss.backward()
    assert [p.grad.flatten().tolist() for p in model.parameters() if p.grad is not None] == expected


def test_a_graph_from_within_is_an_error_afterwards() -> None:
    model = make()
    with nnprof.trace(model, backward=True):
        loss = model(image()).sum()
    with pytest.raises(RuntimeError):
        loss.backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert real_gradients(model) == real_gradients(make())


def ask_for_gradients(loss: Tensor, of: list[nn.Parameter]) -> None:
    if of:
        torch.autograd.grad(loss, of)
    else:
        loss.backward()


@pytest.mark.parametrize("kind", ["backward", "grad"])
def test_without_a_graph_gradients_are_an_error(kind: str) -> None:
    model = make()
    of = list(model.parameters()) if kind == "grad" else []
    with nnprof.trace(model):
        loss = model(image()).sum()
        with pytest.raises(GraphNotRecordedError, match="backward=True"):
            ask_for_gradients(loss, of)
    assert real_gradients(model) == real_gradients(make())


def test_threads_trace_their_own_models() -> None:
    models, found = [make() for _ in range(3)], []

    def trace(model: nn.Module) -> None:
        for _ in range(3):
            with nnprof.trace(model, backward=True) as running:
                model(image()).sum().backward()
            found.append(running.profile().macs)

    threads = [threading.Thread(target=trace, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 9
    assert len(set(found)) == 1
    assert all(real_gradients(model) == real_gradients(make()) for model in models)


def test_another_thread_trains_really_meanwhile() -> None:
    expected, mine, other = real_gradients(make()), make(), make()
    found: list[bool] = []

    def train() -> None:
        found.extend(real_gradients(other) == expected for _ in range(10))

    thread = threading.Thread(target=train)
    thread.start()
    while thread.is_alive():
        take_traced(backward_only, mine, torch.optim.SGD(mine.parameters(), lr=0.1))
    thread.join()
    assert found == [True] * 10
    assert real_gradients(mine) == expected


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_that_are_cleared_come_back(to_none: bool) -> None:
    model = make()
    model(torch.ones(2, 3, 8, 8)).sum().backward()
    before = [p.grad for p in model.parameters()]
    values = [cast("Tensor", p.grad).clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with nnprof.trace(model, backward=True):
        optimizer.zero_grad(set_to_none=to_none)
        model(torch.ones(2, 3, 8, 8)).sum().backward()
    for parameter, gradient, value in zip(model.parameters(), before, values, strict=True):
        assert parameter.grad is gradient
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, value)


def test_a_gradient_may_be_assigned() -> None:
    model, x = make(), torch.ones(2, 3, 8, 8)
    parameters = list(model.parameters())
    with nnprof.trace(model, backward=True):
        found = torch.autograd.grad(model(x), parameters, torch.ones(model(x).shape))
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
            assert parameter.grad is gradient
        with pytest.raises(RuntimeError, match="different size"):
            parameters[0].grad = found[1]
    assert [p.grad for p in parameters] == [None] * len(parameters)
    assert "grad" not in vars(torch.Tensor)


def test_a_gradient_from_before_the_trace_starts_a_backward() -> None:
    model, x = make(), torch.ones(2, 3, 8, 8)
    gradient = torch.ones_like(model(x))
    with nnprof.trace(model, backward=True) as running:
        model(x).backward(gradient)
    assert running.profile().phase("backward").flops > 0


def test_a_graph_from_before_the_trace_is_as_before() -> None:
    x, weight = torch.randn(20, 60, requires_grad=True), torch.randn(60, 60, requires_grad=True)
    y = (x @ weight).relu() * 2
    with nnprof.trace(backward=True) as running:
        (y * 3).sum().backward(retain_graph=True)
        assert x.grad is not None
        assert x.grad.shape == x.shape
    assert running.profile().phase("backward").macs == 2 * 20 * 60 * 60
    assert x.grad is None
    y.sum().backward()  # type: ignore[unreachable]  # the trace's end takes x.grad away
    expected = 2 * ((x @ weight) > 0).float() @ weight.T
    assert torch.allclose(x.grad, expected)
