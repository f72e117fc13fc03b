"""Embeddings: outputs as PyTorch's; only the rows that are looked up are read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

table = torch.randn(7, 3)
ids = torch.tensor([[0, 6, 2], [2, 2, 1]])


def test_lookup() -> None:
    for indices in (ids, ids.int(), ids[0], ids[0, 0], ids[:0], ids.float(), ids.bool(), ids + 7):
        assert not compare("embedding", F.embedding, ((indices, table), {}))
    assert not compare("embedding", F.embedding, ((ids, table.t()), {}))
    assert not compare("embedding", F.embedding, ((ids, table[0]), {}))
    assert not compare("embedding", F.embedding, ((ids, table), {"padding_idx": -1}))


def test_ids_of_a_wrong_type_are_named() -> None:
    with pytest.raises(RuntimeError, match="Long, Int"):
        cost_of(F.embedding, meta(2, 3), table)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags(mode: str) -> None:
    flat, offsets = ids.flatten(), torch.tensor([0, 2])
    weights = torch.randn(6) if mode == "sum" else None
    options: dict[str, Any] = {"mode": mode, "per_sample_weights": weights}
    assert not compare("bags", F.embedding_bag, ((flat, table, offsets), options))
    options = {"mode": mode, "include_last_offset": True}
    offsets = torch.tensor([0, 2, 6])
    assert not compare("bags", F.embedding_bag, ((flat, table, offsets), options))
    assert not compare("bags", F.embedding_bag, ((ids, table), {"mode": mode}))


def test_bytes() -> None:
    long = torch.int64
    # Four rows of three floats, and four indices.
    cost = cost_of(F.embedding, meta(2, 2, dtype=long), meta(1000, 3))
    assert (cost.bytes_read, cost.bytes_written) == (4 * 12 + 4 * 8, 4 * 12)
    # More indices than rows: every row once.
    cost = cost_of(F.embedding, meta(50, dtype=long), meta(7, 3))
    assert (cost.bytes_read, cost.bytes_written) == (7 * 12 + 50 * 8, 50 * 12)
    assert not cost.kinds


@pytest.mark.parametrize(
    ("mode", "kinds"),
    [("sum", {"add": 30}), ("mean", {"add": 30, "division": 6}), ("max", {"compare": 30})],
)
def test_bag_operations(mode: str, kinds: dict[str, int]) -> None:
    # Two bags of five indices each into a table of rows of three.
    indices, weight = meta(10, dtype=torch.int64), meta(100, 3)
    offsets = torch.tensor([0, 5])
    assert cost_of(F.embedding_bag, indices, weight, offsets, mode=mode).kinds == kinds


@pytest.mark.parametrize(("rows", "read"), [(100, 10), (7, 7)])
def test_bags_read_the_rows_that_they_look_up(rows: int, read: int) -> None:
    """Of 10 look-ups, each of another row while there are so many; indices and offsets besides."""
    indices, weight = meta(10, dtype=torch.int64), meta(rows, 3)
    cost = cost_of(F.embedding_bag, indices, weight, torch.tensor([0, 5]), mode="sum")
    assert cost.bytes_read == read * 3 * 4 + 10 * 8 + 2 * 8


def test_gradient() -> None:
    backward = torch.ops.aten.embedding_dense_backward
    assert not compare("backward", backward, ((torch.randn(2, 3, 3), ids, 7, -1, False), {}))
    cost = cost_of(backward, meta(2, 3, 5), meta(2, 3, dtype=torch.int64), 100, -1, False)
    assert cost.kinds == {"add": 30}
    assert (cost.bytes_read, cost.bytes_written) == (30 * 4 + 6 * 8, 100 * 5 * 4)


# Gradients ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_gradients_of_bags(mode: int) -> None:
    aten = torch.ops.aten
    flat, offsets = ids.flatten(), torch.tensor([0, 2])
    weights = torch.randn(6) if mode == 0 else None
    out, *kept = aten._embedding_bag(table, flat, offsets, False, mode, False, weights)
    for sparse in (False, True) if mode != 2 else (False,):
        arguments = (out, flat, offsets, *kept, 7, False, mode, sparse, weights)
        assert not compare("bags", aten._embedding_bag_backward, (arguments, {}))
    if mode == 0:
        arguments = (out, table, flat, offsets, kept[0], mode)
        name = aten._embedding_bag_per_sample_weights_backward
        assert not compare("weights", name, (arguments, {}))


def test_gradient_operations_of_bags() -> None:
    aten, long = torch.ops.aten, torch.int64
    # Ten indices in two bags, into a table of 100 rows of three.
    indices = [meta(10, dtype=long), meta(2, dtype=long), meta(10, dtype=long)]
    kept = (*indices, meta(2, dtype=long), meta(2, dtype=long))
    dense = cost_of(aten._embedding_bag_backward, meta(2, 3), *kept, 100, False, 1, False, None)
    assert dense.kinds == {"add": 10 * 3, "division": 2 * 3}
    assert dense.bytes_written == 4 * 300
    weights = meta(10)
    sparse = cost_of(aten._embedding_bag_backward, meta(2, 3), *kept, 100, False, 0, True, weights)
    assert sparse.kinds == {"multiply": 10 * 3}
    assert sparse.bytes_written == 10 * (3 * 4 + 8)
    samples = (meta(2, 3), meta(100, 3), *indices, 0)
    cost = cost_of(aten._embedding_bag_per_sample_weights_backward, *samples)
    assert (cost.macs, cost.bytes_written) == (10 * 3, 4 * 10)
    assert cost.bytes_read == 4 * (6 + 10 * 3) + 8 * (10 + 2 + 10)
