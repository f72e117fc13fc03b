"""The gradients of normalizations: outputs as PyTorch's, costs by loops on tiny shapes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare
from tests.rules.scalars import Number, Tally, total

aten = torch.ops.aten
IMAGE = torch.randn(2, 6, 4, 5)
LAST = IMAGE.contiguous(memory_format=torch.channels_last)
WEIGHT, MEAN, VARIANCE = torch.rand(6), torch.rand(6), torch.rand(6)
RESERVE = torch.empty(0, dtype=torch.uint8)
EVERY = [True] * 3


def masks(count: int) -> list[list[bool]]:
    return [list(mask) for mask in itertools.product([False, True], repeat=count)]


# Outputs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [IMAGE, LAST, IMAGE.transpose(2, 3), IMAGE[:, :, 0, 0]])
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm(x: Tensor, training: bool) -> None:
    args: tuple[Any, ...]
    for weight, mask in itertools.product((WEIGHT, None), masks(3)):
        for grad in (x, x.contiguous()):
            args = (grad, x, weight, MEAN, VARIANCE, MEAN, VARIANCE, training, 1e-5, mask)
            assert not compare("native", aten.native_batch_norm_backward, (args, {}))
    half = x.bfloat16()
    for like in (WEIGHT, WEIGHT.bfloat16()):
        args = (half, half, *[like] * 5, training, 1e-5, EVERY)
        assert not compare("native", aten.native_batch_norm_backward, (args, {}))
    args = (x, x, WEIGHT, MEAN, VARIANCE, MEAN, VARIANCE, training, 1e-5, EVERY, RESERVE)
    assert not compare("native", aten.batch_norm_backward, (args, {}))


def cudnn_on_meta(*args: Any) -> Any:
    return aten.cudnn_batch_norm(
        *(arg.to("meta") if isinstance(arg, Tensor) else arg for arg in args)
    )


def test_cudnn_batch_norm() -> None:
    for x, training in itertools.product((IMAGE, LAST, IMAGE.bfloat16()), (False, True)):
        args = (x, WEIGHT, WEIGHT, MEAN, VARIANCE, training, 0.1, 1e-5)
        assert not compare("cudnn", aten.cudnn_batch_norm, (args, {}), cudnn_on_meta)


@pytest.mark.parametrize("x", [IMAGE, LAST, IMAGE.transpose(0, 1)])
def test_layer_norm(x: Tensor) -> None:
    for shape in ([5], [4, 5]):
        weight = torch.rand(shape)
        out, mean, rstd = torch.native_layer_norm(x, shape, weight, weight, 1e-5)
        for grad, mask in itertools.product((out, x), masks(3)):
            args = (grad, x, shape, mean, rstd, weight, weight, mask)
            assert not compare("layer_norm", aten.native_layer_norm_backward, (args, {}))
        none = (out, x, shape, mean, rstd, None, None)
        assert not compare("plain", aten.native_layer_norm_backward, ((*none, [1, 0, 0]), {}))
        assert not compare("none", aten.native_layer_norm_backward, ((*none, EVERY), {}))
    half, weight = x.bfloat16(), torch.rand(5)
    out, mean, rstd = torch.native_layer_norm(half, [5], weight, weight, 1e-5)
    args = (out, half, [5], mean, rstd, weight, weight, EVERY)
    assert not compare("mixed", aten.native_layer_norm_backward, (args, {}))


@pytest.mark.parametrize("x", [IMAGE, LAST])
def test_group_norm(x: Tensor) -> None:
    args: tuple[Any, ...]
    sizes = (2, 6, 20, 3)
    for image in (x, x.bfloat16()):
        out, mean, rstd = torch.native_group_norm(image, WEIGHT, WEIGHT, *sizes, 1e-5)
        for mask in ([True, True, True], [True, False, False], [True, False, True]):
            args = (out, image, mean, rstd, WEIGHT, *sizes, mask)
            assert not compare("group_norm", aten.native_group_norm_backward, (args, {}))
    args = (out, image, mean, rstd, None, *sizes, [True, False, False])
    assert not compare("plain", aten.native_group_norm_backward, (args, {}))
    args = (out, image, mean, rstd, None, *sizes, EVERY)
    assert not compare("none", aten.native_group_norm_backward, (args, {}))


# Costs: 24 elements -------------------------------------------------------------------------------

BATCH_MASKS = pytest.mark.parametrize("mask", masks(3)[1:])


class Loop:
    """The numbers of a gradient's loop."""

    def __init__(self) -> None:
        self.tally = Tally()

    def number(self) -> Number:
        return self.tally.row(1)[0]

    def sum(self, numbers: list[Number]) -> Number:
        return total(numbers, Number(self.number().tally))


@BATCH_MASKS
def test_batch_norm_cost(mask: list[bool]) -> None:
    loop = Loop()
    for _channel in range(4):
        dy, x = loop.tally.row(6), loop.tally.row(6)
        mean, invstd, weight, count = loop.tally.row(4)
        if mask[0] or mask[2]:
            of_bias = loop.sum(dy)
        if mask[0] or mask[1]:
            dot = loop.sum([(a - mean) * g for a, g in zip(x, dy, strict=True)])
        if mask[1]:
            dot * invstd
        if mask[0]:
            slope, offset = dot * invstd * invstd / count, of_bias / count
            scale = invstd * weight
            for a, g in zip(x, dy, strict=True):
                (g - offset - (a - mean) * slope) * scale
    image, row = meta(2, 4, 3), meta(4)
    given = (image, meta(2, 4, 3), row, meta(4), meta(4), meta(4), meta(4))
    cost = cost_of(aten.native_batch_norm_backward, *given, True, 1e-5, mask)
    assert cost.kinds == loop.tally.kinds
    assert cost.bytes_read == 4 * (24 + 24 + 3 * 4)  # not the running statistics
    assert cost.bytes_written == 4 * (24 * mask[0] + 4 * mask[1] + 4 * mask[2])


@BATCH_MASKS
def test_batch_norm_cost_in_evaluation(mask: list[bool]) -> None:
    loop = Loop()
    for _channel in range(4):
        dy, x = loop.tally.row(6), loop.tally.row(6)
        mean, variance, weight, one = loop.tally.row(4)
        if mask[0] or mask[1]:
            invstd = one / (variance + one).sqrt()
        if mask[0]:
            scale = invstd * weight
            for g in dy:
                g * scale
        if mask[1]:
            loop.sum([(a - mean) * g for a, g in zip(x, dy, strict=True)]) * invstd
        if mask[2]:
            loop.sum(dy)
    given = (meta(2, 4, 3), meta(2, 4, 3), *(meta(4) for _ in range(5)))
    cost = cost_of(aten.native_batch_norm_backward, *given, False, 1e-5, mask)
    assert cost.kinds == loop.tally.kinds
    assert cost.bytes_read == 4 * (24 + 24 * mask[1] + 3 * 4)  # not the saved statistics


def test_cudnn_batch_norm_costs_as_the_native_one() -> None:
    x, grad, rows = meta(2, 4, 3), meta(2, 4, 3), [meta(4) for _ in range(5)]
    native = cost_of(aten.native_batch_norm_backward, grad, x, *rows, True, 1e-5, EVERY)
    reserve = meta(0, dtype=torch.uint8)
    assert cost_of(aten.cudnn_batch_norm_backward, x, grad, *rows, 1e-5, reserve) == native
    options = (True, 0.1, 1e-5)
    made = cost_of(aten.cudnn_batch_norm, x, *rows[:4], *options)
    assert made == cost_of(aten.native_batch_norm, x, *rows[:4], *options)


def row_factors(mean: Number, rstd: Number, dot: Number, of_bias: Number, count: Number) -> None:
    slope = (of_bias * mean - dot) * rstd * rstd * rstd / count
    slope * mean - of_bias * rstd / count


@pytest.mark.parametrize("mask", masks(3)[1:])
@pytest.mark.parametrize("weighted", [False, True])
def test_layer_norm_cost(mask: list[bool], weighted: bool) -> None:
    mask = mask if weighted else [mask[0], False, False]
    loop = Loop()
    for _row in range(6):
        dy, x, weight = loop.tally.row(4), loop.tally.row(4), loop.tally.row(4)
        mean, rstd, slope, offset = loop.tally.row(4)
        if mask[0]:
            scaled = [g * w for g, w in zip(dy, weight, strict=True)] if weighted else dy
            dot = loop.sum([g * a for g, a in zip(scaled, x, strict=True)])
            row_factors(mean, rstd, dot, loop.sum(scaled), offset)
            for g, a in zip(scaled, x, strict=True):
                g * rstd + a * slope + offset
        if mask[1]:
            for g, a in zip(dy, x, strict=True):
                offset + g * (a - mean) * rstd
        if mask[2]:
            for g in dy:
                offset + g
    parameters = (meta(4), meta(4)) if weighted else (None, None)
    given = (meta(2, 3, 4), meta(2, 3, 4), [4], meta(2, 3, 1), meta(2, 3, 1), *parameters)
    cost = cost_of(aten.native_layer_norm_backward, *given, mask)
    assert cost.kinds == loop.tally.kinds
    assert cost.bytes_read == 4 * (24 + 24 + 6 + 6 + 4 * (weighted and mask[0]))


@pytest.mark.parametrize("mask", masks(2)[1:])
def test_rms_norm_cost(mask: list[bool]) -> None:
    loop = Loop()
    for _row in range(6):
        dy, x, weight = loop.tally.row(4), loop.tally.row(4), loop.tally.row(4)
        rstd, count = loop.tally.row(2)
        if mask[0]:
            scaled = [g * w for g, w in zip(dy, weight, strict=True)]
            dot = loop.sum([g * a for g, a in zip(scaled, x, strict=True)])
            slope = dot * rstd * rstd * rstd / count
            for g, a in zip(scaled, x, strict=True):
                g * rstd - a * slope
        if mask[1]:
            for g, a in zip(dy, x, strict=True):
                count + g * a * rstd
    given = (meta(2, 3, 4), meta(2, 3, 4), [4], meta(2, 3, 1), meta(4))
    cost = cost_of(aten._fused_rms_norm_backward, *given, mask)
    assert cost.kinds == loop.tally.kinds
    assert cost.bytes_written == 4 * (24 * mask[0] + 4 * mask[1])


@pytest.mark.parametrize("mask", masks(3)[1:])
def test_group_norm_cost(mask: list[bool]) -> None:
    loop = Loop()
    for _sample, _group in itertools.product(range(2), range(2)):
        mean, rstd, slope, offset, scale, start = loop.tally.row(6)
        dots, sums = [], []
        for _channel in range(2):
            dy, x = loop.tally.row(3), loop.tally.row(3)
            dots.append(loop.sum([g * a for g, a in zip(dy, x, strict=True)]))
            sums.append(loop.sum(dy))
            if mask[0]:
                loop.number() * rstd  # of the channel's weight
                for g, a in zip(dy, x, strict=True):
                    g * scale + a * slope + offset
            if mask[1]:
                start + (dots[-1] - sums[-1] * mean) * rstd
            if mask[2]:
                start + sums[-1]
        if mask[0]:
            dot = loop.sum([number * loop.number() for number in dots])
            of_bias = loop.sum([number * loop.number() for number in sums])
            row_factors(mean, rstd, dot, of_bias, start)
    given = (meta(2, 4, 3), meta(2, 4, 3), meta(2, 2), meta(2, 2), meta(4), 2, 4, 3, 2)
    cost = cost_of(aten.native_group_norm_backward, *given, mask)
    assert cost.kinds == loop.tally.kinds
    assert cost.bytes_read == 4 * (24 + 24 + 4 + 4 + 4 * mask[0])


def test_undefined_statistics_are_refused() -> None:
    x: Any = meta(2, 4, 3)
    with pytest.raises(RuntimeError, match="statistics must be defined"):
        cost_of(aten.native_batch_norm_backward, x, x, *[None] * 5, True, 1e-5, EVERY)


def test_weight_norm() -> None:
    v, gradient = torch.randn(3, 2, 4), aten._weight_norm_interface_backward
    for dim, shape in ((0, (3, 1, 1)), (2, (1, 1, 4))):
        g = torch.rand(shape)
        for like in (v, v.bfloat16()):
            arguments = (like, like, g.to(like.dtype), g, dim)
            assert not compare("weight_norm", gradient, (arguments, {}))
    assert not compare("middle", gradient, ((v, v, g, g, 1), {}))
    assert not compare("strided", gradient, ((v.transpose(0, 1), v.transpose(0, 1), g, g, 2), {}))


def test_weight_norm_cost() -> None:
    loop = Loop()
    for _row in range(3):
        dw, v = loop.tally.row(8), loop.tally.row(8)
        g, norm, square = loop.tally.row(3)
        dot = loop.sum([a * b for a, b in zip(dw, v, strict=True)])
        dot / norm
        slope, scale = dot / square, g / norm
        for a, b in zip(dw, v, strict=True):
            (a - b * slope) * scale
    tensors = meta(3, 2, 4), meta(3, 2, 4), meta(3, 1, 1), meta(3, 1, 1)
    cost = cost_of(aten._weight_norm_interface_backward, *tensors, 0)
    assert cost.kinds == loop.tally.kinds
