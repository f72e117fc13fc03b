"""Resampling and moving between channels and space: outputs as PyTorch's, costs by hand."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

MODES = {
    1: ["nearest", "nearest-exact", "linear"],
    2: ["nearest", "nearest-exact", "bilinear", "bicubic"],
    3: ["nearest", "nearest-exact", "trilinear"],
}
ALL_MODES = [(dims, mode) for dims, modes in MODES.items() for mode in modes]


def images(dims: int) -> list[Tensor]:
    x = torch.randn(2, 4, *(6, 8, 5)[:dims])
    if dims == 1:
        return [x]
    last = torch.channels_last if dims == 2 else torch.channels_last_3d
    return [x, x.to(memory_format=last), x.bfloat16()]


@pytest.mark.parametrize(("dims", "mode"), ALL_MODES)
def test_interpolation(dims: int, mode: str) -> None:
    for x in images(dims):
        sizes: list[dict[str, Any]] = [{"size": 9}, {"scale_factor": 2}, {"scale_factor": 0.4}]
        if mode.endswith(("linear", "cubic")):
            sizes.append({"size": 9, "align_corners": True})
        for options in sizes:
            assert not compare(mode, F.interpolate, ((x,), {"mode": mode, **options}))
        bad = {"mode": mode, "size": 0}
        assert not compare(mode, F.interpolate, ((x,), bad))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialiased(mode: str) -> None:
    for x in images(2)[:2]:
        for size in ((3, 4), (9, 9)):
            options = {"mode": mode, "size": size, "antialias": True}
            assert not compare(mode, F.interpolate, ((x,), options))


#: Multiplications and additions of one output: each interpolation between n neighbours has n and
#: n - 1, and bilinear ones are 2 along the rows and 1 between them, and so on.
PER_OUTPUT = {
    "nearest": {},
    "nearest-exact": {},
    "linear": {"multiply": 2, "add": 1},
    "bilinear": {"multiply": 6, "add": 3},
    "trilinear": {"multiply": 14, "add": 7},
    "bicubic": {"multiply": 20, "add": 15},
}


@pytest.mark.parametrize(("dims", "mode"), ALL_MODES)
def test_interpolation_costs(dims: int, mode: str) -> None:
    x = meta(2, 4, *(6, 8, 5)[:dims])
    cost = cost_of(F.interpolate, x, scale_factor=2, mode=mode)
    outputs = x.numel() * 2**dims
    assert cost.kinds == {kind: count * outputs for kind, count in PER_OUTPUT[mode].items()}
    assert cost.bytes_read == 4 * x.numel()
    assert cost.bytes_written == 4 * outputs


def test_shrinking_reads_no_more_than_it_needs() -> None:
    x = meta(1, 1, 100, 100)
    for mode, read in (("nearest", 10 * 10), ("bilinear", 20 * 20), ("bicubic", 40 * 40)):
        assert cost_of(F.interpolate, x, size=10, mode=mode).bytes_read == 4 * read


def test_antialiasing_costs() -> None:
    # Rows to their new width, then columns to their new height: a product and a sum a weight.
    cost = cost_of(F.interpolate, meta(1, 1, 6, 8), size=(3, 4), mode="bilinear", antialias=True)
    weights = [windowed(8, 4), windowed(6, 3)]
    products = 6 * weights[0] + 4 * weights[1]
    assert cost.kinds == {"add": products, "multiply": products}


def windowed(size: int, outputs: int) -> int:
    """Pixels with their center inside the window of an output, 2 x the scale wide."""
    scale = size / outputs
    return sum(
        (o + 0.5) * scale - scale <= i + 0.5 < (o + 0.5) * scale + scale
        for o, i in itertools.product(range(outputs), range(size))
    )


# Sampling -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_sampling(mode: str, padding: str) -> None:
    options = {"mode": mode, "padding_mode": padding, "align_corners": False}
    for x in images(2)[:2]:
        assert not compare("grid", F.grid_sample, ((x, torch.rand(2, 5, 7, 2)), options))
    x = images(3)[0]
    assert not compare("grid", F.grid_sample, ((x, torch.rand(2, 5, 7, 3, 3)), options))
    for bad in (torch.rand(1, 5, 7, 2), torch.rand(2, 5, 7, 3), torch.rand(2, 5, 2)):
        assert not compare("grid", F.grid_sample, ((images(2)[0], bad), options))


def test_grid_sampling_costs() -> None:
    x, grid = meta(1, 3, 10, 10), meta(1, 2, 2, 2)
    points, outputs = 2 * 2, 3 * 2 * 2
    options = {"align_corners": False}
    nearest = cost_of(F.grid_sample, x, grid, mode="nearest", **options)
    # Both coordinates: shifted, scaled, shifted back and halved, then rounded.
    assert nearest.kinds == {"add": 3 * 2 * points, "multiply": 2 * 2 * points}
    assert nearest.bytes_read == 4 * (2 * points + outputs)
    bilinear = cost_of(F.grid_sample, x, grid, mode="bilinear", **options)
    # Floor, fraction and its complement; 4 weights a point; 4 products and 3 sums an output.
    assert bilinear.kinds == {
        "add": 5 * 2 * points + 3 * outputs,
        "multiply": 2 * 2 * points + 4 * points + 4 * outputs,
    }
    assert bilinear.bytes_read == 4 * (2 * points + 4 * outputs)


@pytest.mark.parametrize("size", [[2, 4, 5, 6], [2, 4, 5, 6, 7]])
def test_affine_grid(size: list[int]) -> None:
    dims = len(size) - 2
    theta = torch.randn(2, dims, dims + 1)
    assert not compare("affine", F.affine_grid, ((theta, size, False), {}))
    assert not compare("affine", F.affine_grid, ((theta, [3, *size[1:]], False), {}))
    points = 1
    for length in (size[0], *size[2:]):
        points *= length
    cost = cost_of(F.affine_grid, meta(2, dims, dims + 1), size, False)
    assert cost.macs == points * dims * (dims + 1)


# Patches, channels and space ----------------------------------------------------------------------


def test_patches() -> None:
    for x in (*images(2), images(2)[0][0]):
        for options in ({}, {"stride": 2, "padding": 1}, {"dilation": 2}):
            assert not compare("unfold", F.unfold, ((x, 2), options))
            columns = F.unfold(x, 2, **options)
            assert not compare("fold", F.fold, ((columns, (6, 8), 2), options))
    x = images(2)[0]
    assert not compare("unfold", F.unfold, ((x, 9), {}))  # larger than the image
    assert not compare("fold", F.fold, ((F.unfold(x, 2), (6, 9), 2), {}))
    columns = meta(2, 16, 35)
    assert cost_of(F.unfold, meta(2, 4, 6, 8), 2).kinds == {}
    assert cost_of(F.fold, columns, (6, 8), 2).kinds == {"add": columns.numel()}


def test_shuffles() -> None:
    for x in (*images(2), images(2)[0][0], images(2)[0][None]):
        for function in (F.pixel_shuffle, F.pixel_unshuffle, torch.channel_shuffle):
            for factor in (2, 3, 0):  # 3 does not divide all of them
                assert not compare("shuffle", function, ((x, factor), {}))
    cost = cost_of(F.pixel_shuffle, meta(2, 4, 6, 8), 2)
    assert (cost.kinds, cost.bytes_read, cost.bytes_written) == ({}, 4 * 384, 4 * 384)
