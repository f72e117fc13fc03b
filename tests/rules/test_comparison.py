"""Comparisons, logic, bits and selects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

COMPARISONS = (torch.eq, torch.ge, torch.gt, torch.le, torch.lt, torch.ne)
LOGIC = (torch.logical_and, torch.logical_or, torch.logical_xor)
TESTS = (torch.isnan, torch.isinf, torch.signbit, torch.isposinf, torch.logical_not)
BITS = (torch.bitwise_and, torch.bitwise_or, torch.bitwise_xor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_outputs(dtype: torch.dtype) -> None:
    x = torch.ones(2, 3, dtype=dtype).t()
    for function in (*COMPARISONS, *LOGIC):
        assert not compare(function.__name__, function, ((x, torch.ones(2, dtype=dtype)), {}))
    for function in COMPARISONS:
        assert not compare(function.__name__, function, ((x, 1), {}))
        in_place = getattr(torch.Tensor, f"{function.__name__}_")
        assert not compare(function.__name__, in_place, ((x, 1), {}))
    for test in TESTS:
        assert not compare(test.__name__, test, ((x,), {}))
    for bits in BITS:
        assert not compare(bits.__name__, bits, ((x, x), {}))
        assert not compare(bits.__name__, bits, ((x, 1), {}))
    assert not compare("shift", lambda x: x << 1, ((x,), {}))
    assert not compare("not", torch.bitwise_not, ((x,), {}))


@pytest.mark.parametrize("dtypes", [(torch.float32, torch.float64), (torch.int64, torch.float32)])
def test_where_promotes(dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    condition = torch.ones(4, 1, 3, dtype=torch.bool)
    x, y = torch.ones(2, 3, dtype=dtypes[0]), torch.ones(2, 1, dtype=dtypes[1])
    assert not compare("where", torch.where, ((condition, x, y), {}))
    assert not compare("where", torch.where, ((condition, x, 1.5), {}))
    assert not compare("where", torch.where, ((condition, 0, y), {}))
    assert not compare("where", torch.where, ((x, x, y), {}))  # the condition is no mask


X = meta(2, 3)
FLAGS = torch.ones(2, 3, dtype=torch.bool)
COSTS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, int]]] = [
    (torch.lt, (X, X), {"compare": 6}),
    (torch.eq, (X, 1), {"compare": 6}),
    (torch.isnan, (X,), {"compare": 6}),
    (torch.where, (FLAGS, X, 0.0), {"compare": 6}),
    (torch.logical_and, (FLAGS, FLAGS), {"int_ops": 6}),
    (torch.bitwise_not, (FLAGS,), {"int_ops": 6}),
]


@pytest.mark.parametrize(("function", "args", "kinds"), COSTS)
def test_flops(function: Callable[..., Any], args: tuple[Any, ...], kinds: dict[str, int]) -> None:
    assert cost_of(function, *args).kinds == kinds


def test_bytes_of_a_select() -> None:
    cost = cost_of(torch.where, FLAGS, X, meta(2, 3))
    assert (cost.bytes_read, cost.bytes_written) == (6 + 24 + 24, 24)
