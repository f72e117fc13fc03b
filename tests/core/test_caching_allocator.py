"""The simulated caching allocator against what PyTorch's did on real devices, and by hand."""

from __future__ import annotations

import csv
import random
from itertools import pairwise
from pathlib import Path

import pytest

from nnprof import _core
from tests.core.allocator_traces import (
    TRACES,
    Trace,
    allocator_with,
    kinds_and_sizes,
    predict,
    replay,
)

KIB, MIB = 1 << 10, 1 << 20
SUMMARY = Path(__file__).with_name("cuda_allocator") / "traces.csv"


def name_of(path: Path) -> str:
    return path.name.removesuffix(".csv.gz")


@pytest.mark.parametrize("path", TRACES, ids=name_of)
def test_places_each_block_where_it_really_was(path: Path) -> None:
    trace = Trace(path)
    done = replay(trace)
    assert done.differences == []
    assert done.allocations == sum(event == "alloc" for event, *_ in trace.events)
    assert done.allocator.asked() == trace.driver_calls
    assert done.allocator.peak_reserved == trace.peak_reserved


@pytest.mark.parametrize("path", TRACES, ids=name_of)
def test_foretells_the_driver_calls_from_the_requests(path: Path) -> None:
    trace = Trace(path)
    found = predict(trace)
    assert kinds_and_sizes(found.asked()) == kinds_and_sizes(trace.driver_calls)
    assert found.peak_reserved == trace.peak_reserved


def test_has_the_traces_that_the_summary_lists() -> None:
    with SUMMARY.open(encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert len(TRACES) == 62
    for path in TRACES:
        row, trace = rows[path.name], Trace(path)
        assert int(row["reserved_peak"]) == trace.peak_reserved
        assert int(row["allocs"]) == sum(event == "alloc" for event, *_ in trace.events)


# What no trace covers, by hand from c10/cuda/CUDACachingAllocator.cpp -----------------------------


def sizes(allocator: _core.CachingAllocator) -> list[tuple[str, int]]:
    return kinds_and_sizes(allocator.asked())


@pytest.mark.parametrize(
    ("asked", "segment"),
    [
        (1, 2 * MIB),
        (MIB, 2 * MIB),
        (MIB + 1, 20 * MIB),
        (10 * MIB - 512, 20 * MIB),
        (10 * MIB - 511, 10 * MIB),  # rounded up first
        (10 * MIB + 1, 12 * MIB),
        (33 * MIB - 512, 34 * MIB),
    ],
)
def test_segments(asked: int, segment: int) -> None:
    allocator = _core.CachingAllocator()
    allocator.allocate(asked)
    assert sizes(allocator) == [("segment_alloc", segment)]
    assert allocator.reserved == segment


def test_of_equal_blocks_the_lowest_is_taken() -> None:
    allocator = _core.CachingAllocator()
    blocks = [allocator.allocate(12 * MIB) for _ in range(3)]
    lowest = min(filter(None, blocks))
    for block in blocks:
        assert block is not None
        allocator.free(block)
    assert allocator.allocate(12 * MIB) == lowest


def test_a_rest_of_up_to_one_mebibyte_stays_in_a_large_block() -> None:
    allocator = _core.CachingAllocator()
    allocator.allocate(19 * MIB)
    assert allocator.allocated == 20 * MIB  # own segment of 20 MiB, 1 MiB left: not split
    allocator.allocate(12 * MIB - 512)
    assert allocator.allocated == 32 * MIB


def test_streams_do_not_share_blocks() -> None:
    allocator = _core.CachingAllocator()
    first = allocator.allocate(12 * MIB, stream=1)
    assert first is not None
    allocator.free(first)
    allocator.allocate(12 * MIB, stream=2)
    assert allocator.reserved == 24 * MIB
    assert allocator.allocate(12 * MIB, stream=1) == first


def test_a_block_waits_for_the_streams_that_use_it() -> None:
    allocator = _core.CachingAllocator()
    first = allocator.allocate(12 * MIB)
    assert first is not None
    allocator.request_free(first)
    assert allocator.allocated == 0
    second = allocator.allocate(12 * MIB)  # not yet the first one's
    allocator.complete_free(first)
    assert (allocator.allocate(12 * MIB), second != first) == (first, True)
    assert allocator.reserved == 24 * MIB


def test_the_cache_goes_back_where_the_device_is_full() -> None:
    allocator = allocator_with(capacity=64 * MIB)
    first = allocator.allocate(40 * MIB)
    assert first is not None
    allocator.free(first)
    assert allocator.allocate(60 * MIB) is not None
    assert sizes(allocator) == [
        ("segment_alloc", 40 * MIB),
        ("segment_free", 40 * MIB),
        ("segment_alloc", 60 * MIB),
    ]
    assert allocator.retries == 1
    assert allocator.allocate(10 * MIB) is None
    assert (allocator.reserved, allocator.retries) == (60 * MIB, 2)


def test_a_segment_in_use_cannot_go_back() -> None:
    allocator = _core.CachingAllocator()
    first, second = allocator.allocate(5 * MIB), allocator.allocate(5 * MIB)
    assert first is not None
    assert second is not None
    allocator.free(first)
    assert allocator.empty_cache() is False
    assert allocator.inactive_split == 15 * MIB
    allocator.free(second)
    assert allocator.inactive_split == 0
    assert allocator.empty_cache() is True
    assert allocator.reserved == 0


# max_split_size_mb: a block from it on is not split (should_split), serves no smaller request and
# none that leaves max_non_split_rounding or more (get_free_block).
def test_blocks_over_the_split_limit_stay_whole() -> None:
    allocator = allocator_with(max_split_size=64 * MIB)
    large = allocator.allocate(100 * MIB)
    assert large is not None
    allocator.free(large)
    assert allocator.allocate(30 * MIB) != large  # a smaller one gets a segment of its own
    assert allocator.allocate(81 * MIB) == large  # 19 MiB are lost
    assert allocator.allocated == 130 * MIB
    allocator.free(large)
    assert allocator.allocate(80 * MIB) != large  # 20 MiB would be
    assert allocator.reserved == (100 + 30 + 80) * MIB


# release_available_cached_blocks: one block over the limit that is large enough, else the largest
# ones of the stream until there is room.
@pytest.mark.parametrize(
    ("cached", "wanted", "released"),
    [([100, 200], 150, [200]), ([100, 120], 190, [120, 100]), ([90, 100, 120], 190, [120, 100])],
)
def test_only_what_is_needed_goes_back(cached: list[int], wanted: int, released: list[int]) -> None:
    allocator = allocator_with(max_split_size=64 * MIB, capacity=(sum(cached) + 20) * MIB)
    for block in [allocator.allocate(size * MIB) for size in cached]:
        assert block is not None
        allocator.free(block)
    # Too large for the cached ones, or by more than 20 MiB too small.
    assert allocator.allocate(wanted * MIB) is not None
    assert sizes(allocator)[len(cached) :] == [
        *(("segment_free", size * MIB) for size in released),
        ("segment_alloc", wanted * MIB),
    ]
    assert allocator.retries == 0


# roundup_power2_next_division, of the example in PyTorch's notes: 1200 between 1024 and 2048 in
# four steps is 1280.
@pytest.mark.parametrize(
    ("divisions", "asked", "rounded"),
    [
        ([(1 << 62, 4)], 1200 * KIB, 1280 * KIB),
        ([(1 << 62, 4)], 1024 * KIB, 1024 * KIB),
        ([(1 << 62, 4)], 1281 * KIB, 1536 * KIB),
        ([(1 << 62, 4)], 2000, 2048),  # not above 512 bytes times the divisions: as ever
        ([(1 << 62, 1)], 1200 * KIB + 1, 1200 * KIB + 512),
        ([(256 * MIB, 1), (512 * MIB, 2), (1 << 62, 8)], 300 * MIB, 384 * MIB),
        ([(256 * MIB, 1), (512 * MIB, 2), (1 << 62, 8)], 700 * MIB, 704 * MIB),
        ([(256 * MIB, 1), (512 * MIB, 2), (1 << 62, 8)], 100 * MIB + 1, 100 * MIB + 512),
    ],
)
def test_powers_of_two_in_steps(divisions: list[tuple[int, int]], asked: int, rounded: int) -> None:
    allocator = allocator_with(roundup_power2_divisions=divisions)
    # A neighbour in the segment shows where the block ends.
    big = allocator.allocate(2 * rounded + 4 * MIB)
    assert big is not None
    allocator.free(big)
    assert allocator.allocate(asked) is not None
    assert allocator.allocated == rounded


# garbage_collect_cached_blocks: above the threshold of what torch may take, free segments older
# than the average go back, before a new one is asked for.
def test_old_blocks_go_back_above_the_threshold() -> None:
    allocator = allocator_with(garbage_collection_threshold=0.55, allowed=300 * MIB)
    blocks = [allocator.allocate(size * MIB) for size in (30, 40, 50)]
    old, young, kept = blocks
    assert old is not None
    assert young is not None
    assert kept is not None
    allocator.free(old)
    for _ in range(5):  # time passes by what is looked for
        block = allocator.allocate(50 * MIB)
        assert block is not None
        allocator.free(block)
    allocator.free(young)
    before = len(allocator.asked())
    allocator.allocate(60 * MIB)
    assert sizes(allocator)[before:] == [("segment_free", 30 * MIB), ("segment_alloc", 60 * MIB)]


def test_expandable_segments_grow_by_pages() -> None:
    allocator = allocator_with(expandable_segments=True)
    first = allocator.allocate(30 * MIB)
    assert sizes(allocator) == [("segment_map", 40 * MIB)]
    second = allocator.allocate(15 * MIB)  # 10 MiB are there, 20 more behind them
    assert sizes(allocator)[1:] == [("segment_map", 20 * MIB)]
    assert first is not None
    assert second == first + 30 * MIB
    allocator.free(first)
    allocator.empty_cache()  # the whole page of it: the other one is shared
    assert sizes(allocator)[2:] == [("segment_unmap", 20 * MIB)]
    assert allocator.reserved == 40 * MIB


@pytest.mark.parametrize("expandable", [False, True])
def test_any_order_of_requests_leaves_a_sound_layout(expandable: bool) -> None:
    """No two blocks overlap, no two free ones touch, and the sums agree."""
    draw = random.Random(0)
    allocator = allocator_with(expandable_segments=expandable, capacity=900 * MIB)
    held: dict[int, int] = {}
    for _ in range(4000):
        if held and draw.random() < 0.5:
            address = draw.choice(list(held))
            allocator.free(address)
            del held[address]
        else:
            size = int(2 ** draw.uniform(0, 26))
            placed = allocator.allocate(size)
            if placed is not None:
                assert placed not in held
                held[placed] = size
        if draw.random() < 0.01:
            allocator.empty_cache()
    layout = allocator.layout()
    for (address, size, used), (after, _, next_used) in pairwise(layout):
        assert address + size <= after
        # Segments may touch; pages of one that grows are one range.
        if expandable and address + size == after:
            assert used or next_used
    in_use = {address: size for address, size, used in layout if used}
    assert in_use.keys() == held.keys()
    assert all(in_use[address] >= size for address, size in held.items())
    assert sum(in_use.values()) == allocator.allocated
    assert sum(size for _, size, _ in layout) == allocator.reserved
