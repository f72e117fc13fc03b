"""Indexing: outputs as PyTorch's; only what the indices name is read or written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

import nnprof
from tests.rules.costs import CallCost, cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

x = torch.randn(4, 5, 6)
rows = torch.tensor([3, 0, 0])
columns = torch.tensor([[1], [4]])
mask = torch.tensor([True, False, True, True])
long = torch.int64

READS: dict[str, Callable[[Tensor], Any]] = {
    "rows": lambda x: x[rows],
    "rows of int32": lambda x: x[rows.int()],
    "a list": lambda x: x[[0, 2]],
    "columns": lambda x: x[:, columns],
    "broadcast": lambda x: x[rows, columns],
    "with a gap": lambda x: x[rows, :, columns],
    "with a new dimension": lambda x: x[:, None, rows, 1],
    "too many": lambda x: x[rows, rows, rows, rows],
    "unlike": lambda x: x[rows, mask.long()],
    "by floats": lambda x: x[rows.float()],
    "out of bounds": lambda x: x[:, rows + 3],
    "index_select": lambda x: x.index_select(1, rows),
    "index_select by a matrix": lambda x: x.index_select(1, columns),
    "index_select out of bounds": lambda x: x.index_select(0, rows + 1),
    "gather": lambda x: x.gather(1, torch.zeros(2, 7, 3, dtype=long)),
    "gather too large": lambda x: x.gather(1, torch.zeros(5, 1, 1, dtype=long)),
    "take": lambda x: x.take(columns),
    "take out of bounds": lambda x: x.take(columns + 120),
    "take_along_dim": lambda x: x.take_along_dim(columns[None], 1),
    "masked_fill": lambda x: x.masked_fill(mask[:, None, None], -1),
    "masked_fill that broadcasts": lambda x: x[0, 0].masked_fill(mask[:, None], 0.5),
    "masked_fill by a tensor": lambda x: x.masked_fill(mask.view(4, 1, 1), torch.tensor(2)),
    "masked_fill by integers": lambda x: x.masked_fill(mask.long().view(4, 1, 1), 1),
    "masked_fill by complex": lambda x: x.masked_fill(mask.view(4, 1, 1), 1j),
    "masked_scatter": lambda x: x.masked_scatter(mask.view(4, 1, 1), x),
    "nonzero_static": lambda x: mask.nonzero_static(size=2),
    "put": lambda x: torch.index_put(x, (rows,), x[0]),
    "put that adds": lambda x: torch.index_put(x, (rows, columns), x[0, 0], accumulate=True),
    "put unlike": lambda x: torch.index_put(x, (rows,), x[:2]),
    "put in place": lambda x: x.clone().index_put_((None, rows), x[:, :3]),
    "set": lambda x: x.clone().__setitem__((slice(None), rows), 0.0),
}


@pytest.mark.parametrize("layout", ["dense", "transposed", "part"])
def test_reads_and_writes(layout: str) -> None:
    like = {"dense": x, "transposed": x.transpose(0, 2)[:4], "part": x[:, :, ::2]}[layout]
    found = [m for name, read in READS.items() for m in compare(name, read, ((like,), {}))]
    assert not found, "\n".join(map(str, found))


def test_unknown_masks_count_as_all_true() -> None:
    values, repeats = meta(4, 3), meta(2, dtype=long)
    unknown = values > 0
    with nnprof.trace() as running:
        assert values[unknown].shape == (12,)
        assert values[unknown[:, 0]].shape == (4, 3)
        assert torch.masked_select(values, unknown[:, :1]).shape == (12,)
        assert unknown.nonzero().shape == (12, 2)
        assert torch.repeat_interleave(repeats, output_size=9).shape == (9,)
    assert any("all true" in guess for guess in running.profile().assumptions)


def cost(kinds: dict[str, int], read: int, written: int) -> CallCost:
    return CallCost(0, kinds, read, written, 0)


def test_only_what_is_gathered_is_read() -> None:
    table, two = meta(100, 3), meta(2, dtype=long)
    assert cost_of(lambda t, i: t[i], table, two) == cost({}, 2 * 12 + 16, 2 * 12)
    assert cost_of(torch.index_select, table, 0, two) == cost({}, 2 * 12 + 16, 2 * 12)
    # More indices than rows: every row once.
    assert cost_of(lambda t, i: t[i], meta(2, 3), meta(9, dtype=long)) == cost({}, 24 + 72, 108)
    index = meta(5, 2, dtype=long)
    assert cost_of(torch.gather, table, 0, index) == cost({}, 40 + 80, 40)
    assert cost_of(torch.take, table, two) == cost({}, 8 + 16, 8)


def test_only_what_is_put_is_written() -> None:
    table, two, values = meta(100, 3), meta(2, dtype=long), meta(2, 3)

    def put(table: Tensor, index: Tensor, values: Tensor, add: bool) -> None:
        table.index_put_((index,), values, accumulate=add)

    assert cost_of(put, table, two, values, False) == cost({}, 16 + 24, 24)
    assert cost_of(put, table, two, values, True) == cost({"add": 6}, 16 + 24 + 24, 24)
    # Elsewhere the table is copied.
    copied = cost_of(torch.index_put, table, (two,), values)
    assert copied == cost({}, 1200 + 16 + 24, 1200)


def test_masks() -> None:
    values, unknown = meta(4, 3), meta(4, 3, dtype=torch.bool)
    filled = cost_of(torch.masked_fill, values, unknown, 0.0)
    assert filled == cost({"compare": 12}, 48 + 12, 48)
    in_place = cost_of(lambda v, m: v.masked_fill_(m, 0.0), values, unknown)
    assert in_place == cost({"compare": 12}, 12, 48)
    assert cost_of(torch.nonzero, meta(4, 3)) == cost({"compare": 12}, 48, 12 * 2 * 8)


def test_many_indices_are_not_recorded() -> None:
    """Equal calls are one signature; the routing of experts would make all of them differ."""
    table = meta(5000, 3)
    few, many = torch.arange(10), torch.arange(5000)
    indices = few, few + 1, many, 4999 - many
    with torch.no_grad(), nnprof.trace() as running:
        for index in indices:
            table[index]
    indexed = [op == "aten::index.Tensor" for op in running.profile().ops["op"]]
    first, second, third, fourth = running.profile().ops["signature"][indexed]
    assert third == fourth
    assert first != second


OUTSIDE = torch.tensor([[7]])
OUT_OF_BOUNDS: dict[str, Callable[[Tensor], Any]] = {
    "gather": lambda x: x.gather(0, OUTSIDE),
    "gather from the end": lambda x: x.gather(0, OUTSIDE - 8),
    "scatter": lambda x: x.scatter(0, OUTSIDE, 1.0),
    "scatter_add": lambda x: x.scatter_add(0, OUTSIDE, torch.ones(1, 1)),
    "take": lambda x: x.take(OUTSIDE),
    "index": lambda x: x[OUTSIDE],
    "index_select": lambda x: x.index_select(0, OUTSIDE[0]),
    "index_add": lambda x: x.index_add(0, OUTSIDE[0], torch.ones(1, 2)),
}


@pytest.mark.parametrize("name", OUT_OF_BOUNDS)
def test_known_indices_that_are_out_of_bounds(name: str) -> None:
    call = OUT_OF_BOUNDS[name]
    with pytest.raises((RuntimeError, IndexError)) as really:
        call(torch.ones(3, 2))
    x = meta(3, 2)  # of which nothing but the rule can tell
    with pytest.raises(type(really.value)), nnprof.trace():
        call(x)
