"""Batch and instance normalization: outputs as PyTorch's, costs by hand on tiny shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import nnprof
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

aten = torch.ops.aten
CHANNELS = torch.ones(3)
IMAGE = torch.randn(2, 3, 4, 5)
LAST = IMAGE.contiguous(memory_format=torch.channels_last)
VOLUME = torch.randn(2, 3, 2, 4, 5).contiguous(memory_format=torch.channels_last_3d)
INPUTS = [
    IMAGE,
    LAST,
    VOLUME,
    torch.randn(4, 3),
    torch.randn(2, 5, 3).transpose(1, 2),
    LAST[..., 1:],
]
both = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


@both
@pytest.mark.parametrize("x", INPUTS)
def test_batch_norm(x: Tensor, training: bool) -> None:
    learned = (CHANNELS, CHANNELS, CHANNELS, CHANNELS)
    plain = (None, None, CHANNELS, CHANNELS)
    for parameters in (learned, plain):
        args = (x, *parameters, training, 0.1, 1e-5)
        assert not compare("batch_norm", torch.batch_norm, ((*args, False), {}))
        assert not compare("native_batch_norm", torch.native_batch_norm, (args, {}))
        assert not compare("index", torch._batch_norm_impl_index, ((*args, False), {}))
        assert not compare("legit", aten._native_batch_norm_legit, (args, {}))
        assert not compare("functional", aten._native_batch_norm_legit_functional, (args, {}))
        fixed = (x, *parameters, 0.1, 1e-5)
        assert not compare("eval", aten._native_batch_norm_legit_no_training, (fixed, {}))
        assert not compare("update", aten._batch_norm_with_update, (fixed, {}))
        assert not compare("update", aten._batch_norm_with_update_functional, (fixed, {}))
        assert not compare("no update", aten._batch_norm_no_update, (fixed, {}))
    without = (x, None, None, True, 0.1, 1e-5)
    assert not compare("no stats", aten._native_batch_norm_legit.no_stats, (without, {}))


@both
@pytest.mark.parametrize(
    "args",
    [
        (IMAGE, CHANNELS[:2], None, CHANNELS, CHANNELS),
        (IMAGE, None, torch.ones(4), CHANNELS, CHANNELS),
        (IMAGE, None, None, torch.ones(4), CHANNELS),
        (IMAGE, None, None, None, None),
        (IMAGE[:0], CHANNELS, None, CHANNELS, CHANNELS),
        # Of statistics of other sizes PyTorch reads sizes that a vector has not.
        (torch.randn(3), None, None, CHANNELS[:0], CHANNELS[:0]),
        (IMAGE.bfloat16(), CHANNELS, CHANNELS, CHANNELS, CHANNELS),
        (IMAGE.bfloat16(), CHANNELS.bfloat16(), None, CHANNELS, CHANNELS),
        (IMAGE.bfloat16(), None, None, CHANNELS.bfloat16(), CHANNELS.bfloat16()),
        (IMAGE.double(), CHANNELS, None, CHANNELS, CHANNELS),
        (IMAGE, CHANNELS.double(), None, CHANNELS, CHANNELS),
    ],
)
def test_what_batch_norm_takes(args: tuple[Any, ...], training: bool) -> None:
    rest = (training, 0.1, 1e-5, False)
    assert not compare("batch_norm", torch.batch_norm, ((*args, *rest), {}))


@pytest.mark.parametrize("x", [*INPUTS, IMAGE[0, 0], IMAGE[0, 0, 0], IMAGE.bfloat16()])
def test_instance_norm(x: Tensor) -> None:
    rest = (0.1, 1e-5, False)
    for parameters in ((None, None, None, None), (CHANNELS, CHANNELS, CHANNELS, CHANNELS)):
        for statistics in (True, False):
            args = (x, *parameters, statistics, *rest)
            assert not compare("instance_norm", torch.instance_norm, (args, {}))


def test_missing_statistics_are_an_error() -> None:
    # PyTorch's native_batch_norm reads through a null pointer.
    with pytest.raises(nnprof.NnprofError, match="running_mean must be defined"):
        cost_of(torch.native_batch_norm, meta(2, 3, 4), None, None, None, None, False, 0.1, 1e-5)


# Costs: 2 images, 3 channels, 4 positions: 24 elements --------------------------------------------


def channels() -> tuple[Tensor, ...]:
    return meta(3), meta(3), meta(3), meta(3)


def test_evaluation_is_a_scale_and_a_shift() -> None:
    cost = cost_of(F.batch_norm, meta(2, 3, 4), *channels()[:2], *channels()[:2])
    # Each element: multiply, add. Each channel: var + eps, its root, weight / root,
    # mean * scale, bias - that.
    assert cost.kinds == {"add": 24 + 2 * 3, "multiply": 24 + 2 * 3, "sqrt": 3}
    assert cost.bytes_read == 4 * (24 + 4 * 3)
    assert cost.bytes_written == 4 * 24


def test_training_takes_the_statistics_too() -> None:
    cost = cost_of(F.batch_norm, meta(2, 3, 4), *channels(), True)
    # Each element, besides: summed into the mean; less the mean, squared, summed. Each channel: two
    # divisions, and two running statistics: (1 - m) * old + m * new, the variance's one unbiased.
    assert cost.kinds == {
        "add": 24 + 2 * 3 + 3 * 24 + 2 * 3,
        "multiply": 24 + 2 * 3 + 24 + 5 * 3,
        "division": 2 * 3,
        "sqrt": 3,
    }
    assert cost.bytes_written == 4 * (24 + 2 * 3)  # the running statistics are written


def test_training_without_running_statistics() -> None:
    cost = cost_of(F.batch_norm, meta(2, 3, 4), None, None, training=True)
    assert cost.kinds == {"add": 4 * 24 + 2 * 3, "multiply": 2 * 24 + 3, "division": 6, "sqrt": 3}
    assert (cost.bytes_read, cost.bytes_written) == (4 * 24, 4 * 24)


def test_saved_statistics_are_written() -> None:
    args = (meta(2, 3, 4), *channels(), True, 0.1, 1e-5)
    assert cost_of(torch.native_batch_norm, *args).bytes_written == 4 * (24 + 2 * 3 + 2 * 3)


def test_instances_have_statistics_of_their_own() -> None:
    cost = cost_of(F.instance_norm, meta(2, 3, 4))
    assert cost.kinds == {
        "add": 4 * 24 + 2 * 6,
        "multiply": 2 * 24 + 6,
        "division": 2 * 6,
        "sqrt": 6,
    }
    assert cost.bytes_written == 4 * 24
    copied = cost_of(F.instance_norm, meta(2, 4, 3).transpose(1, 2))
    assert copied.bytes_written == 4 * 24 * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dim", [0, 2])
def test_weight_norm(dim: int, dtype: torch.dtype) -> None:
    kernel = torch.ops.aten._weight_norm_interface
    v = torch.randn(4, 3, 5, dtype=dtype)
    g = torch.randn([5 if i == dim == 2 else 4 if i == dim else 1 for i in range(3)], dtype=dtype)
    assert not compare("weight_norm", kernel, ((v, g, dim), {}))
    assert compare("weight_norm", kernel, ((v, g, 1), {})) == []  # PyTorch refuses it too
    cost = cost_of(kernel, v, g, dim)
    # A square and its sum, and the product with g / |v|; a root and a quotient for each norm.
    rows = g.numel()
    assert cost.kinds == {"add": 60, "multiply": 120, "division": rows, "sqrt": rows}
