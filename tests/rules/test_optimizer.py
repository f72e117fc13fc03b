"""Fused optimizers and gradient scaling: FLOPs as a loop over numbers that count, bytes by hand."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import nnprof
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare
from tests.rules.scalars import Number, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHAPES = ((2, 3), (4,))
ELEMENTS = 10
BYTES = 4 * ELEMENTS  # of one list


def like() -> list[Tensor]:
    return [meta(*shape) for shape in SHAPES]


def options(*names: str) -> Iterator[dict[str, bool]]:
    """Every way to switch these on and off."""
    for values in itertools.product((False, True), repeat=len(names)):
        yield dict(zip(names, values, strict=True))


def scaling(on: bool) -> dict[str, Tensor]:
    return {"grad_scale": meta(), "found_inf": meta()} if on else {}


def flops(update: Callable[..., None], **switches: bool) -> dict[str, int]:
    """Of one formula, done for each element."""
    tally = Tally()
    for _ in range(ELEMENTS):
        update(*tally.row(5), **switches)
    return tally.kinds


def prepared(grad: Number, param: Number, *, decay: bool, maximize: bool, scaled: bool) -> Number:
    if scaled:
        grad = grad / 3
    if maximize:
        grad = -grad
    return grad + 0.1 * param if decay else grad


def adam(
    param: Number, grad: Number, mean: Number, square: Number, most: Number,
    *, decoupled: bool, decay: bool, amsgrad: bool, maximize: bool, scaled: bool,
) -> None:  # fmt: skip
    grad = prepared(grad, param, decay=decay and not decoupled, maximize=maximize, scaled=scaled)
    if decay and decoupled:
        param = param - 0.001 * param
    mean = 0.9 * mean + 0.1 * grad
    square = 0.99 * square + 0.01 * grad * grad
    if amsgrad:
        square = most.choose(square)
    _ = param - 0.5 * mean / (square.sqrt() / 0.5 + 1e-8)


def sgd(
    param: Number, grad: Number, buffer: Number, *rest: Number,
    decay: bool, momentum: bool, nesterov: bool, first: bool, scaled: bool, maximize: bool,
) -> None:  # fmt: skip
    grad = prepared(grad, param, decay=decay, maximize=False, scaled=scaled)
    if momentum:
        buffer = grad if first else 0.9 * buffer + 0.1 * grad
        grad = grad + 0.9 * buffer if nesterov else buffer
    _ = param + 0.1 * grad if maximize else param - 0.1 * grad


def adagrad(
    param: Number, grad: Number, total: Number, *rest: Number,
    decay: bool, maximize: bool, scaled: bool,
) -> None:  # fmt: skip
    grad = prepared(grad, param, decay=decay, maximize=maximize, scaled=scaled)
    total = total + grad * grad
    _ = param - 0.1 * grad / (total.sqrt() + 1e-8)


@pytest.mark.parametrize("learning_rate", [0.1, meta()], ids=["number", "tensor"])
@pytest.mark.parametrize("decoupled", [False, True], ids=["adam", "adamw"])
def test_adam(decoupled: bool, learning_rate: Any) -> None:
    function = torch._fused_adamw_ if decoupled else torch._fused_adam_
    for on in options("decay", "amsgrad", "maximize", "scaled"):
        most = like() if on["amsgrad"] else []
        cost = cost_of(
            function, like(), like(), like(), like(), most, [meta(), meta()], lr=learning_rate,
            beta1=0.9, beta2=0.99, weight_decay=0.1 * on["decay"], eps=1e-8, amsgrad=on["amsgrad"],
            maximize=on["maximize"], **scaling(on["scaled"]),
        )  # fmt: skip
        assert cost.kinds == flops(adam, decoupled=decoupled, **on), on
        numbers = 2 + 2 * on["scaled"] + isinstance(learning_rate, Tensor)
        assert cost.bytes_read == (4 + on["amsgrad"]) * BYTES + 4 * numbers, on
        assert cost.bytes_written == (3 + on["amsgrad"] + on["scaled"]) * BYTES, on


@pytest.mark.parametrize("learning_rate", [0.1, meta()], ids=["number", "tensor"])
def test_sgd(learning_rate: Any) -> None:
    for on in options("decay", "momentum", "nesterov", "first", "maximize", "scaled"):
        buffers = like() if on["momentum"] else []
        cost = cost_of(
            torch._fused_sgd_, like(), like(), buffers, weight_decay=0.1 * on["decay"],
            momentum=0.9 * on["momentum"], lr=learning_rate, dampening=0.9,
            nesterov=on["nesterov"], maximize=on["maximize"], is_first_step=on["first"],
            **scaling(on["scaled"]),
        )  # fmt: skip
        assert cost.kinds == flops(sgd, **on), on
        read = 2 + (on["momentum"] and not on["first"])
        numbers = 2 * on["scaled"] + isinstance(learning_rate, Tensor)
        assert cost.bytes_read == read * BYTES + 4 * numbers, on
        assert cost.bytes_written == (1 + on["momentum"] + on["scaled"]) * BYTES, on


@pytest.mark.parametrize("learning_rate", [0.1, meta()], ids=["number", "tensor"])
def test_adagrad(learning_rate: Any) -> None:
    for on in options("decay", "maximize", "scaled"):
        cost = cost_of(
            torch.ops.aten._fused_adagrad_, like(), like(), like(), [meta(), meta()],
            lr=learning_rate, lr_decay=0.1, weight_decay=0.1 * on["decay"], eps=1e-8,
            maximize=on["maximize"], **scaling(on["scaled"]),
        )  # fmt: skip
        assert cost.kinds == flops(adagrad, **on), on
        numbers = 2 + 2 * on["scaled"] + isinstance(learning_rate, Tensor)
        assert cost.bytes_read == 3 * BYTES + 4 * numbers, on
        assert cost.bytes_written == (2 + on["scaled"]) * BYTES, on


def test_functional_variants_write_copies() -> None:
    settings: dict[str, Any] = {"weight_decay": 0.1, "momentum": 0.9, "lr": 0.1, "dampening": 0.0}
    settings |= {"nesterov": False, "maximize": False, "is_first_step": False}
    cost = cost_of(torch.ops.aten._fused_sgd, like(), like(), like(), **settings)
    assert (cost.bytes_read, cost.bytes_written) == (3 * BYTES, 3 * BYTES)


def test_gradients_are_unscaled() -> None:
    function = torch._amp_foreach_non_finite_check_and_unscale_
    cost = cost_of(function, like(), meta(1), meta(1))
    assert cost.kinds == {"multiply": ELEMENTS, "compare": ELEMENTS}
    assert (cost.bytes_read, cost.bytes_written) == (BYTES + 8, BYTES + 4)
    xs = [torch.ones(2, 3), torch.ones(4)]
    for found, scale in itertools.product((torch.zeros(1), torch.zeros(2)), repeat=2):
        assert not compare("unscale", function, ((xs, found, scale), {}))
    double = torch.zeros(1, dtype=torch.float64)
    assert not compare("unscale", function, ((xs, double, torch.ones(1)), {}))


@pytest.mark.parametrize("fused", [False, True])
def test_scaled_gradients_are_taken_as_finite(fused: bool) -> None:
    params = [nn.Parameter(torch.ones(100, 100))]
    params[0].grad = torch.ones_like(params[0])
    optimizer = torch.optim.SGD(params, foreach=not fused, fused=fused)
    scaler = torch.amp.GradScaler("cpu")
    with nnprof.trace() as running:
        scaler.scale(torch.ones(()))
        scaler.step(optimizer)
        scaler.update()
    profile = running.profile()
    update = "aten::_fused_sgd_" if fused else "aten::_foreach_add_.List"
    assert profile.coverage.ruled[update] == 1
    assert profile.assumptions == ["gradients outside any module are taken as finite"]


def test_scale_is_updated() -> None:
    tracker = meta(1, dtype=torch.int32)
    cost = cost_of(torch._amp_update_scale_, meta(1), tracker, meta(1), 2.0, 0.5, 2000)
    assert cost.kinds == {"multiply": 1, "compare": 1, "int_ops": 1}
    assert (cost.bytes_read, cost.bytes_written) == (12, 8)
    with nnprof.trace():
        scale = torch.empty(1, device="meta")
        assert torch._amp_update_scale_(scale, tracker, meta(1), 2.0, 0.5, 2000) is scale


def test_lists_that_do_not_fit() -> None:
    x = [torch.ones(2, 3)]
    settings: dict[str, Any] = {"weight_decay": 0.1, "momentum": 0.0, "lr": 0.1, "dampening": 0.0}
    settings |= {"nesterov": False, "maximize": False, "is_first_step": False}
    with nnprof.trace(), pytest.raises(RuntimeError, match="the same number of tensors"):
        torch._fused_sgd_(like(), x, [], **settings)
    with nnprof.trace(), pytest.raises(RuntimeError, match="belongs to a parameter of size"):
        torch._fused_sgd_(x, [meta(3, 2)], [], **settings)


@pytest.mark.parametrize(
    ("optimizer", "op", "per_element"),
    [
        (torch.optim.Adam, "aten::_fused_adam_", 13),
        (torch.optim.AdamW, "aten::_fused_adamw_", 15),
        (torch.optim.SGD, "aten::_fused_sgd_", 2),
        (torch.optim.Adagrad, "aten::_fused_adagrad_", 7),
    ],
)
def test_real_optimizers(optimizer: Any, op: str, per_element: int) -> None:
    params = [nn.Parameter(torch.ones(10, 10)), nn.Parameter(torch.ones(30))]
    for param in params:
        param.grad = torch.ones_like(param)
    with nnprof.trace() as running:
        optimizer(params, fused=True).step()
    profile = running.profile()
    assert profile.coverage.ruled[op] == 1
    steps = 2 if op != "aten::_fused_sgd_" else 0  # each adds one to a number
    assert profile.flops == per_element * 130 + steps
    assert all(torch.equal(param, torch.ones_like(param)) for param in params)
