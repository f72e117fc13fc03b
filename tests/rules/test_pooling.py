"""Pooling: outputs as PyTorch's, costs counted by sliding the windows along."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
AVERAGE = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
ADAPTIVE_MAX = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)
ADAPTIVE_AVERAGE = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
dimensions = pytest.mark.parametrize("dims", [1, 2, 3])


def inputs(dims: int) -> list[torch.Tensor]:
    sizes = (7, 6, 5)[:dims]
    batch = torch.randn(2, 3, *sizes)
    found = [batch, batch[0], batch[..., ::2]]
    if dims > 1:
        last = torch.channels_last if dims == 2 else torch.channels_last_3d
        found += [batch.to(memory_format=last), batch.to(memory_format=last)[0]]
    return found


def with_indices(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: function(*args, return_indices=True, **kwargs)


@dimensions
def test_fixed_windows(dims: int) -> None:
    average, maximum = AVERAGE[dims - 1], MAX[dims - 1]
    for x in inputs(dims):
        for args in ((2,), (3, 2, 1), (2, 3), (3, 1)):
            assert not compare("avg", average, ((x, *args), {"ceil_mode": len(args) == 3}))
            assert not compare("max", maximum, ((x, *args), {}))
            assert not compare("max", with_indices(maximum), ((x, *args), {"ceil_mode": True}))
    x = inputs(dims)[0]
    for function in (average, maximum):
        for refused in ((9,), (2, 0), (2, 1, 2), (0,)):
            assert not compare("bad", function, ((x, *refused), {}))
        assert not compare("bad", function, ((x[0, 0, ..., 0], 2), {}))
    assert not compare("dilated", maximum, ((x, 2), {"dilation": 2}))


@dimensions
def test_adaptive_windows(dims: int) -> None:
    for x in inputs(dims):
        for size in (1, 3, (2, 3, 4)[:dims]):
            assert not compare("avg", ADAPTIVE_AVERAGE[dims - 1], ((x, size), {}))
            assert not compare("max", ADAPTIVE_MAX[dims - 1], ((x, size), {}))
            indexed = with_indices(ADAPTIVE_MAX[dims - 1])
            assert not compare("max", indexed, ((x, size), {}))


@dimensions
def test_unpooling(dims: int) -> None:
    unpool = (F.max_unpool1d, F.max_unpool2d, F.max_unpool3d)[dims - 1]
    for x in inputs(dims)[:2]:
        pooled, indices = MAX[dims - 1](x, 2, return_indices=True)
        options = {"output_size": x.shape[-dims:]}  # where all the indices lie
        assert not compare("unpool", unpool, ((pooled, indices, 2), options))
        assert not compare("unpool", unpool, ((pooled, indices[..., 1:], 2), options))


def test_fractional_windows() -> None:
    x, samples = torch.randn(2, 3, 9, 8), torch.rand(2, 3, 2)
    options = {"output_size": (4, 3), "return_indices": True, "_random_samples": samples}
    assert not compare("fractional", F.fractional_max_pool2d, ((x, 2), options))
    cost = cost_of(F.fractional_max_pool2d, meta(2, 3, 9, 8), 2, **options)
    assert cost.kinds == {"compare": 2 * 3 * 4 * 3 * 2 * 2}


# Costs --------------------------------------------------------------------------------------------


def fixed(size: int, outputs: int, window: tuple[int, int, int, int]) -> list[list[int]]:
    """The elements that each window along one dimension reads."""
    kernel, stride, padding, dilation = window
    taps = [
        [start * stride - padding + tap * dilation for tap in range(kernel)]
        for start in range(outputs)
    ]
    return [[tap for tap in taps_of_one if 0 <= tap < size] for taps_of_one in taps]


def adaptive(size: int, outputs: int) -> list[list[int]]:
    """As the definition has it: an element is in each window that it overlaps."""
    return [
        [i for i in range(size) if i * outputs < (o + 1) * size and (i + 1) * outputs > o * size]
        for o in range(outputs)
    ]


def reads(planes: int, windows: Iterable[list[list[int]]]) -> tuple[int, int]:
    """Element reads of all windows, and distinct elements among them."""
    taken = [
        place for window in itertools.product(*windows) for place in itertools.product(*window)
    ]
    return planes * len(taken), planes * len(set(taken))


WINDOWS = [(2, 2, 0, 1), (3, 2, 1, 1), (1, 2, 0, 1), (3, 1, 1, 1), (2, 3, 0, 1), (2, 1, 0, 2)]


@dimensions
@pytest.mark.parametrize("window", WINDOWS)
def test_fixed_costs(dims: int, window: tuple[int, int, int, int]) -> None:
    kernel, stride, padding, dilation = window
    x = meta(2, 3, *(7, 6, 5)[:dims])
    pooled = MAX[dims - 1](x, *window)
    spans = zip(x.shape[2:], pooled.shape[2:], strict=True)
    taken, distinct = reads(2 * 3, [fixed(size, out, window) for size, out in spans])
    cost = cost_of(MAX[dims - 1], x, kernel, stride, padding, dilation)
    assert cost.kinds == {"compare": taken}
    assert cost.bytes_read == 4 * distinct
    assert cost.bytes_written == 4 * pooled.numel()
    indexed = cost_of(with_indices(MAX[dims - 1]), x, kernel, stride, padding, dilation)
    assert indexed.bytes_written == (4 + 8) * pooled.numel()
    if dilation == 1:
        average = cost_of(AVERAGE[dims - 1], x, kernel, stride, padding)
        assert average.kinds == {"add": taken, "division": pooled.numel()}
        assert average.bytes_read == 4 * distinct


@dimensions
@pytest.mark.parametrize("outputs", [1, 3, 4, 9])
def test_adaptive_costs(dims: int, outputs: int) -> None:
    x = meta(2, 3, *(7, 6, 5)[:dims])
    taken, distinct = reads(2 * 3, [adaptive(size, outputs) for size in x.shape[2:]])
    assert distinct == x.numel()
    average = cost_of(ADAPTIVE_AVERAGE[dims - 1], x, outputs)
    assert average.kinds == {"add": taken, "division": 2 * 3 * outputs**dims}
    assert average.bytes_read == 4 * x.numel()
    assert cost_of(ADAPTIVE_MAX[dims - 1], x, outputs).kinds == {"compare": taken}


def test_integers_are_no_flops() -> None:
    x = torch.arange(64).reshape(1, 1, 8, 8)
    assert cost_of(F.max_pool2d, x, 2).kinds == {"int_ops": 64}
