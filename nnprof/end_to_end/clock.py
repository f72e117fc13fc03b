"""Times of single runs, and whether other processes disturbed them."""

from __future__ import annotations

import math
import os
import resource
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Run", "host_seconds", "median_with_interval", "run_watched", "undisturbed"]

#: A run is disturbed when its threads were kept from running for more than this share of it. A
#: quiet machine's own chores take 0.2 to 2 %, one competitor for a core over 50 %.
LOST_SHARE = 0.03

#: What a switch away costs where the kernel does not tell how long threads waited.
_SWITCH_SECONDS = 1e-3
#: Switches a second that a quiet machine makes.
_USUAL_SWITCHES = 50

#: Fewest runs that a median is taken of.
MIN_RUNS = 3


@dataclass(frozen=True)
class Run:
    """One run: its time, and the share of it in which others had the processors."""

    seconds: float
    lost: float

    @property
    def disturbed(self) -> bool:
        return self.lost > LOST_SHARE


def host_seconds(run: Callable[[], object]) -> float:
    """The time of one call. What it returns is freed after the clock has stopped."""
    start = time.perf_counter()
    output = run()
    elapsed = time.perf_counter() - start
    del output
    return elapsed


def run_watched(clock: Callable[[Callable[[], Any]], float], run: Callable[[], object]) -> Run:
    """Takes one time with `clock`, and watches for other processes meanwhile."""
    before, start = _Contention.now(), time.perf_counter()
    seconds = clock(run)
    elapsed, after = time.perf_counter() - start, _Contention.now()
    return Run(seconds, after.lost_since(before, elapsed) / max(elapsed, 1e-9))


def undisturbed(runs: Sequence[Run]) -> list[Run]:
    """The runs to believe; where fewer than `MIN_RUNS` were undisturbed, the least disturbed."""
    clean = [run for run in runs if not run.disturbed]
    return clean if len(clean) >= MIN_RUNS else sorted(runs, key=lambda run: run.lost)[:MIN_RUNS]


def median_with_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median and its 95 % confidence interval by ranks; no distribution is assumed.

    The k-th smallest and the k-th largest of n values enclose the median of what they are drawn
    from unless fewer than k fall on one side of it: P = 1 - 2 sum_{i<k} C(n, i) / 2^n. Below six
    values no two reach 95 %, and the interval is their range.
    """
    ordered = sorted(values)
    rank, outside = 0, 0.0
    while rank < (len(ordered) - 1) // 2:
        # Whole numbers divided: as floats, both would overflow beyond a thousand values.
        outside += 2 * math.comb(len(ordered), rank) / 2 ** len(ordered)
        if outside > 0.05:
            break
        rank += 1
    rank = max(rank - 1, 0)
    return statistics.median(ordered), ordered[rank], ordered[-1 - rank]


class _Contention(NamedTuple):
    """Counters that go up while others have what this process could use."""

    waited: float | None  # seconds that threads of ours were ready to run and did not
    switches: int
    stolen: float  # seconds that the machine under a virtual one kept for itself

    @classmethod
    def now(cls) -> _Contention:
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        return cls(_waited_seconds(), switches, _stolen_seconds())

    def lost_since(self, before: _Contention, elapsed: float) -> float:
        stolen = self.stolen - before.stolen
        if self.waited is not None and before.waited is not None:
            return max(self.waited - before.waited, 0.0) + stolen
        unusual = self.switches - before.switches - _USUAL_SWITCHES * elapsed
        return max(unusual, 0.0) * _SWITCH_SECONDS + stolen


def _waited_seconds() -> float | None:
    """Of all threads, in /proc/self/task/*/schedstat: run time, waiting time, slices."""
    waited = 0
    try:
        for thread in os.listdir("/proc/self/task"):
            try:
                waited += int(Path(f"/proc/self/task/{thread}/schedstat").read_bytes().split()[1])
            except (ProcessLookupError, FileNotFoundError):
                continue
    except (OSError, IndexError, ValueError):  # no Linux, or a kernel without the statistics
        return None
    return waited / 1e9


def _stolen_seconds() -> float:
    try:
        first = Path("/proc/stat").read_bytes().partition(b"\n")[0].split()
        return int(first[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0
