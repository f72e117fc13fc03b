"""Tensor-parallel models as one rank: what this rank does, forward and backward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.testing._internal.distributed.fake_pg import FakeStore

import nnprof

if TYPE_CHECKING:
    from collections.abc import Iterator

RANKS, ROWS, IN, HIDDEN = 4, 8, 64, 256
ONE = ROWS * IN * HIDDEN // RANKS  # a rank's part of one layer


@pytest.fixture(scope="module", autouse=True)
def _group() -> Iterator[None]:
    dist.init_process_group("fake", rank=0, world_size=RANKS, store=FakeStore())
    yield
    dist.destroy_process_group()


def sharded(device: str) -> nn.Module:
    model = nn.Sequential(nn.Linear(IN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, IN)).to(device)
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    return parallelize_module(model, init_device_mesh("cpu", (RANKS,)), plan)


@pytest.mark.parametrize("backward", [False, True])
def test_every_measure_counts_the_ranks_part(backward: bool) -> None:
    model = sharded("cpu")
    macs = 2 * ONE + (3 * ONE if backward else 0)
    assert [nnprof.measure(model, (ROWS, IN), backward=backward).macs for _ in range(3)] == [
        macs
    ] * 3


def test_counts_by_module_and_phase() -> None:
    profile = nnprof.measure(sharded("cpu"), (ROWS, IN), backward=True, optimizer="adamw")
    assert profile.phase("forward").macs == 2 * ONE
    assert profile.phase("backward").macs == 3 * ONE
    local = HIDDEN * IN // RANKS + HIDDEN // RANKS + IN * HIDDEN // RANKS + IN
    assert profile.phase("optimizer").flops >= 10 * local
    assert profile["0"].macs == 2 * ONE
    assert profile["2"].macs == 3 * ONE


def test_memory_is_the_ranks() -> None:
    profile = nnprof.measure(sharded("cpu"), (ROWS, IN), backward=True)
    local = 4 * (HIDDEN * IN // RANKS + HIDDEN // RANKS + IN * HIDDEN // RANKS + IN)
    assert profile.memory.parameters == local
    assert profile.memory.gradients == local
    assert profile.params == local // 4
    assert profile.global_params == 2 * HIDDEN * IN + HIDDEN + IN


def test_the_model_is_as_before() -> None:
    model, x = sharded("cpu"), torch.randn(ROWS, IN)
    expected = model(x)
    for _ in range(2):
        nnprof.measure(model, (ROWS, IN), backward=True)
    torch.testing.assert_close(model(x), expected)
    for parameter in model.parameters():
        assert isinstance(parameter, DTensor)
        assert parameter.to_local().device.type == "cpu"
        assert parameter.grad is None


def test_sharding_is_asked_for_on_tensors_that_no_one_counts() -> None:
    """Of sizes that no other test has: torch keeps what it found."""
    mesh = init_device_mesh("cpu", (RANKS,))
    a = distribute_tensor(torch.randn(12, 20), mesh, [Shard(0)])
    b = distribute_tensor(torch.randn(20, 28), mesh, [Replicate()])
    with nnprof.trace() as running:
        out: Any = (a @ b).relu().sum(0)
        assert out.shape == (28,)
    profile = running.profile()
    assert profile.macs == 12 * 20 * 28 // RANKS
    assert profile.flops_by_kind["compare"] == 12 * 28 // RANKS


def test_sequence_parallel_norms() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(IN)
            self.up, self.down = nn.Linear(IN, HIDDEN), nn.Linear(HIDDEN, IN)

        def forward(self, x: Any) -> Any:
            return self.down(torch.relu(self.up(self.norm(x))))

    plan = {
        "norm": SequenceParallel(use_local_output=True),
        "up": ColwiseParallel(input_layouts=Shard(1)),
        "down": RowwiseParallel(output_layouts=Shard(1)),
    }
    model = parallelize_module(Block(), init_device_mesh("cpu", (RANKS,)), plan)
    profile = nnprof.measure(model, (2, ROWS // RANKS, IN), backward=True)
    assert profile.phase("forward").macs == 2 * 2 * ONE
    assert profile.phase("backward").macs == 2 * 4 * ONE
