"""Padding: outputs as PyTorch's, and the bytes of the elements that are kept."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

x = torch.randn(2, 3, 4, 5)


PADS = (
    *((1, 2), (0, 0), (-1, 2), (-1, -2), (1, 2, 0, 3), (2, 2, -1, -2), (1, 0, 1, 0, 1, 0)),
    *((1,), (0, 0, 0, 0, -2, -2), (1,) * 10),
)


@pytest.mark.parametrize("pad", PADS)
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular", "unknown"])
def test_modes(pad: tuple[int, ...], mode: str) -> None:
    inputs = [x, x[0], x[0, 0], x[:, :, ::2]]
    if mode not in ("reflect", "replicate"):  # there the layouts of the CPU and CUDA differ
        last = x.to(memory_format=torch.channels_last)
        inputs += [last, last.transpose(1, 2)]
    for like in inputs:
        assert not compare("pad", F.pad, ((like, pad), {"mode": mode}))


def test_volumes_and_limits() -> None:
    volume = torch.randn(1, 2, 3, 4, 5)
    for mode, like in itertools.product(("reflect", "replicate", "circular"), (volume, volume[0])):
        assert not compare("pad", F.pad, ((like, (1, 2, 0, 1, 2, 0)), {"mode": mode}))
        assert not compare("too much", F.pad, ((like, (9, 0, 0, 0, 0, 0)), {"mode": mode}))
    assert not compare("too much", F.pad, ((x, (0, 0, 4, 0)), {"mode": "reflect"}))
    assert not compare("cut off", F.pad, ((x, (-3, -3)), {}))


def test_gradients() -> None:
    for pad, backward, shape in (
        ((1, 2), torch.ops.aten.reflection_pad1d_backward, (2, 3, 4)),
        ((1, 2, 0, 1), torch.ops.aten.reflection_pad2d_backward, (2, 3, 4, 5)),
        ((1, 2, 0, 1), torch.ops.aten.replication_pad2d_backward, (2, 3, 4, 5)),
        ((1, 2, 0, 1, 1, 1), torch.ops.aten.replication_pad3d_backward, (1, 2, 3, 4, 5)),
    ):
        like = torch.randn(shape)
        gradient = F.pad(like, pad)
        assert not compare("backward", backward, ((gradient, like, list(pad)), {}))
        cost = cost_of(backward, meta(*gradient.shape), meta(*shape), list(pad))
        assert cost.kinds == {"add": gradient.numel()}
        assert (cost.bytes_read, cost.bytes_written) == (4 * gradient.numel(), 4 * like.numel())


def test_bytes() -> None:
    cost = cost_of(F.pad, meta(2, 3), (1, 1))
    assert (cost.bytes_read, cost.bytes_written, cost.kinds) == (24, 40, {})
    # Of each row of four the last two are cut off.
    cost = cost_of(F.pad, meta(3, 4), (1, -2))
    assert (cost.bytes_read, cost.bytes_written) == (24, 36)
    cost = cost_of(F.pad, meta(1, 2, 3), (2, 1), mode="circular")
    assert (cost.bytes_read, cost.bytes_written) == (24, 48)
