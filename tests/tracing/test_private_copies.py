"""The first in-place write to a tensor of the user's goes to a private copy that aliases see."""

from __future__ import annotations

import torch
from torch import nn

import nnprof


def test_an_integer_buffer_is_written_in_private() -> None:
    buffer = torch.arange(10)
    with nnprof.trace():
        same = buffer.add_(5)
        assert same is buffer
        assert buffer[2].item() == 7
        assert buffer.view(2, 5)[1, 4].item() == 14
    assert buffer.tolist() == list(range(10))


def test_a_write_through_a_view_is_seen_by_the_base() -> None:
    base = torch.arange(10)
    with nnprof.trace():
        base[2:4].zero_()
        assert base[2].item() == 0
        assert (base + 0).sum().item() == 45 - 5
    assert base.tolist() == list(range(10))


def test_a_float_input_written_in_place_is_not_changed() -> None:
    x = torch.randn(100, 100)
    before = x.clone()
    profile = nnprof.measure(lambda x: x.mul_(2).add_(1).relu_(), inputs=x)
    assert torch.equal(x, before)
    assert profile.flops == 3 * 100 * 100


def test_batch_norm_in_train_keeps_its_statistics() -> None:
    norm = nn.BatchNorm2d(8).train()
    nnprof.measure(norm, (4, 8, 16, 16))
    assert norm.num_batches_tracked is not None
    assert norm.running_mean is not None
    assert norm.num_batches_tracked.item() == 0
    assert torch.equal(norm.running_mean, torch.zeros(8))


def test_values_are_lost_by_a_write_that_is_not_known() -> None:
    mask = torch.zeros(4, dtype=torch.bool)
    x = torch.randn(4, 4096)
    with nnprof.trace():
        mask |= (x > 0).any(-1)
        try:
            bool(mask[0])
        except nnprof.errors.DataDependentError:
            lost = True
    assert lost
    assert mask.tolist() == [False] * 4


def test_a_cache_that_the_forward_appends_to_is_put_back() -> None:
    cache: list[torch.Tensor] = []

    class Caches(nn.Module):
        def forward(self, x: torch.Tensor, cache: list[torch.Tensor]) -> torch.Tensor:
            cache.append(x)
            return x * 2

    nnprof.measure(Caches(), (64, 128), kwargs={"cache": cache})
    assert cache == []
