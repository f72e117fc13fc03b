"""Products in few bits: multiply-accumulates by loops, outputs as PyTorch's."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers import oracles
from tests.rules.costs import cost_of, macs, meta
from tests.rules.differential import compare, run_really

aten = torch.ops.aten
BITS8, PAIRS = torch.int8, torch.uint8


def test_products_count_the_unpacked_weight() -> None:
    """Of 8 rows, 64 inputs and 32 outputs, however the weight is packed."""
    x, scales = meta(8, 64, dtype=torch.bfloat16), meta(2, 32, 2, dtype=torch.bfloat16)
    expected = oracles.linear((8, 64), (32, 64))
    tiles, pairs = meta(4, 2, 32, 1, dtype=torch.int32), meta(32, 32, dtype=PAIRS)
    eights = meta(32, 64, dtype=BITS8)
    assert macs(aten._weight_int4pack_mm, x, tiles, 32, scales) == expected
    assert macs(aten._weight_int4pack_mm_for_cpu, x, pairs, 32, scales) == expected
    assert macs(aten._weight_int8pack_mm, x, eights, meta(32, dtype=torch.bfloat16)) == expected
    packed = meta(1152, dtype=PAIRS)
    assert macs(aten._dyn_quant_matmul_4bit, x.float(), packed, 64, 64, 32) == expected
    assert macs(torch._int_mm, meta(8, 64, dtype=BITS8), eights.t()) == expected


def test_four_bits_are_read_as_half_a_byte() -> None:
    x, scales = meta(1, 64, dtype=torch.bfloat16), meta(2, 32, 2, dtype=torch.bfloat16)
    cost = cost_of(aten._weight_int4pack_mm_for_cpu, x, meta(32, 32, dtype=PAIRS), 32, scales)
    assert cost.bytes_read == 64 * 2 + 32 * 64 // 2 + 2 * 32 * 2 * 2
    assert cost.kinds == {"add": 32 * 64, "multiply": 32 * 64}  # each weight scaled and moved


def eighths(*shape: int) -> Tensor:
    return meta(*shape, dtype=torch.float8_e4m3fn)


def groups(*ends: int) -> Tensor:
    return torch.tensor(ends, dtype=torch.int32)


def looped(rows: list[int], depth: int, columns: int) -> int:
    """Each group's rows times its own matrix."""
    return sum(oracles.matmul((size, depth), (depth, columns)) for size in rows)


def test_scaled_products() -> None:
    one = meta()
    a, b = eighths(16, 32), eighths(48, 32).t()
    expected = oracles.matmul((16, 32), (32, 48))
    assert macs(torch._scaled_mm, a, b, one, one, out_dtype=torch.bfloat16) == expected
    v2: tuple[Any, ...] = (a, b, [one], [0], [0], [one], [0], [0], None, torch.bfloat16)
    assert macs(aten._scaled_mm_v2, *v2) == expected
    grouped = eighths(3, 48, 32).mT
    moe = a, grouped, meta(16), meta(3, 48), groups(4, 4, 16)
    assert macs(aten._scaled_grouped_mm, *moe) == looped([4, 0, 12], 32, 48)


GROUPED: dict[str, tuple[Tensor, Tensor, Tensor | None]] = {
    "rows": (torch.rand(16, 8), torch.rand(3, 8, 24), groups(4, 4, 16)),
    "columns": (torch.rand(3, 16, 8), torch.rand(8, 24), groups(8, 8, 24)),
    "depth": (torch.rand(16, 24), torch.rand(24, 8), groups(8, 16, 24)),
    "batch": (torch.rand(3, 16, 8), torch.rand(3, 8, 24), None),
}


@pytest.mark.parametrize("name", GROUPED)
def test_grouped(name: str) -> None:
    a, b, ends = GROUPED[name]
    for left, right in itertools.product((a, a.mT.contiguous().mT), (b, b.mT.contiguous().mT)):
        call = (left.bfloat16(), right.bfloat16()), {"offs": ends}
        assert not compare("_grouped_mm", torch._grouped_mm, call)


def test_grouped_by_loops() -> None:
    found = {
        name: macs(torch._grouped_mm, a.to("meta"), b.to("meta"), offs=ends)
        for name, (a, b, ends) in GROUPED.items()
    }
    assert found["rows"] == looped([4, 0, 12], 8, 24)
    assert found["columns"] == looped([8, 0, 16], 8, 16)  # as many columns as groups' rows
    assert found["depth"] == sum(oracles.matmul((16, d), (d, 8)) for d in (8, 8, 8))
    assert found["batch"] == oracles.matmul((3, 16, 8), (3, 8, 24))


def test_grouped_refuses_what_its_kernel_refuses() -> None:
    a, b, ends = GROUPED["rows"]
    for left, right in (
        (a[:, :1].expand(16, 8), b),  # a stride of 0
        (torch.rand(16, 9)[:, :8], b),  # rows that are not aligned to 16 bytes
        (a, torch.rand(3, 8, 48)[..., ::2]),  # no dimension is dense
        (a, b.double()),
        (a[0], b),
    ):
        assert not compare("_grouped_mm", torch._grouped_mm, ((left, right), {"offs": ends}))
        assert run_really(torch._grouped_mm, ((left, right), {"offs": ends})).error is not None


def test_simulated_quantization() -> None:
    x = torch.randn(3, 4).t()
    assert not compare("fake", torch.fake_quantize_per_tensor_affine, ((x, 0.1, 0, 0, 255), {}))
    bad = x, 0.1, 300, 0, 255
    assert not compare("fake", torch.fake_quantize_per_tensor_affine, (bad, {}))
    channels = torch.rand(3), torch.zeros(3, dtype=torch.int32)
    by_channel = torch.fake_quantize_per_channel_affine
    assert not compare("channels", by_channel, ((x, *channels, 1, 0, 255), {}))
    assert not compare("channels", by_channel, ((x, *channels, 0, 0, 255), {}))
    cost = cost_of(torch.fake_quantize_per_tensor_affine, meta(3, 4), 0.1, 0, 0, 255)
    # round(x / scale) + zero, into the range; (q - zero) * scale
    assert cost.kinds == {"add": 12 * 3, "multiply": 12 * 2, "compare": 12 * 4}
    assert (cost.bytes_read, cost.bytes_written) == (48, 48 + 12)
