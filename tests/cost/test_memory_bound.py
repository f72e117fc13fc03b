"""Calls that move bytes: bounds, caches, rows that are read twice, and views, which are free."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nnprof
from nnprof.hardware import find, names
from tests.cost.calls import bytes_of, meta, seconds, time, times

if TYPE_CHECKING:
    from collections.abc import Callable

GPUS = [name for name in names() if find(name).kind == "gpu"]
LARGE, SMALL = (1 << 14, 1 << 13), (16, 16)  # 512 MiB, and 1 KiB

SIMPLE: dict[str, Callable[[Tensor], Any]] = {
    "bias": lambda x: x + meta(x.shape[1]),
    "residual": lambda x: x + x,
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "dropout": lambda x: F.dropout(x, 0.1),
    "cast": lambda x: x.to(torch.bfloat16),
    "softmax": lambda x: x[:, :512].contiguous().softmax(-1),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "sum": lambda x: x.sum(-1),
}


@pytest.mark.parametrize("device", GPUS)
@pytest.mark.parametrize("name", SIMPLE)
def test_memory_bounds_the_large_and_the_launch_the_small(device: str, name: str) -> None:
    call = SIMPLE[name]
    assert {one.bound for one in times(call, meta(*LARGE), on=device)} <= {"memory", ""}
    assert {one.bound for one in times(call, meta(*SMALL), on=device)} <= {"launch", ""}


@pytest.mark.parametrize("device", GPUS)
def test_the_smallest_call_takes_what_launches_take(device: str) -> None:
    """Published times of an empty kernel are between 1.5 and 5 microseconds."""
    assert 1e-6 < seconds(torch.relu, meta(1), on=device) < 10e-6


@pytest.mark.parametrize("device", GPUS)
def test_additions_reach_most_of_the_bandwidth(device: str) -> None:
    """STREAM-like kernels reach between 70 and 95 % of the datasheet."""
    x = meta(*LARGE)
    known = find(device)
    share = bytes_of(x, x, x) / seconds(torch.add, x, meta(*LARGE), on=known) / known.bandwidth
    assert 0.7 < share < 0.95


def test_half_as_many_bytes_take_half_as_long() -> None:
    for device in ("h100", "a100", "x86"):
        wide = seconds(torch.add, meta(*LARGE), meta(*LARGE), on=device)
        narrow = seconds(
            torch.add,
            meta(*LARGE, dtype=torch.bfloat16),
            meta(*LARGE, dtype=torch.bfloat16),
            on=device,
        )
        assert narrow == pytest.approx(wide / 2, rel=0.05)


VIEWS: dict[str, Callable[[Tensor], Any]] = {
    "view": lambda x: x.view(-1),
    "transpose": lambda x: x.t(),
    "slice": lambda x: x[::2, 1:5],
    "expand": lambda x: x[None].expand(100, -1, -1),
    "split": lambda x: x.chunk(4, 1),
    "unsqueeze": lambda x: x.unsqueeze(0).squeeze(0),
    "detach": lambda x: x.detach(),
}


@pytest.mark.parametrize("device", ["h100", "x86"])
@pytest.mark.parametrize("name", VIEWS)
def test_views_are_free_but_for_the_host(device: str, name: str) -> None:
    with nnprof.trace() as running:
        VIEWS[name](meta(*LARGE))
    found = running.profile(hardware=device).times
    assert found is not None
    assert [(one.estimated_s, one.bound) for one in found.by_signature] == [(0, "")] * len(
        found.by_signature
    )
    assert found.timeline.device_s == 0
    assert found.timeline.wall_s == found.timeline.host_s > 0


# Caches.


def test_what_fits_in_the_last_cache_is_faster() -> None:
    """L40S: 96 MiB of cache before 864 GB/s of GDDR6; two tensors of 8 MiB stay there."""
    known = find("l40s")
    small, large = meta(1 << 21), meta(1 << 27)

    def bandwidth(x: Tensor) -> float:
        launch = seconds(torch.relu, meta(1), on=known)
        return bytes_of(x, x) / (seconds(torch.relu, x, on=known) - launch)

    assert bandwidth(small) > 1.5 * known.bandwidth
    assert bandwidth(large) < known.bandwidth


@pytest.mark.parametrize("device", names())
def test_the_cache_is_no_slower_than_the_memory(device: str) -> None:
    known = find(device)
    at_once = seconds(torch.relu, meta(1), on=known)

    def bandwidth(elements: int) -> float:
        x = meta(elements)
        return bytes_of(x, x) / (seconds(torch.relu, x, on=known) - at_once)

    assert bandwidth(known.cache_bytes // 20) > 0.99 * bandwidth(known.cache_bytes)


def test_weights_are_not_in_the_cache_where_the_model_is_larger() -> None:
    """The same layer of 16 MiB, alone and among others, before a cache of 72 MiB."""

    def first(layers: int) -> float:
        model = nn.Sequential(*(nn.Linear(2048, 2048, device="meta") for _ in range(layers)))
        return times(model, meta(1, 2048), on="rtx-4090")[0].estimated_s

    assert first(1) == first(3)
    assert first(40) > 1.5 * first(3)
    assert first(80) == first(40)


def test_a_larger_cache_makes_nothing_slower() -> None:
    small = find("a100")
    large = replace(small, cache_bytes=4 * small.cache_bytes)
    for elements in (1 << 10, 1 << 20, 1 << 23, 1 << 24, 1 << 26):
        for call in (F.relu, lambda x: x.softmax(-1), lambda x: F.layer_norm(x, x.shape[-1:])):
            x = meta(elements // 1024, 1024)
            assert seconds(call, x, on=large) <= seconds(call, x, on=small)


# Rows.


@pytest.mark.parametrize(
    ("call", "reads"),
    [
        (lambda x: F.layer_norm(x, x.shape[-1:]), 2),  # once for the statistics, once to apply them
        (lambda x: x.softmax(-1), 3),  # the maximum, the sum, the result
    ],
    ids=["layer_norm", "softmax"],
)
def test_long_rows_are_read_again_by_norms(call: Callable[[Tensor], Any], reads: int) -> None:
    for device in ("h100", "a100", "v100-sxm"):
        elements = 1 << 28
        times_of = [
            seconds(call, meta(elements // width, width), on=device)
            for width in (128, 1024, 8192, 1 << 16, 1 << 20)
        ]
        assert all(after > 0.999 * before for before, after in pairwise(times_of))
        # One read and one write, and again what does not stay in the cache.
        assert times_of[-1] / times_of[0] <= (reads + 1) / 2 + 1e-3
        assert times_of[-1] / times_of[0] > 1.3


def test_long_rows_are_read_once_by_sums() -> None:
    narrow, wide = (meta((1 << 28) // width, width) for width in (256, 1 << 16))
    for device in ("h100", "x86"):
        a, b = (seconds(lambda x: x.sum(-1), x, on=device) for x in (narrow, wide))
        assert a == pytest.approx(b, rel=0.05)


# Computing bounds what computes a lot.


def test_functions_that_compute_take_longer_where_computing_is_slow() -> None:
    """A sine is 20 or more operations an element: more than a core does while 8 bytes pass that the
    cache holds."""
    x = meta(1 << 20)
    assert time(torch.sin, x, on="x86").bound == "compute"
    assert seconds(torch.sin, x, on="x86") > 1.5 * seconds(torch.relu, x, on="x86")
    assert time(torch.relu, x, on="x86").bound == "memory"


def test_fp64_is_slow_where_the_datasheet_says_so() -> None:
    """A T4 does 0.25 TFLOP/s of fp64."""
    x = meta(1 << 26, dtype=torch.float64)
    one = time(F.gelu, x, on="t4")
    assert one.bound == "compute"
    assert one.estimated_s > 5 * x.numel() / 0.25e12


def test_an_embedding_reads_its_rows_and_not_its_table() -> None:
    table = meta(128_000, 4096)
    ids = meta(64, dtype=torch.int64)
    for device in ("h100", "x86"):
        known = find(device)
        one = time(F.embedding, ids, table, on=known)
        assert one.bytes < 1.1 * (64 * 8 + 2 * 64 * 4096 * 4)
        assert one.estimated_s < bytes_of(table) / known.bandwidth / 10


def test_sorting_takes_several_passes() -> None:
    x = meta(1 << 14, 1 << 12)
    assert seconds(torch.sort, x, on="a100") > 4 * seconds(torch.add, x, x, on="a100")


# CPUs.


def test_small_calls_run_on_one_core() -> None:
    """Below 32768 elements, PyTorch starts no second thread: all cores are not faster than one."""
    many, one = find("x86:cores=32,ghz=3.0,simd=avx2"), find("x86:cores=4,ghz=3.0,simd=avx2")
    x = meta(30_000)
    few = seconds(torch.sin, x, on=one)
    assert seconds(torch.sin, x, on=many) == pytest.approx(few, rel=0.1)
    large = meta(1 << 22)
    assert seconds(torch.sin, large, on=many) < 0.3 * seconds(torch.sin, large, on=one)
