"""Times of single runs, and whether other processes disturbed them."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnprof.base.contention import observed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Run", "host_seconds", "median_with_interval", "run_watched", "undisturbed"]

#: A run is disturbed when its threads were kept from running for more than this share of it. A
#: quiet machine's own chores take 0.2 to 2 %, one competitor for a core over 50 %.
LOST_SHARE = 0.03

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
    with observed() as disturbance:
        seconds = clock(run)
    return Run(seconds, disturbance.lost)


def undisturbed(runs: Sequence[Run]) -> list[Run]:
    """The runs to believe; where fewer than `MIN_RUNS` were undisturbed, the least disturbed."""
    clean = [run for run in runs if not run.disturbed]
    return clean if len(clean) >= MIN_RUNS else sorted(runs, key=lambda run: run.lost)[:MIN_RUNS]


def median_with_interval(
    values: Sequence[float],
) -> tuple[float, float | None, float | None]:
    """The median and its 95 % confidence interval by ranks; no distribution is assumed.

    The k-th smallest and the k-th largest of n values enclose the median of what they are drawn
    from unless fewer than k fall on one side of it: P = 1 - 2 sum_{i<k} C(n, i) / 2^n. Below six
    values no two reach 95 %, and there is no interval.
    """
    ordered = sorted(values)
    rank, outside = 0, 0.0
    while rank < (len(ordered) - 1) // 2:
        # Whole numbers divided: as floats, both would overflow beyond a thousand values.
        outside += 2 * math.comb(len(ordered), rank) / 2 ** len(ordered)
        if outside > 0.05:
            break
        rank += 1
    if rank == 0:
        return statistics.median(ordered), None, None
    return statistics.median(ordered), ordered[rank - 1], ordered[-rank]
