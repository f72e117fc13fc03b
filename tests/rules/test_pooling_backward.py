"""The gradients of poolings and resamplings: outputs as PyTorch's, costs by loops over windows."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare
from tests.rules.memory_formats import layouts

aten = torch.ops.aten
IMAGES = [*layouts(torch.randn(2, 3, 6, 8)), torch.randn(3, 6, 8)]
LAST = torch.randn(4, 6, 8, 3).permute(3, 0, 1, 2)
VOLUMES = [*layouts(torch.randn(2, 3, 4, 6, 8)), torch.randn(3, 4, 6, 8), LAST]


CASES = [(2, image) for image in IMAGES] + [(3, volume) for volume in VOLUMES]


@pytest.mark.parametrize(("dims", "x"), CASES)
def test_pooling(dims: int, x: Tensor) -> None:
    pool, gradient = f"max_pool{dims}d_with_indices", f"max_pool{dims}d_with_indices_backward"
    for kernel, stride, padding, dilation in ((2, [], 0, 1), (3, 2, 1, 1), (2, 1, 0, 2)):
        window: tuple[Any, ...] = (
            [kernel] * dims,
            [stride] * dims if stride else [],
            [padding] * dims,
        )
        options = (*window, [dilation] * dims, False)
        out, indices = getattr(aten, pool)(x, *options)
        for grad in (out, out.contiguous()):
            args = (grad, x, *options, indices)
            assert not compare(gradient, getattr(aten, gradient), (args, {}))
        if dilation == 1:
            out = getattr(aten, f"avg_pool{dims}d")(x, *window)
            mean = (out, x, *window, False, True, None)
            name = f"avg_pool{dims}d_backward"
            assert not compare(name, getattr(aten, name), (mean, {}))


@pytest.mark.parametrize(("dims", "x"), CASES)
def test_adaptive_pooling(dims: int, x: Tensor) -> None:
    for size in ([1] * dims, [2, 3, 4][:dims]):
        out, indices = getattr(aten, f"adaptive_max_pool{dims}d")(x, size)
        largest = getattr(aten, f"adaptive_max_pool{dims}d_backward")
        mean = getattr(aten, f"_adaptive_avg_pool{dims}d_backward")
        for grad in (out, out.contiguous()):
            assert not compare("max", largest, ((grad, x, indices), {}))
            assert not compare("mean", mean, ((grad, x), {}))
        assert not compare("dtype", mean, ((out.double(), x), {}))
        assert not compare("dims", mean, ((out[0], x), {}))


def test_fractional_pooling() -> None:
    for dims, x in ((2, IMAGES[1]), (3, VOLUMES[1])):
        size, kernel = [2, 3, 4][:dims], [2] * dims
        pool = getattr(aten, f"fractional_max_pool{dims}d")
        out, indices = pool(x, kernel, size, torch.rand(2, 3, dims))
        gradient = getattr(aten, f"fractional_max_pool{dims}d_backward")
        assert not compare("fractional", gradient, ((out, x, kernel, size, indices), {}))


# Costs --------------------------------------------------------------------------------------------


def shares(window: Any) -> int:
    """How many elements all windows of a row of elements hold."""
    return sum(len(elements) for elements in window)


def test_average_pooling_cost() -> None:
    # Windows of 3 at 0, 2, ... of padded rows; what lies in the padding takes no share.
    rows, columns = (
        [
            [at for at in range(start - 1, start + 2) if 0 <= at < size]
            for start in range(0, size, 2)
        ]
        for size in (5, 7)
    )
    x, grad = meta(2, 3, 5, 7), meta(2, 3, len(rows), len(columns))
    cost = cost_of(aten.avg_pool2d_backward, grad, x, [3, 3], [2, 2], [1, 1], False, True, None)
    assert cost.kinds == {"add": 6 * shares(rows) * shares(columns), "division": grad.numel()}
    assert (cost.bytes_read, cost.bytes_written) == (4 * grad.numel(), 4 * x.numel())


def test_adaptive_average_pooling_cost() -> None:
    rows = [range(2), range(1, 4), range(3, 5)]  # 5 elements to 3
    x, grad = meta(2, 3, 5, 4), meta(2, 3, 3, 1)
    cost = cost_of(aten._adaptive_avg_pool2d_backward, grad, x)
    assert cost.kinds == {"add": 6 * shares(rows) * 4, "division": grad.numel()}
    assert cost.bytes_read == 4 * grad.numel()


def test_max_pooling_cost() -> None:
    x, grad = meta(2, 3, 4, 6), meta(2, 3, 2, 3)
    indices = torch.zeros(2, 3, 2, 3, dtype=torch.int64)
    options = ([2, 2], [2, 2], [0, 0], [1, 1], False)
    cost = cost_of(aten.max_pool2d_with_indices_backward, grad, x, *options, indices)
    assert cost.kinds == {"add": grad.numel()}
    assert cost.bytes_read == (4 + 8) * grad.numel()
    assert cost_of(aten.adaptive_max_pool2d_backward, grad, x, indices) == cost


@pytest.mark.parametrize(
    ("name", "taps", "dims"),
    [
        ("upsample_nearest1d", 1, 1),
        ("_upsample_nearest_exact2d", 1, 2),
        ("upsample_linear1d", 2, 1),
        ("upsample_bilinear2d", 2, 2),
        ("upsample_trilinear3d", 2, 3),
        ("upsample_bicubic2d", 4, 2),
    ],
)
def test_resampling_cost(name: str, taps: int, dims: int) -> None:
    sizes, grown = [2, 3, *[3] * dims], [6] * dims
    grad = meta(2, 3, *grown)
    align = () if taps == 1 else (False,)
    cost = cost_of(getattr(aten, f"{name}_backward"), grad, grown, sizes, *align)
    products, sums = 0, 0
    for _output in range(grad.numel()):
        parts = 1  # of the gradient, split along one dimension after the other
        for _dim in range(dims):
            parts *= taps
            products += parts if taps > 1 else 0
        sums += parts
    assert cost.kinds == {"add": sums} | ({"multiply": products} if products else {})
    assert (cost.bytes_read, cost.bytes_written) == (4 * grad.numel(), 4 * 6 * 3**dims)


def test_antialiased_cost_is_that_of_the_forward() -> None:
    forward = cost_of(aten._upsample_bicubic2d_aa, meta(2, 3, 9, 8), [4, 5], False)
    backward = cost_of(
        aten._upsample_bicubic2d_aa_backward, meta(2, 3, 4, 5), [4, 5], [2, 3, 9, 8], False
    )
    assert backward.kinds == forward.kinds


# Sampling at given places -------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [2, 3])
def test_grid_sampler(dims: int) -> None:
    gradient = getattr(aten, f"grid_sampler_{dims}d_backward")
    for x in layouts(torch.randn(2, 3, *[4, 5, 6][:dims])):
        grid = torch.rand(2, *[3, 2, 4][:dims], dims)
        for mode, mask in itertools.product((0, 1), ([True, True], [False, True])):
            out = F.grid_sample(x, grid, ["bilinear", "nearest"][mode], align_corners=False)
            args = (out, x, grid, mode, 0, False, mask)
            assert not compare("grid", gradient, (args, {}))
        assert not compare("dtype", gradient, ((out, x, grid.double(), 0, 0, False, mask), {}))


def test_grid_sampler_cost() -> None:
    x, grid, grad = meta(1, 2, 4, 4), meta(1, 3, 3, 2), meta(1, 2, 3, 3)
    gradient = aten.grid_sampler_2d_backward
    both = cost_of(gradient, grad, x, grid, 0, 0, True, [True, True])
    # A point: two coordinates as forwards, and the weights of 4 corners; then an element of each of
    # 2 channels goes to 4 corners, and comes back as their share in the slope of 2 coordinates.
    coordinates = {"add": 2 * (2 + 2 + 1), "multiply": 2 * 2}
    corners = {"add": 2 * 4 * (1 + 2), "multiply": 4 + 2 * 4 * (1 + 1 + 2) + 2}
    assert both.kinds == {kind: 9 * (coordinates[kind] + corners[kind]) for kind in corners}
    of_grid = cost_of(gradient, grad, x, grid, 0, 0, True, [False, True])
    assert both.kinds["add"] - of_grid.kinds["add"] == 9 * 2 * 4
    nearest = cost_of(gradient, grad, x, grid, 1, 0, True, [True, True])
    assert nearest.bytes_read == 4 * (grad.numel() + grid.numel())
