"""Convolutions: as products, by groups, and next to what they could be written as."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F

from nnprof.hardware import find, names
from tests.cost.calls import HALF, bytes_of, linear, meta, seconds, time

if TYPE_CHECKING:
    from nnprof.results.times import SignatureTimes

FP16 = torch.float16
GPUS = [name for name in names() if find(name).kind == "gpu"]


def depthwise(device: str, dtype: torch.dtype, size: int = 3) -> SignatureTimes:
    x, weight = meta(64, 256, 56, 56, dtype=dtype), meta(256, 1, size, size, dtype=dtype)
    return time(F.conv2d, x, weight, None, 1, size // 2, 1, 256, on=device)


@pytest.mark.parametrize("device", names())
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_one_by_one_is_a_linear_layer(device: str, dtype: torch.dtype) -> None:
    x, weight = meta(32, 256, 56, 56, dtype=dtype), meta(512, 256, 1, 1, dtype=dtype)
    layer = linear(256, 512, dtype)
    as_layer = seconds(layer, meta(32 * 56 * 56, 256, dtype=dtype), on=device)
    assert 1 <= seconds(F.conv2d, x, weight, on=device) / as_layer < 1.5


@pytest.mark.parametrize("device", GPUS)
def test_depthwise_takes_about_as_long_as_its_images_pass(device: str) -> None:
    """9 multiplications an element: by the datasheet, memory bounds it everywhere."""
    x = meta(64, 256, 56, 56)
    moving = bytes_of(x, x) / find(device).bandwidth
    assert moving < depthwise(device, torch.float32).estimated_s < 2.5 * moving


@pytest.mark.parametrize("device", GPUS)
def test_depthwise_uses_no_matrix_units(device: str) -> None:
    known = find(device)
    one = depthwise(device, FP16, 7)
    assert one.flops / one.estimated_s < known.vector_flops["fp32"]


def test_depthwise_is_cheaper_than_dense_but_not_by_its_flops() -> None:
    x, weight = meta(64, 256, 56, 56, dtype=HALF), meta(256, 256, 3, 3, dtype=HALF)
    dense = time(F.conv2d, x, weight, None, 1, 1, on="a100")
    separate = depthwise("a100", HALF)
    assert separate.estimated_s < dense.estimated_s
    assert dense.flops == 256 * separate.flops
    assert dense.estimated_s < 64 * separate.estimated_s


def test_groups_share_the_work() -> None:
    """ResNeXt's 32 groups do a 32nd of the work, in no less than a 32nd of the time."""
    x = meta(32, 512, 28, 28, dtype=HALF)
    dense = seconds(F.conv2d, x, meta(512, 512, 3, 3, dtype=HALF), None, 1, 1, on="a100")
    grouped = seconds(*(F.conv2d, x, meta(512, 16, 3, 3, dtype=HALF), None, 1, 1, 1, 32), on="a100")
    assert dense / 32 < grouped < dense


def test_a_stride_of_two_takes_about_a_quarter() -> None:
    for device in ("a100", "x86"):
        x, weight = meta(64, 256, 56, 56), meta(256, 256, 3, 3)
        whole = seconds(F.conv2d, x, weight, None, 1, 1, on=device)
        assert seconds(F.conv2d, x, weight, None, 2, 1, on=device) == pytest.approx(
            whole / 4, rel=0.15
        )


def test_a_transposed_one_takes_as_long_as_the_one_it_transposes() -> None:
    for device in ("a100", "t4", "x86"):
        small, large = meta(16, 256, 28, 28, dtype=FP16), meta(16, 128, 56, 56, dtype=FP16)
        weight = meta(256, 128, 2, 2, dtype=FP16)
        up = seconds(F.conv_transpose2d, small, weight, None, 2, on=device)
        down = seconds(F.conv2d, large, weight, None, 2, on=device)
        assert up == pytest.approx(down, rel=0.35)


def test_dimensions_do_not_matter_where_the_work_is_the_same() -> None:
    """One row or one layer of an image."""
    flat = seconds(F.conv1d, meta(8, 64, 1024), meta(128, 64, 3), None, 1, 1, on="a100")
    square = seconds(
        *(F.conv2d, meta(8, 64, 1, 1024), meta(128, 64, 1, 3), None, 1, (0, 1)), on="a100"
    )
    cube = seconds(
        *(F.conv3d, meta(8, 64, 1, 1, 1024), meta(128, 64, 1, 1, 3), None, 1, (0, 0, 1)),
        on="a100",
    )
    assert flat == pytest.approx(square)
    assert flat == pytest.approx(cube)


def test_a_convolution_of_one_image_is_not_filled_by_it() -> None:
    """7 x 7 positions of ResNet-50's last stage: the weights are read for few of them."""
    one = time(
        *(F.conv2d, meta(1, 512, 7, 7, dtype=FP16), meta(512, 512, 3, 3, dtype=FP16), None, 1, 1),
        on="a100",
    )
    assert one.peak_share is not None
    assert one.peak_share < 0.2


def gradients(mask: list[bool], device: str, groups: int = 1, size: int = 3) -> SignatureTimes:
    x, weight = meta(64, 256, 56, 56, dtype=HALF), meta(256, 256 // groups, size, size, dtype=HALF)
    sides = [1, 1], [size // 2, size // 2], [1, 1], False, [0, 0], groups
    backward = torch.ops.aten.convolution_backward
    return time(backward, x, x, weight, [256], *sides, mask, on=device)


@pytest.mark.parametrize("device", names())
def test_gradients_are_two_more_convolutions(device: str) -> None:
    x, weight = meta(64, 256, 56, 56, dtype=HALF), meta(256, 256, 3, 3, dtype=HALF)
    forward = time(F.conv2d, x, weight, None, 1, 1, on=device)
    both = gradients([True, True, False], device)
    assert both.flops == 2 * forward.flops
    assert 1.5 < both.estimated_s / forward.estimated_s < 3
    one, other = (gradients(mask, device) for mask in ([True, False, False], [False, True, False]))
    assert one.estimated_s + other.estimated_s == pytest.approx(both.estimated_s)
    with_bias = gradients([True, True, True], device).estimated_s
    assert both.estimated_s < with_bias < 1.2 * both.estimated_s


@pytest.mark.parametrize("device", GPUS)
def test_gradients_of_depthwise_convolutions_use_no_matrix_units(device: str) -> None:
    one = gradients([True, True, False], device, groups=256, size=7)
    assert one.flops / one.estimated_s < find(device).vector_flops["fp32"]
