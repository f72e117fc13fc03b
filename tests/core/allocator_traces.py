"""Published traces of PyTorch's CUDA caching allocator, and their replay."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

TRACES = sorted(Path(__file__).with_name("cuda_allocator").glob("*.csv.gz"))

#: Event, size, address, stream.
Row = tuple[str, int, int, int]
#: By the name of a row of the initial state: the kind of its segment.
_INITIAL = {
    "init_segment": "plain",
    "init_map_small": "mapped_small",
    "init_map_large": "mapped_large",
}
_GIVEN = ("segment_alloc", "segment_map")
_RETURNED = ("segment_free", "segment_unmap")


def allocator_with(
    addresses: Callable[[int, int], int] | None = None, **options: Any
) -> _core.CachingAllocator:
    return _core.CachingAllocator(_core.AllocatorOptions(**options), addresses=addresses)


class Trace:
    """One of them: what was there, and what happened."""

    def __init__(self, path: Path) -> None:
        with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            next(rows)
            self.rows: list[Row] = [(e, int(s), int(a), int(stream)) for e, s, a, stream in rows]
        self.segments = [(a, s, st, _INITIAL[e]) for e, s, a, st in self.rows if e in _INITIAL]
        self.in_use = [(a, s) for e, s, a, _ in self.rows if e == "init_alloc"]
        self.events = [row for row in self.rows if not row[0].startswith("init_")]

    @cached_property
    def expandable(self) -> bool:
        return any(
            event == "segment_map" or event.startswith("init_map") for event, *_ in self.rows
        )

    @cached_property
    def driver_calls(self) -> list[Row]:
        return [row for row in self.events if row[0] in (*_GIVEN, *_RETURNED)]

    @cached_property
    def peak_reserved(self) -> int:
        reserved = peak = sum(size for _, size, *_ in self.segments)
        for event, size, *_ in self.driver_calls:
            reserved += size if event in _GIVEN else -size
            peak = max(peak, reserved)
        return peak

    def allocator(self, **options: Any) -> _core.CachingAllocator:
        made = allocator_with(expandable_segments=self.expandable, **options)
        made.seed(self.segments, self.in_use)
        return made


@dataclass
class Replayed:
    """What a replay with the driver's own addresses did otherwise than the trace."""

    allocator: _core.CachingAllocator
    allocations: int = 0
    differences: list[str] = field(default_factory=list)


def replay(trace: Trace) -> Replayed:
    """The requests again. Given besides: the addresses of new segments, and when memory went back.

    Neither is in the requests: a release is an `empty_cache()` of the program's, or a full device.
    """
    given = iter([address for event, _, address, _ in trace.events if event == "segment_alloc"])
    waiting: list[Row] = []  # driver calls since the last request

    def address(size: int, _: int) -> int:
        # A new expandable segment begins where its first pages are mapped.
        return next(given) if size else waiting[0][2]

    allocator = trace.allocator(addresses=address)
    done = Replayed(allocator)
    at = seen = 0
    releasing = False

    def compare(real: list[Row]) -> None:
        nonlocal seen
        own = allocator.asked(seen)
        seen += len(own)
        if own != real:
            done.differences.append(f"event {at}: asked {own[:3]}, really {real[:3]}")

    for at, (event, size, where, stream) in enumerate(trace.events):
        if releasing and event not in _RETURNED:
            allocator.empty_cache()
            compare(waiting)
            waiting.clear()
            releasing = False
        if event in (*_GIVEN, *_RETURNED):
            waiting.append((event, size, where, stream))
            releasing |= event in _RETURNED
        elif event == "alloc":
            done.allocations += 1
            own = allocator.allocate(size, stream)
            if own != where:
                done.differences.append(f"event {at}: {size} bytes at {own}, really at {where}")
                return done
            compare(waiting)
            waiting.clear()
        elif event == "free_requested":
            allocator.request_free(where)
        elif event == "free_completed":
            allocator.complete_free(where)
        elif event == "oom":
            waiting.clear()
    if releasing:
        allocator.empty_cache()
        compare(waiting)
    return done


def predict(trace: Trace, *, releases: bool = True, **options: Any) -> _core.CachingAllocator:
    """From the requests alone, with addresses that are made up; `releases` are the trace's."""
    allocator = trace.allocator(**options)
    own = {address: address for address, _ in trace.in_use}
    before = ""
    for event, size, where, stream in trace.events:
        if event == "alloc":
            placed = allocator.allocate(size, stream)
            if placed is not None:
                own[where] = placed
        elif event == "free_requested" and where in own:
            allocator.request_free(own[where])
        elif event == "free_completed" and where in own:
            allocator.complete_free(own.pop(where))
        elif releases and event in _RETURNED and before not in _RETURNED:
            allocator.empty_cache()
        before = event
    return allocator


def kinds_and_sizes(calls: list[Row]) -> list[tuple[str, int]]:
    return [(event, size) for event, size, *_ in calls]
