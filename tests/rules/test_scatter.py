"""Scatters: outputs as PyTorch's; what is added is counted, and only what is hit is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from tests.rules.costs import CallCost, cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

x = torch.randn(4, 5)
index = torch.tensor([[0, 1, 2], [3, 0, 0]])
rows = torch.tensor([3, 0])
aten = torch.ops.aten

WRITES: dict[str, Callable[[Tensor], Any]] = {
    "scatter": lambda x: x.scatter(0, index, x),
    "scatter a number": lambda x: x.scatter(1, index, 0.5),
    "scatter and multiply": lambda x: x.scatter(0, index, x, reduce="multiply"),
    "scatter and add a number": lambda x: x.scatter(0, index, 2.0, reduce="add"),
    "scatter_add": lambda x: x.scatter_add(-1, index, x),
    "scatter_reduce": lambda x: x.scatter_reduce(0, index, x, "amax", include_self=False),
    "scatter another dtype": lambda x: x.scatter(0, index, x.double()),
    "scatter too much": lambda x: x.scatter(0, index, x[:1]),
    "scatter out of bounds": lambda x: x.scatter(0, index + 1, x),
    "index_add": lambda x: x.index_add(0, rows, x[:2], alpha=2),
    "index_add unlike": lambda x: x.index_add(0, rows, x),
    "index_add out of bounds": lambda x: x.index_add(0, rows + 1, x[:2]),
    "index_copy": lambda x: x.index_copy(1, rows, x[:, :2]),
    "index_reduce": lambda x: x.index_reduce(0, rows, x[:2], "mean"),
    "index_fill": lambda x: x.index_fill(1, rows, 0.5),
    "index_fill by a tensor": lambda x: x.index_fill(1, rows, torch.tensor(3)),
    "index_fill by int32": lambda x: x.index_fill(1, rows.int(), 0),
    "index_fill by complex": lambda x: x.index_fill(1, rows, 1j),
    "put": lambda x: x.put(rows, x[0, :2], accumulate=True),
    "put unlike": lambda x: x.put(rows, x[0]),
    "select_scatter": lambda x: x.select_scatter(x[0], 0, 2),
    "slice_scatter": lambda x: x.slice_scatter(x[:2], 0, 1, 3),
    "slice_scatter unlike": lambda x: x.slice_scatter(x[:1], 0, 1, 3),
    "diagonal_scatter": lambda x: x.diagonal_scatter(x[0, :4]),
    "as_strided_scatter": lambda x: x.as_strided_scatter(x[:2, :2], (2, 2), (1, 2)),
    "select_backward": lambda x: aten.select_backward(x, [4, 3, 5], 1, 2),
    "slice_backward": lambda x: aten.slice_backward(x, [9, 5], 0, 1, 5, 1),
    "diagonal_backward": lambda x: aten.diagonal_backward(x[0], [5, 6], 0, 0, 1),
    "unfold_backward": lambda x: aten.unfold_backward(x.unfold(1, 2, 1), [4, 5], 1, 2, 1),
    "index_add of no row": lambda x: x.index_add(0, rows[:0], x[:0]),
    "index_add of no column": lambda x: x.index_add(1, rows[:0], x[:, :0]),
    "index_add of no row unlike": lambda x: x.index_add(0, rows[:0], x[:0, :2]),
    "index_add of no row, dtype": lambda x: x.index_add(0, rows[:0], x[:0].double()),
    "index_reduce of no row": lambda x: x.index_reduce(0, rows[:0], x[:0], "amax"),
    "index_copy of no row": lambda x: x.index_copy(0, rows[:0], x[:0]),
    "in place": lambda x: x.clone().scatter_(0, index, x).index_add_(0, rows, x[:2]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", ["dense", "transposed", "part"])
def test_writes(layout: str) -> None:
    like = {"dense": x, "transposed": torch.randn(5, 4).t(), "part": torch.randn(4, 10)[:, ::2]}
    found = [
        m for name, write in WRITES.items() for m in compare(name, write, ((like[layout],), {}))
    ]
    assert not found, "\n".join(map(str, found))


def cost(kinds: dict[str, int], read: int, written: int) -> CallCost:
    return CallCost(0, kinds, read, written, 0)


def test_scatters() -> None:
    # 6 indices of 8 bytes; of a larger source only 6 elements go anywhere.
    into, where, source = meta(10, 3), meta(2, 3, dtype=torch.int64), meta(5, 3)
    for scatter, kinds, in_place_reads in (
        (lambda a, i, b: a.scatter_(0, i, b), {}, 0),
        (lambda a, i, b: a.scatter_add_(0, i, b), {"add": 6}, 24),
        (lambda a, i, b: a.scatter_reduce_(0, i, b, "prod"), {"multiply": 6}, 24),
        (lambda a, i, b: a.scatter_reduce_(0, i, b, "amax"), {"compare": 6}, 24),
        (lambda a, i, b: a.scatter_reduce_(0, i, b, "mean"), {"add": 6, "division": 30}, 24),
    ):
        assert cost_of(scatter, into, where, source) == cost(kinds, 48 + 24 + in_place_reads, 24)
    copied = cost_of(torch.scatter_add, into, 0, where, source)
    assert copied == cost({"add": 6}, 120 + 48 + 24, 120)
    assert cost_of(torch.scatter, into, 0, where, 1.0) == cost({}, 120 + 48, 120)


def test_rows() -> None:
    into, two, source = meta(10, 3), meta(2, dtype=torch.int64), meta(2, 3)
    added = cost_of(lambda a, i, b: a.index_add_(0, i, b), into, two, source)
    assert added == cost({"add": 6}, 16 + 24 + 24, 24)
    scaled = cost_of(lambda a, i, b: torch.index_add(a, 0, i, b, alpha=3), into, two, source)
    assert scaled == cost({"add": 6, "multiply": 6}, 120 + 16 + 24, 120)
    copied = cost_of(lambda a, i, b: a.index_copy_(0, i, b), into, two, source)
    assert copied == cost({}, 16 + 24, 24)
    assert cost_of(lambda a, i: a.index_fill_(1, i, 0.0), into, two) == cost({}, 16, 2 * 40)


def test_parts() -> None:
    into, row = meta(10, 3), meta(3)
    assert cost_of(torch.select_scatter, into, row, 0, 4) == cost({}, 9 * 12 + 12, 120)
    assert cost_of(aten.select_backward, row, [10, 3], 0, 4) == cost({}, 12, 120)
    windows = cost_of(aten.unfold_backward, meta(2, 3, 4), [2, 6], 1, 4, 1)
    assert windows == cost({"add": 24}, 96, 48)


def test_diagonals_and_masks() -> None:
    aten, x = torch.ops.aten, torch.randn(3, 2, 4)
    for offset, dims in ((0, (-2, -1)), (1, (0, 1)), (-2, (2, 0)), (0, (1, 1)), (0, (4, 0))):
        for rows in (x, x.transpose(0, 1), x.long(), x > 0):
            assert not compare("diag_embed", torch.diag_embed, ((rows, offset, *dims), {}))
    mask = x > 0
    for sizes in ([3, 2, 4], [30]):
        arguments = (x, mask, sizes)
        assert not compare("masked_scatter", aten.masked_scatter_backward, (arguments, {}))
    assert cost_of(torch.diag_embed, meta(3, 4)).bytes_written == 4 * 3 * 4 * 4
