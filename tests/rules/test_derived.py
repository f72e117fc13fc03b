"""`out=` and in-place siblings of rules: what may be written to, and what is only written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

X = torch.ones(2, 3)
ROWS = torch.zeros(2, 3, dtype=torch.int64)
CALLS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (torch.add, (X, X)),
    (torch.cat, ([X[:1], X[:1]],)),
    (torch.bernoulli, (X,)),
    (torch.gather, (X, 0, ROWS)),
    (torch.index_select, (X, 0, ROWS[:, 0])),
    (torch.take, (X, ROWS)),
    (torch.scatter, (X, 0, ROWS, X)),
    (torch.addmm, (X, X[:, :2], X)),
    (torch.tril, (X,)),
]


def into(function: Callable[..., Any]) -> Callable[..., Any]:
    """``out`` first, so that it is an argument like any other."""
    return lambda out, *args: function(*args, out=out)


@pytest.mark.parametrize(("function", "args"), CALLS)
@pytest.mark.parametrize(
    "out",
    [
        torch.zeros(2, 3),
        torch.zeros(3, 2).t(),
        torch.zeros(0),
        torch.zeros(1).expand(2, 3),
        torch.zeros(2, 3, dtype=torch.float64),
    ],
    ids=["fits", "transposed", "empty", "overlapping", "float64"],
)
def test_out(function: Callable[..., Any], args: tuple[Any, ...], out: Tensor) -> None:
    assert not compare(str(function), into(function), ((out, *args), {}))


def test_overlapping_memory() -> None:
    row, mask = torch.ones(1).expand(4), torch.tensor([True, False, True, True])
    assert not compare("add_", torch.Tensor.add_, ((row, 1), {}))
    select = into(torch.masked_select)
    assert not compare("select", select, ((torch.ones(1).expand(6), X, X < 2), {}))
    for out in (row[:3], torch.ones(4)):
        assert not compare("select", select, ((out, out, mask[: out.numel()]), {}))
        assert not compare("cat", into(lambda *xs, out: torch.cat(xs, out=out)), ((out, out), {}))
    line = torch.ones(5)
    for a, b in ((line[1:], line[:-1]), (line, line), (line[:2], line[2:4])):
        assert not compare("add_", torch.Tensor.add_, ((a, b), {}))
        assert not compare("out", into(torch.mul), ((a, b, 2), {}))


@pytest.mark.filterwarnings("ignore:Use of .* on expanded tensors is deprecated:UserWarning")
def test_deprecated_writes_to_overlapping_memory() -> None:
    row, mask = torch.ones(1).expand(4), torch.tensor([True, False, True, True])
    assert not compare("masked_fill_", torch.Tensor.masked_fill_, ((row, mask, 0.0), {}))
    kept = (row, (mask,), torch.tensor(0.0))
    assert not compare("index_put_", torch.Tensor.index_put_, (kept, {}))


def test_out_is_not_read() -> None:
    x, out = meta(2, 3), meta(2, 3)
    cost = cost_of(torch.add, x, x, out=out)
    assert (cost.bytes_read, cost.bytes_written) == (24, 24)
    assert cost_of(torch.add, x, meta(2, 3), out=x).bytes_read == 48
    values, indices = meta(2), meta(2, dtype=torch.int64)
    cost = cost_of(torch.max, x, 1, out=(values, indices))
    assert (cost.bytes_read, cost.bytes_written) == (24, 2 * (4 + 8))
