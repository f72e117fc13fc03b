"""Operators on quantized tensors: products by loops, rows that are looked up, what has no scale."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import nnprof
from tests.helpers import oracles
from tests.rules.costs import cost_of, macs
from tests.rules.differential import compare

quantized = torch.ops.quantized


def by_tensor(*shape: int) -> Tensor:
    return torch.quantize_per_tensor(torch.randn(shape), 0.1, 0, torch.qint8)


def test_products_of_quantized_matrices() -> None:
    a, b = by_tensor(3, 4), by_tensor(4, 5)
    assert macs(quantized.matmul, a, b, 0.1, 0) == oracles.linear((3, 4), (5, 4))


@pytest.mark.parametrize(("rows", "read"), [(100, 6), (4, 4)])
def test_rows_of_a_packed_table(rows: int, read: int) -> None:
    """Six look-ups of rows of eight bytes, a scale and an offset; not more rows than there are."""
    packed = quantized.embedding_bag_prepack(
        torch.quantize_per_channel(
            torch.randn(rows, 8), torch.ones(rows), torch.zeros(rows), 0, torch.quint8
        )
    )
    indices = torch.zeros(6, dtype=torch.int64)
    few, more = (
        cost_of(quantized.embedding_byte, packed, indices[:count]).bytes_read for count in (1, 6)
    )
    assert more - few == 5 * 8 + (read - 1) * 8


@pytest.mark.parametrize("name", ["q_per_channel_scales", "q_per_channel_zero_points"])
def test_one_scale_is_none_of_channels(name: str) -> None:
    operator = getattr(torch, name)
    assert not compare(name, operator, ((by_tensor(3, 4),), {}))
    with pytest.raises(RuntimeError), nnprof.trace():
        operator(by_tensor(3, 4))
