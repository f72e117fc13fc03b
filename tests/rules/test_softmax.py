"""Softmax and the cumulative functions: outputs as PyTorch's, costs those of loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare
from tests.rules.layouts import transposed_ones
from tests.rules.scalars import Tally, largest, total

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rules.scalars import Number

SOFTMAXES = (torch.softmax, torch.log_softmax, torch.special.softmax, torch.special.log_softmax)
CUMULATIVE = (torch.cumsum, torch.cumprod, torch.cummax, torch.cummin, torch.logcumsumexp)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
@pytest.mark.parametrize("shape", [(3, 4), (), (0, 3), (2, 4, 3)])
def test_outputs(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = transposed_ones(shape, dtype)
    for dim in (0, -1, 3):
        for function in SOFTMAXES:
            assert not compare("softmax", function, ((x, dim), {}))
            assert not compare("to double", function, ((x, dim), {"dtype": torch.float64}))
        assert not compare("safe", torch._safe_softmax, ((x, dim), {}))
        for function in (torch._softmax, torch._log_softmax):
            assert not compare("inner", function, ((x, dim, False), {}))
        for function in CUMULATIVE:
            if x.numel() != 0:
                assert not compare("cumulative", function, ((x, dim), {}))
    for backward in (torch._softmax_backward_data, torch._log_softmax_backward_data):
        assert not compare("backward", backward, ((x, x, 0, x.dtype), {}))
    assert not compare("bfloat16", torch.cumsum, ((x, 0), {"dtype": torch.bfloat16}))


def softmax(row: list[Number]) -> list[Number]:
    top = largest(row, row[0])
    powers = [(number - top).exp() for number in row]
    whole = total(powers, row[0])
    return [power / whole for power in powers]


def safe_softmax(row: list[Number]) -> list[Number]:
    result = softmax(row)
    masked = [number.choose("-inf") for number in row]
    all_masked = largest(masked, row[0])
    return [number.choose(all_masked) for number in result]


def log_softmax(row: list[Number]) -> list[Number]:
    top = largest(row, row[0])
    differences = [number - top for number in row]
    logarithm = total([number.exp() for number in differences], row[0]).log()
    return [number - logarithm for number in differences]


@pytest.mark.parametrize(
    ("loop", "functions"),
    [
        (softmax, (torch.softmax, torch.special.softmax, lambda x, d: torch._softmax(x, d, False))),
        (safe_softmax, (torch._safe_softmax,)),
        (log_softmax, (torch.log_softmax, lambda x, d: torch._log_softmax(x, d, False))),
    ],
)
def test_cost(
    loop: Callable[[list[Number]], list[Number]], functions: tuple[Callable[..., Any], ...]
) -> None:
    tally = Tally()
    for row in tally.rows(3, 4):
        loop(row)
    for function in functions:
        cost = cost_of(function, meta(3, 4), -1)
        assert cost.kinds == tally.kinds
        assert (cost.bytes_read, cost.bytes_written) == (48, 48)
        across = cost_of(function, meta(4, 3), 0)
        assert across.kinds == tally.kinds


def test_softmax_reads_one_dtype_and_writes_another() -> None:
    cost = cost_of(torch.softmax, meta(3, 4, dtype=torch.float16), -1, dtype=torch.float32)
    assert (cost.bytes_read, cost.bytes_written) == (24, 48)


def test_gradients() -> None:
    x = meta(3, 4)
    tally = Tally()
    for y in tally.rows(3, 4):
        inner = total([number * "g" for number in y], y[0])
        for number in y:
            _ = (number - inner) * "y"
    cost = cost_of(torch._softmax_backward_data, x, meta(3, 4), -1, x.dtype)
    assert cost.kinds == tally.kinds
    assert (cost.bytes_read, cost.bytes_written) == (96, 48)
    tally = Tally()
    for g in tally.rows(3, 4):
        inner = total(g, g[0])
        for number in g:
            _ = number - number.exp() * inner
    cost = cost_of(torch._log_softmax_backward_data, x, meta(3, 4), -1, x.dtype)
    assert cost.kinds == tally.kinds


def test_cumulative_costs() -> None:
    x = meta(3, 4)
    assert cost_of(torch.cumsum, x, 0).kinds == {"add": 12}
    assert cost_of(torch.cumprod, x, 0).kinds == {"multiply": 12}
    assert cost_of(torch.cumsum, meta(3, 4, dtype=torch.int64), 0).kinds == {"int_ops": 12}
    cost = cost_of(torch.cummax, x, 1)
    assert cost.kinds == {"compare": 12}
    assert cost.bytes_written == 12 * (4 + 8)
    tally = Tally()
    for number in tally.row(12):
        high, low = number.choose("max"), number.choose("min")
        _ = high + (low - high).exp().log1p()
    assert cost_of(torch.logcumsumexp, x, 1).kinds == tally.kinds
