"""Layer, RMS and group normalization: outputs as PyTorch's, costs by hand on tiny shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

IMAGE = torch.randn(2, 6, 4, 5)
LAST = IMAGE.contiguous(memory_format=torch.channels_last)
INPUTS = [
    IMAGE,
    LAST,
    IMAGE.transpose(0, 1),
    IMAGE.transpose(1, 2),
    torch.randn(2, 6, 4, 10)[..., ::2],
    torch.randn(6, 4, 5).expand(2, 6, 4, 5),
]
ONES = torch.ones(5)


@pytest.mark.parametrize("x", INPUTS)
def test_layer_norm(x: Tensor) -> None:
    for shape, weight in (((5,), ONES), ((4, 5), torch.ones(4, 5)), ((5,), None)):
        args = (x, shape, weight, weight)
        assert not compare("layer_norm", torch.layer_norm, (args, {}))
        assert not compare("native", torch.native_layer_norm, ((*args, 1e-5), {}))


@pytest.mark.parametrize(
    "args",
    [
        (IMAGE, ()),
        (IMAGE, (4,)),
        (ONES, (4, 5)),
        (IMAGE, (5,), ONES[:4]),
        (IMAGE, (5,), ONES, torch.ones(1, 5)),
        (IMAGE[:0], (5,), ONES, ONES),
        (IMAGE.bfloat16(), (5,), ONES, ONES),
        (IMAGE.bfloat16(), (5,), ONES.bfloat16(), ONES),
        (IMAGE.bfloat16(), (5,), ONES.bfloat16()),
        (IMAGE.double(), (5,), ONES),
        (IMAGE.to(torch.complex64), (5,)),
    ],
)
def test_what_layer_norm_takes(args: tuple[Any, ...]) -> None:
    assert not compare("layer_norm", torch.layer_norm, (args, {}))
    full = (*args, *[None] * (4 - len(args)), 1e-5)
    assert not compare("native_layer_norm", torch.native_layer_norm, (full, {}))


@pytest.mark.filterwarnings("ignore:Mismatch dtype")
@pytest.mark.parametrize("x", INPUTS)
def test_rms_norm(x: Tensor) -> None:
    for weight in (None, ONES, ONES.bfloat16()):
        assert not compare("rms_norm", torch.rms_norm, ((x, (5,), weight), {}))
        assert not compare("rms_norm", torch.rms_norm, ((x.bfloat16(), (5,), weight), {}))
    assert not compare("fused", torch.ops.aten._fused_rms_norm, ((x, x.shape[-2:], None, None), {}))
    assert not compare(
        "fused", torch.ops.aten._fused_rms_norm, ((x.bfloat16(), (5,), None, 1e-5), {})
    )
    for shape in ((), (4,), (1, 2, 6, 4, 5)):
        assert not compare("bad", torch.rms_norm, ((x, shape), {}))
    assert not compare("bad", torch.rms_norm, ((x, (5,), ONES[:4]), {}))


@pytest.mark.parametrize("x", [*INPUTS, torch.randn(4, 6), torch.randn(2, 4, 6).transpose(1, 2)])
def test_group_norm(x: Tensor) -> None:
    for groups in (1, 2, 6, 4, 0, -1):
        weight = torch.ones(x.shape[1])
        assert not compare("group_norm", torch.group_norm, ((x, groups, weight, weight), {}))
        assert not compare("group_norm", torch.group_norm, ((x.bfloat16(), groups, weight), {}))
        positions = x[0, 0].numel()
        native = (x, weight, None, x.shape[0], x.shape[1], positions, groups, 1e-5)
        assert not compare("native", torch.native_group_norm, (native, {}))
    assert not compare("bad", torch.group_norm, ((x, 1, torch.ones(5)), {}))
    assert not compare("bad", torch.group_norm, ((ONES, 1), {}))


# Costs: rows of 4 elements, 24 in all -------------------------------------------------------------


def test_layer_norm_cost() -> None:
    cost = cost_of(F.layer_norm, meta(2, 3, 4), (4,), meta(4), meta(4))
    # Each element: summed; less the mean, squared, summed; less the mean, times the deviation,
    # times weight, plus bias. Each of 6 rows: two divisions, eps, a root.
    assert cost.kinds == {"add": 5 * 24 + 6, "multiply": 3 * 24, "division": 12, "sqrt": 6}
    assert (cost.bytes_read, cost.bytes_written) == (4 * (24 + 8), 4 * 24)
    plain = cost_of(F.layer_norm, meta(2, 3, 4), (4,))
    assert plain.kinds == {"add": 4 * 24 + 6, "multiply": 2 * 24, "division": 12, "sqrt": 6}
    native = cost_of(torch.native_layer_norm, meta(2, 3, 4), (4,), None, None, 1e-5)
    assert native.bytes_written == 4 * (24 + 6 + 6)


def test_rms_norm_cost() -> None:
    cost = cost_of(F.rms_norm, meta(2, 3, 4), (4,), meta(4))
    # Each element: squared, summed, times the deviation, times weight.
    assert cost.kinds == {"add": 24 + 6, "multiply": 3 * 24, "division": 6, "sqrt": 6}
    assert (cost.bytes_read, cost.bytes_written) == (4 * (24 + 4), 4 * 24)


def test_group_norm_cost() -> None:
    cost = cost_of(F.group_norm, meta(2, 4, 3), 2, meta(4), meta(4))
    # Each element: summed; less the mean, squared, summed; scaled and shifted. Each of the 8
    # channels of a sample: its scale and shift. Each of the 4 groups of a sample: as a row above.
    assert cost.kinds == {
        "add": 4 * 24 + 8 + 4,
        "multiply": 2 * 24 + 2 * 8,
        "division": 2 * 4,
        "sqrt": 4,
    }
    assert (cost.bytes_read, cost.bytes_written) == (4 * (24 + 8), 4 * 24)
    turned = cost_of(F.group_norm, meta(2, 3, 4).transpose(1, 2), 2)
    assert turned.bytes_written == 4 * 24 * 2  # made contiguous first
    last = meta(2, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    assert cost_of(F.group_norm, last, 2).bytes_written == 4 * 72
