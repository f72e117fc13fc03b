"""Matrix products: outputs as PyTorch's, costs by loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.helpers import oracles
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

A, B = torch.randn(3, 4), torch.randn(4, 5)
STACK_A, STACK_B = torch.randn(2, 3, 4), torch.randn(2, 4, 5)
ROW, COLUMN, SQUARE = torch.randn(4), torch.randn(5), torch.randn(3, 5)

CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    (torch.mm, (A, B), {}),
    (torch.mm, (B.T, A.T), {}),
    (torch.mm, (A, B.double()), {}),
    (torch.mm, (A, A), {}),
    (torch.mm, (A, ROW), {}),
    (torch.bmm, (STACK_A, STACK_B), {}),
    (torch.bmm, (STACK_A, STACK_A), {}),
    (torch.bmm, (STACK_A, STACK_B[:1]), {}),
    (torch.bmm, (STACK_A, STACK_B.double()), {}),
    (torch.addmm, (SQUARE, A, B), {"beta": 0.5, "alpha": 2}),
    (torch.addmm, (COLUMN, A, B), {}),
    (torch.addmm, (ROW, A, B), {}),
    (torch.addmm, (SQUARE.double(), A, B), {}),
    (torch._addmm_activation, (COLUMN, A, B), {"use_gelu": True}),
    (torch.baddbmm, (SQUARE, STACK_A, STACK_B), {}),
    (torch.baddbmm, (A, STACK_A, STACK_B), {}),
    (torch.addbmm, (SQUARE, STACK_A, STACK_B), {}),
    (torch.addbmm, (A, STACK_A, STACK_B), {}),
    (torch.mv, (A, ROW), {}),
    (torch.mv, (A, COLUMN), {}),
    (torch.mv, (A, ROW.double()), {}),
    (torch.addmv, (torch.randn(3), A, ROW), {}),
    (torch.addmv, (torch.randn(4), A, ROW), {}),
    (torch.dot, (ROW, ROW), {}),
    (torch.dot, (ROW, COLUMN), {}),
    (torch.dot, (A, A), {}),
    (torch.vdot, (ROW, ROW.double()), {}),
    (torch.outer, (ROW, COLUMN), {}),
    (torch.outer, (ROW, COLUMN.double()), {}),
    (torch.outer, (A, COLUMN), {}),
    (torch.ger, (ROW, COLUMN), {}),
    (torch.addr, (torch.randn(5, 4).T, ROW, COLUMN), {}),
    (torch.addr, (COLUMN, ROW, COLUMN.double()), {}),
    (torch.addr, (ROW, ROW, COLUMN), {}),
]


@pytest.mark.parametrize(("function", "args", "options"), CALLS)
def test_outputs(
    function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    assert not compare(function.__name__, function, (args, options))


def test_in_place_and_out() -> None:
    assert not compare("addmm_", torch.Tensor.addmm_, ((SQUARE, A, B), {}))
    assert not compare("addmm_", torch.Tensor.addmm_, ((COLUMN, A, B), {}))
    assert not compare("mm", torch.mm, ((A, B), {"out": torch.empty(3, 5)}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_grouped(dtype: torch.dtype) -> None:
    x, weights = torch.randn(16, 8).to(dtype), torch.randn(3, 24, 8).to(dtype).mT
    ends = torch.tensor([4, 10, 16], dtype=torch.int32)
    assert not compare("2d, 3d", torch._grouped_mm, ((x, weights, ends), {}))
    narrow = torch.randn(3, 5, 8).to(dtype).mT  # rows of the output are aligned
    assert not compare("aligned", torch._grouped_mm, ((x, narrow, ends), {}))
    stack = torch.randn(3, 16, 8).to(dtype)
    assert not compare("3d, 3d", torch._grouped_mm, ((stack, weights), {}))
    assert not compare("2d, 2d", torch._grouped_mm, ((weights[0].mT, x.mT, ends[:2] * 0 + 8), {}))
    assert not compare("no ends", torch._grouped_mm, ((x, weights), {}))


# Costs --------------------------------------------------------------------------------------------


def test_grouped_cost() -> None:
    ends = torch.tensor([4, 10, 16], dtype=torch.int32)
    cost = cost_of(torch._grouped_mm, meta(16, 8), meta(3, 24, 8).mT, ends)
    groups = [oracles.matmul((rows, 8), (8, 24)) for rows in (4, 6, 6)]
    assert cost.macs == sum(groups)


def test_sum_with_a_product() -> None:
    outputs = oracles.count(3, 5)
    product = oracles.matmul((3, 4), (4, 5))
    operands = oracles.count(3, 4) + oracles.count(4, 5)
    cost = cost_of(torch.addmm, meta(5), meta(3, 4), meta(4, 5))
    assert (cost.macs, cost.kinds) == (product, {"add": outputs})
    assert (cost.bytes_read, cost.bytes_written) == (4 * (5 + operands), 4 * outputs)
    scaled = cost_of(torch.addmm, meta(5), meta(3, 4), meta(4, 5), beta=0.5, alpha=2)
    assert scaled.kinds == {"add": outputs, "multiply": 2 * outputs}
    ignored = cost_of(torch.addmm, meta(5), meta(3, 4), meta(4, 5), beta=0)
    assert (ignored.kinds, ignored.bytes_read) == ({}, 4 * operands)


def test_activation_after_a_product() -> None:
    cost = cost_of(torch._addmm_activation, meta(5), meta(3, 4), meta(4, 5))
    assert cost.kinds == {"add": 15, "compare": 15}


def test_batches() -> None:
    stacks = meta(2, 3, 4), meta(2, 4, 5)
    product = oracles.matmul((2, 3, 4), (2, 4, 5))
    assert cost_of(torch.baddbmm, meta(3, 5), *stacks).kinds == {"add": 30}
    summed = cost_of(torch.addbmm, meta(3, 5), *stacks)
    assert (summed.macs, summed.kinds) == (product, {"add": 15})  # the input is added once
    expanded = cost_of(torch.bmm, meta(1, 3, 4).expand(2, 3, 4), stacks[1])
    assert expanded.bytes_read == 4 * (12 + 40)  # what has stride 0 is there once


def test_vectors() -> None:
    assert cost_of(torch.mv, meta(3, 4), meta(4)).macs == oracles.matmul((3, 4), (4,))
    assert cost_of(torch.dot, meta(4), meta(4)).macs == oracles.matmul((4,), (4,))
    added = cost_of(torch.addr, meta(3, 5), meta(3), meta(5))
    assert (added.macs, added.kinds) == (oracles.outer((3,), (5,)), {})
