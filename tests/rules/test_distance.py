"""Distances between rows: outputs as PyTorch's, costs by loops over pairs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers import oracles
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

A, B = torch.randn(2, 3, 4), torch.randn(5, 1, 6, 4)


@pytest.mark.parametrize(
    "args",
    [
        (A, B),
        (A.transpose(0, 1), A[0], 1.0),
        (torch.randn(30, 4), torch.randn(28, 4)),  # by way of a product
        (A[0, 0], A),
        (A, A[..., 1:]),
        (A, A, -1.0),
        (A, A.double()),
        (A, torch.randn(3, 3, 4)),
    ],
)
def test_cdist(args: tuple[Any, ...]) -> None:
    assert not compare("cdist", torch.cdist, (args, {}))


def test_lower_operators_and_pdist() -> None:
    forward = torch.ops.aten._cdist_forward
    assert not compare("_cdist_forward", forward, ((A, A, 1.0, None), {}))
    assert not compare("_euclidean_dist", torch._euclidean_dist, ((A, A), {}))
    for p in (0.0, 1.0, 2.0, 3.0, -1.0):
        assert not compare("pdist", torch.pdist, ((A[0], p), {}))
    assert not compare("pdist", torch.pdist, ((A,), {}))
    assert not compare("_pdist_forward", torch.ops.aten._pdist_forward, ((A[0].T, 2.0), {}))


@pytest.mark.parametrize(
    ("p", "kinds"),
    [
        (2.0, {"add": 3 * 5 * 4, "sqrt": 3 * 5}),
        (1.0, {"add": 3 * 5 * 4}),
        (3.0, {"add": 3 * 5 * 4, "exp": 3 * 5 * 4 + 3 * 5}),
    ],
)
def test_cost(p: float, kinds: dict[str, int]) -> None:
    cost = cost_of(torch.cdist, meta(3, 4), meta(5, 4), p)
    assert (cost.macs, cost.kinds) == (oracles.cdist((3, 4), (5, 4)), kinds)
    assert (cost.bytes_read, cost.bytes_written) == (4 * (12 + 20), 4 * 15)


def test_pdist_cost() -> None:
    pairs = sum(1 for i in range(5) for j in range(i))
    cost = cost_of(torch.pdist, meta(5, 4))
    assert (cost.macs, cost.kinds) == (4 * pairs, {"add": 4 * pairs, "sqrt": pairs})


# Gradients ----------------------------------------------------------------------------------------


def test_gradients() -> None:
    aten = torch.ops.aten
    arguments: tuple[Any, ...]
    for x1, x2 in ((A, B), (A, A[0]), (A[0, :1].t(), A[0, :2, :1]), (A[:0], A[:0])):
        for p in (0.0, 1.0, 2.0, 3.0):
            distances = aten._cdist_forward(x1, x2, p, None)
            # Real models come with what was broadcast already.
            if x1.dim() == distances.dim():
                arguments = (distances, x1, x2.expand(*distances.shape[:-2], -1, -1), p, distances)
                assert not compare("cdist", aten._cdist_backward, (arguments, {}))
    for rows in (A[0], A[0].t()):
        distances = torch.pdist(rows)
        arguments = (distances, rows, 2.0, distances)
        assert not compare("pdist", aten._pdist_backward, (arguments, {}))


@pytest.mark.parametrize(
    ("p", "kinds"),
    [
        (0.0, {}),
        (1.0, {"add": 60, "compare": 60}),
        (2.0, {"add": 60, "division": 15}),
        (3.0, {"add": 60, "compare": 60, "exp": 60 + 15, "division": 15}),
    ],
)
def test_gradient_cost(p: float, kinds: dict[str, int]) -> None:
    """3 x 5 pairs of rows of 4: the difference of each element again, weighed and summed up."""
    aten = torch.ops.aten
    distances = meta(3, 5), meta(3, 5)
    x1, x2 = meta(3, 4), meta(5, 4)
    cost = cost_of(aten._cdist_backward, distances[0], x1, x2, p, distances[1])
    assert (cost.macs, cost.kinds) == (oracles.cdist((3, 4), (5, 4)) if p else 0, kinds)
    assert cost.bytes_written == 4 * 12
    pairs = sum(1 for i in range(5) for j in range(i))
    cost = cost_of(aten._pdist_backward, meta(pairs), x2, 2.0, meta(pairs))
    assert cost.macs == pairs * 4
    assert cost.kinds == {"add": 2 * pairs * 4, "division": pairs}  # to both rows of a pair
