"""Reductions: outputs as PyTorch's, costs those of loops over the elements."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare
from tests.rules.layouts import transposed_ones
from tests.rules.scalars import Tally, largest, total

if TYPE_CHECKING:
    from collections.abc import Callable

aten = torch.ops.aten

#: Every rule, along a dimension where it has one.
SAMPLES: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    *((f, ()) for f in (torch.sum, torch.mean, torch.prod, torch.nansum, torch.count_nonzero)),
    *((f, ()) for f in (torch.max, torch.min, torch.argmax, torch.argmin, torch.any, torch.all)),
    *((f, (d, k)) for f in (torch.sum, torch.mean, torch.amax) for d in (0, -1) for k in (0, 1)),
    *((f, (d, True)) for f in (torch.max, torch.min, torch.argmax, torch.prod) for d in (0, -1)),
    *((f, ((0, 1),)) for f in (torch.sum, torch.mean, torch.amin, torch.any, torch.all)),
    *((f, (0,)) for f in (torch.any, torch.all, torch.count_nonzero, torch.logsumexp)),
    *((f, ([],)) for f in (torch.sum, torch.mean, torch.amax, torch.any)),
    *((f, ()) for f in (torch.var, torch.std, torch.var_mean, torch.std_mean)),
    *((f, (1, False, True)) for f in (torch.var, torch.std, torch.var_mean, torch.std_mean)),
    *((f, (7,)) for f in (torch.sum, torch.max, torch.var, torch.logsumexp)),  # no such dimension
    *((torch.linalg.vector_norm, (p,)) for p in (0, 1, 2, 3, math.inf, -math.inf)),
    (torch.linalg.vector_norm, (2, (0, 1), True)),
    (aten.norm.Scalar, (3,)),
    (aten.norm.ScalarOpt_dim, (None, [0], True)),
    (torch._is_all_true, ()),
    (torch._is_any_true, ()),
    (torch.aminmax, ()),
    (torch.trace, ()),
    (torch.renorm, (2, 0, 1.0)),
]


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize("shape", [(3, 4), (), (0, 3), (2, 0), (4, 2, 3)])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.int32, torch.bool]
)
def test_outputs(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = transposed_ones(shape, dtype)
    for function, args in SAMPLES:
        assert not compare(str(function), function, ((x, *args), {}))


def test_two_tensors() -> None:
    for other in (torch.ones(4), torch.ones(3, 1), torch.ones(5)):
        assert not compare("dist", torch.dist, ((torch.ones(3, 4), other, 3), {}))
    out = (torch.empty(4), torch.empty(4).double())
    assert not compare("aminmax", torch.aminmax, ((torch.ones(3, 4),), {"dim": 0, "out": out}))


def test_simple_costs() -> None:
    x = meta(3, 4)
    tally = Tally()
    for row in tally.rows(3, 4):
        mean = total(row, row[0]) / 4
    del mean
    cost = cost_of(torch.mean, x, -1)
    assert cost.kinds == tally.kinds == {"add": 12, "division": 3}
    assert (cost.bytes_read, cost.bytes_written) == (48, 12)
    assert cost_of(torch.sum, x).kinds == {"add": 12}
    assert cost_of(torch.prod, x).kinds == {"multiply": 12}
    for function in (torch.amax, torch.max, torch.argmin, torch.any):
        assert cost_of(function, x).kinds == {"compare": 12}
    assert cost_of(torch.max, x, 0).bytes_written == 4 * (4 + 8)
    assert cost_of(torch.aminmax, x).kinds == {"compare": 24}
    assert cost_of(torch.count_nonzero, x).kinds == {"compare": 12, "int_ops": 12}
    ids = meta(3, 4, dtype=torch.int64)
    assert cost_of(torch.sum, ids).kinds == {"int_ops": 12}
    assert cost_of(torch.sum, x.expand(5, 3, 4)).bytes_read == 48


def test_diagonal() -> None:
    cost = cost_of(torch.trace, meta(3, 5))
    assert cost.kinds == {"add": 3}
    assert (cost.bytes_read, cost.bytes_written) == (12, 4)


def test_variances() -> None:
    tally = Tally()
    for row in tally.rows(3, 4):
        mean = total(row, row[0]) / 4
        squares = []
        for number in row:
            difference = number - mean
            squares.append(difference * difference)
        variance = total(squares, row[0]) / 3
        variance.sqrt()
    assert cost_of(torch.std, meta(3, 4), 1).kinds == tally.kinds
    both = cost_of(torch.std_mean, meta(3, 4), 1)
    assert both.kinds == tally.kinds
    assert both.bytes_written == 2 * 3 * 4
    del tally.tally["sqrt"]
    for args in ((1,), (1, False), (1, False, True)):
        assert cost_of(torch.var, meta(3, 4), *args).kinds == tally.kinds


def test_complex_variance_is_of_both_parts() -> None:
    real = cost_of(torch.var, meta(2, 3, 4), 2).kinds
    got = cost_of(torch.var, meta(3, 4, dtype=torch.complex64), 1).kinds
    assert got == real | {"add": real["add"] + 3}


def test_norms() -> None:
    x = meta(3, 4)

    def norm(p: float, x: torch.Tensor = x) -> dict[str, int]:
        return cost_of(torch.linalg.vector_norm, x, p, 1).kinds

    tally = Tally()
    for row in tally.rows(3, 4):
        total((number * number for number in row), row[0]).sqrt()
    assert norm(2) == tally.kinds == {"add": 12, "multiply": 12, "sqrt": 3}
    assert norm(1) == {"add": 24}
    assert norm(0) == {"add": 12, "compare": 12}
    assert norm(math.inf) == norm(-math.inf) == {"add": 12, "compare": 12}
    assert norm(3) == {"add": 24, "exp": 15}
    # |a + bi|^2 = a^2 + b^2: as twice as many real numbers.
    assert norm(2, x.to(torch.complex64)) == {"add": 24, "multiply": 24, "sqrt": 3}
    assert norm(1, x.to(torch.complex64)) == {"add": 24, "multiply": 24, "sqrt": 12}


def test_dist_and_renorm() -> None:
    # A difference, a square and a sum of 3 x 4 elements; then a root.
    assert cost_of(torch.dist, meta(3, 4), meta(4)).kinds == {"add": 24, "multiply": 12, "sqrt": 1}
    # The norm of each of 3 rows, epsilon and division and comparison each, and the scaling.
    expected = {"add": 12 + 3, "multiply": 24, "sqrt": 3, "division": 3, "compare": 3}
    assert cost_of(torch.renorm, meta(3, 4), 2, 0, 1.0).kinds == expected


def test_logsumexp() -> None:
    tally = Tally()
    for row in tally.rows(3, 4):
        top = largest(row, row[0])
        _ = total([(number - top).exp() for number in row], row[0]).log() + top
    assert cost_of(torch.logsumexp, meta(3, 4), 1).kinds == tally.kinds
