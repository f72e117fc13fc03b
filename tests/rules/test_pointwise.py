"""Elementwise arithmetic: outputs as PyTorch's in any layout, costs as counted by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable


@st.composite
def layouts(draw: st.DrawFn, shape: tuple[int, ...]) -> Tensor:
    """A tensor of this shape: permuted, sliced out of a larger one, expanded or plain."""
    order = draw(st.permutations(range(len(shape))))
    base = [shape[dim] for dim in order]
    kind = draw(st.sampled_from(["plain", "plain", "sliced", "expanded"]))
    if kind == "sliced" and base:
        dim = draw(st.integers(0, len(base) - 1))
        larger = list(base)
        larger[dim] *= 2
        tensor = torch.ones(larger).narrow(dim, 0, base[dim])
    else:
        tensor = torch.ones(base)
    tensor = tensor.permute([order.index(dim) for dim in range(len(shape))])
    if kind == "expanded" and shape:
        return tensor.narrow(0, 0, 1).expand(shape)
    return tensor


@st.composite
def operands(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Two tensors that broadcast: the second one into the first, or the other way round."""
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=4)))
    kept = draw(st.integers(0, len(shape)))
    other = tuple(draw(st.sampled_from([size, size, 1])) for size in shape[kept:])
    pair = (draw(layouts(shape)), draw(layouts(other)))
    return pair if draw(st.booleans()) else pair[::-1]


@given(operands())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_layout(pair: tuple[Tensor, Tensor]) -> None:
    functions = (torch.mul, torch.lt, torch.maximum, torch.atan2, torch.logical_and)
    for function in functions:
        assert not compare(function.__name__, function, (pair, {}))
    x = pair[0]
    for unary in (torch.exp, torch.abs, torch.isnan, lambda x: x * 2.5, lambda x: 1 - x):
        assert not compare("unary", unary, ((x,), {}))
    condition = pair[1] > 0
    assert not compare("where", lambda c, x: torch.where(c > 0, x, 2.0), ((pair[1], x), {}))
    assert not compare("where", torch.where, ((condition, x, pair[1]), {}))


DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.complex64)


@pytest.mark.parametrize("left", DTYPES)
@pytest.mark.parametrize("right", DTYPES)
def test_dtypes_promote(left: torch.dtype, right: torch.dtype) -> None:
    x, y = torch.ones(2, 3, dtype=left), torch.ones(3, dtype=right)
    functions: tuple[Callable[..., Any], ...] = (
        torch.add, torch.sub, torch.div, torch.floor_divide, torch.pow, torch.maximum, torch.ge,
    )  # fmt: skip
    for function in functions:
        assert not compare(function.__name__, function, ((x, y), {}))
        assert not compare(function.__name__, function, ((x, y[0]), {}))  # a 0-dim tensor
    for number in (True, 2, 2.5, 2j):
        for function in functions[:5]:
            assert not compare(function.__name__, function, ((x, number), {}))


def test_what_pytorch_refuses() -> None:
    x, flags = torch.ones(2, 3), torch.ones(3, dtype=torch.bool)
    assert not compare("shapes", torch.mul, ((x, torch.ones(2)), {}))
    assert not compare("shapes", torch.add, ((x, torch.ones(2, 4)), {}))
    assert not compare("sub", torch.sub, ((x, flags), {}))
    assert not compare("neg", torch.neg, ((flags,), {}))
    assert not compare("clamp", torch.clamp, ((x,), {}))
    assert not compare("alpha", torch.add, ((x, x), {"alpha": 1j}))
    assert not compare("abs_", torch.abs_, ((x.to(torch.complex64),), {}))
    assert not compare("gcd", torch.gcd, ((x, x), {}))
    assert not compare("and", torch.bitwise_and, ((x, x), {}))
    assert not compare("add_", torch.Tensor.add_, ((torch.ones(3), x), {}))
    assert not compare("div_", torch.Tensor.div_, ((torch.ones(3, dtype=torch.int64), 2), {}))


X, Y = meta(2, 3), meta(2, 3)  # 6 elements
COMPLEX = meta(2, 3, dtype=torch.complex64)
COSTS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], dict[str, int]]] = [
    (torch.add, (X, Y), {}, {"add": 6}),
    (torch.add, (X, Y), {"alpha": 2}, {"add": 6, "multiply": 6}),
    (torch.add, (X, 1.5), {}, {"add": 6}),
    (torch.sub, (X, meta(3)), {}, {"add": 6}),
    (torch.rsub, (X, 2), {}, {"add": 6}),
    (torch.mul, (meta(4, 1, 3), X), {}, {"multiply": 24}),
    (torch.div, (X, Y), {}, {"division": 6}),
    (torch.div, (X, Y), {"rounding_mode": "floor"}, {"division": 6, "add": 6}),
    (torch.remainder, (X, 2), {}, {"division": 6}),
    (torch.neg, (X,), {}, {"add": 6}),
    (torch.reciprocal, (X,), {}, {"division": 6}),
    (torch.pow, (X, 2), {}, {"multiply": 6}),
    (torch.pow, (X, 3), {}, {"multiply": 12}),
    (torch.pow, (X, 0.5), {}, {"sqrt": 6}),
    (torch.pow, (X, -1), {}, {"division": 6}),
    (torch.pow, (X, 2.5), {}, {"exp": 6}),
    (torch.pow, (X, Y), {}, {"exp": 6}),
    (torch.pow, (2, X), {}, {"exp": 6}),
    (torch.sqrt, (X,), {}, {"sqrt": 6}),
    (torch.rsqrt, (X,), {}, {"sqrt": 6}),
    (torch.hypot, (X, Y), {}, {"multiply": 12, "add": 6, "sqrt": 6}),
    (torch.round, (X,), {}, {"add": 6}),
    (torch.maximum, (X, Y), {}, {"compare": 6}),
    (torch.clamp, (X,), {"min": 0}, {"compare": 6}),
    (torch.clamp, (X, 0, 1), {}, {"compare": 12}),
    (torch.lerp, (X, Y, 0.5), {}, {"add": 12, "multiply": 6}),
    (torch.addcmul, (X, X, Y), {}, {"add": 6, "multiply": 6}),
    (torch.addcmul, (X, X, Y), {"value": 0.5}, {"add": 6, "multiply": 12}),
    (torch.addcdiv, (X, X, Y), {"value": 0.5}, {"add": 6, "multiply": 6, "division": 6}),
    # Of complex numbers: an addition is 2, a multiplication 4 products and 2 sums.
    (torch.add, (COMPLEX, COMPLEX), {}, {"add": 12}),
    (torch.mul, (COMPLEX, COMPLEX), {}, {"multiply": 24, "add": 12}),
    (torch.abs, (COMPLEX,), {}, {"multiply": 12, "add": 6, "sqrt": 6}),
    # Of integers: no FLOPs.
    (torch.add, (torch.ones(6, dtype=torch.int64), 1), {}, {"int_ops": 6}),
    (torch.div, (torch.ones(6, dtype=torch.int64), 2), {}, {"division": 6}),
]


@pytest.mark.parametrize(("function", "args", "kwargs", "kinds"), COSTS)
def test_flops(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    kinds: dict[str, int],
) -> None:
    assert cost_of(function, *args, **kwargs).kinds == kinds


def test_bytes() -> None:
    x, row = meta(4, 3), meta(3)
    expected = {
        "two tensors": (lambda: torch.add(x, row), 48 + 12, 48),
        "one tensor twice": (lambda: torch.mul(x, x), 48, 48),
        "a number": (lambda: x * 2.0, 48, 48),
        "a row that stands for all": (lambda: torch.neg(row.expand(4, 3)), 12, 48),
        "a comparison": (lambda: x > row, 48 + 12, math.prod((4, 3))),
        "in place": (lambda: x.add_(row), 48 + 12, 48),
    }
    for name, (function, read, written) in expected.items():
        cost = cost_of(function)
        assert (cost.bytes_read, cost.bytes_written) == (read, written), name
