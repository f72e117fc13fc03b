"""Host and device side by side, against a simulation tick by tick."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from hypothesis import given
from hypothesis import strategies as st

import nnprof
from nnprof.hardware import find
from nnprof.results.time_records import Timeline
from nnprof.timing.estimate import estimate, timeline
from tests.cost.calls import linear, meta, traced

if TYPE_CHECKING:
    from nnprof import _core
    from nnprof.hardware import Hardware


def device(name: str, latency: int) -> Hardware:
    known = find(name)
    return replace(known, constants={**known.constants, "launch_latency_s": float(latency)})


def calls(signatures: list[int]) -> tuple[_core.TraceResult, dict[int, int]]:
    """A trace of so many calls: equal numbers make equal calls. And which numbers they got."""

    def run() -> None:
        for number in signatures:
            torch.relu(meta(number + 1))

    result = traced(run)
    ops = result.call_index()["signature"].tolist()
    names = result.signatures()["op"]
    made = [number for number in ops if names[number] == "aten::relu"]
    return result, dict(zip(signatures, made, strict=True))


def ticks(queue: list[tuple[int, int]], latency: int) -> int:
    """Until all is done, where the host needs (host, device) ticks for each call.

    Each tick, the host works on its next call, and the device on the kernel that came first; one
    that the host has queued arrives `latency` ticks later.
    """
    todo, underway = deque(queue), deque[tuple[int, int]]()  # (arrives at, ticks of the device)
    now, host_left, device_left = 0, 0, 0
    current: tuple[int, int] | None = None
    while True:
        while current is None or host_left == 0:  # calls that take the host no time, too
            if current is not None:
                if current[1]:
                    underway.append((now + latency, current[1]))
                current = None
            if not todo:
                break
            current = todo.popleft()
            host_left = current[0]
        if device_left == 0 and underway and underway[0][0] <= now:
            device_left = underway.popleft()[1]
        if current is None and device_left == 0 and not underway:
            return now
        now += 1
        host_left = max(host_left - 1, 0)
        device_left = max(device_left - 1, 0)


durations = st.lists(st.integers(0, 9), min_size=4, max_size=4)
cases = st.lists(st.integers(0, 3), min_size=1, max_size=12)


def laid_out(
    result: _core.TraceResult,
    numbers: dict[int, int],
    host: list[int],
    busy: list[int],
    hardware: Hardware,
) -> Timeline:
    count = len(result.signatures()["op"])
    host_s, seconds = [0.0] * count, [0.0] * count
    for number, signature in numbers.items():
        host_s[signature], seconds[signature] = host[number], busy[number]
    return timeline(result, hardware, seconds, host_s)


@given(cases, durations, durations)
def test_a_cpu_does_both_itself(signatures: list[int], host: list[int], busy: list[int]) -> None:
    result, numbers = calls(signatures)
    found = laid_out(result, numbers, host, busy, device("x86", 7))
    line = sum(host[one] + busy[one] for one in signatures)
    assert (found.wall_s, found.device_s, found.host_s) == (
        line,
        sum(busy[one] for one in signatures),
        sum(host[one] for one in signatures),
    )


@given(
    cases,
    durations,
    durations,
    st.integers(0, 8),
)
def test_a_gpu_works_off_what_the_host_queues(
    signatures: list[int], host: list[int], busy: list[int], latency: int
) -> None:
    result, numbers = calls(signatures)
    found = laid_out(result, numbers, host, busy, device("h100", latency))
    assert found.wall_s == ticks([(host[one], busy[one]) for one in signatures], latency)
    assert found.device_s == sum(busy[one] for one in signatures)
    assert found.host_s == sum(host[one] for one in signatures)
    assert found.wall_s >= max(found.device_s, found.host_s)


def test_the_simulation_itself() -> None:
    assert ticks([(2, 5), (2, 5)], 3) == 2 + 3 + 5 + 5  # the second is there in time
    assert ticks([(5, 1), (5, 1)], 3) == 5 + 5 + 3 + 1  # the device waits
    assert ticks([(5, 0), (1, 2)], 0) == 8
    assert ticks([(1, 2), (50, 0)], 0) == 51  # the host is the last
    assert ticks([(0, 3), (0, 3)], 1) == 7


def test_many_small_calls_are_bound_by_the_host_and_few_large_ones_by_the_device() -> None:
    def verdict(x: torch.Tensor) -> Timeline:
        def run() -> None:
            for _ in range(100):
                torch.relu(x)

        return estimate(traced(run), find("h100")).timeline

    small, large = verdict(meta(10)), verdict(meta(1 << 28))
    assert (small.verdict, large.verdict) == ("host-bound", "device-bound")
    assert small.idle_s > 0.3 * small.wall_s
    assert large.idle_s < 0.01 * large.wall_s
    assert large.wall_s > 100 * 2 * 4 * 2**28 / find("h100").bandwidth


def test_verdicts() -> None:
    for device_s, verdict in ((2.0, "device-bound"), (1.0, "mixed"), (0.5, "host-bound")):
        assert Timeline(device_s, 1.0, 3.0).verdict == verdict
    assert Timeline(2.0, 1.0, 5.0).idle_s == 3
    assert Timeline(2.0, 1.0, 1.5).idle_s == 0


def test_what_a_profile_shows_is_this_line() -> None:
    model = torch.nn.Sequential(*(linear(64, 64) for _ in range(5)))
    profile = nnprof.measure(model, (8, 64), hardware="h100")
    assert profile.times is not None
    line = profile.times.timeline
    assert line == profile.times.estimates.timeline
    assert line.device_s == profile.estimated_s
    assert profile.times.wall_s == line.wall_s
