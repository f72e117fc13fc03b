"""Which runs are believed, and what their median is worth."""

from __future__ import annotations

import random
import statistics

import pytest

from nnprof.timing.end_to_end.accelerator import union_of
from nnprof.timing.end_to_end.clock import (
    Run,
    host_seconds,
    median_with_interval,
    run_watched,
    undisturbed,
)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Ranks for 95 %, from tables of the sign test; below six values there are none.
    [
        (1, None, None),
        (3, None, None),
        (5, None, None),
        (6, 1, 6),
        (8, 1, 8),
        (9, 2, 8),
        (10, 2, 9),
        (25, 8, 18),
    ],
)
def test_ranks_of_the_interval(count: int, low: int | None, high: int | None) -> None:
    values = [float(value) for value in range(1, count + 1)]
    random.Random(0).shuffle(values)
    assert median_with_interval(values) == (statistics.median(values), low, high)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    draw = random.Random(1)
    held = 0
    for _ in range(2000):
        _, low, high = median_with_interval([draw.expovariate(1.0) for _ in range(15)])
        assert low is not None
        assert high is not None
        held += low <= 0.6931471805599453 <= high
    assert 0.94 < held / 2000 < 0.99  # 96.5 % for ranks 4 and 12 of 15


def test_disturbed_runs_are_left_out() -> None:
    clean = [Run(1.0, 0.0), Run(1.1, 0.01), Run(1.2, 0.02)]
    assert undisturbed([Run(7.0, 0.5), *clean, Run(2.0, 0.2)]) == clean


def test_the_least_disturbed_stand_in_where_nearly_all_are() -> None:
    runs = [Run(7.0, 0.5), Run(3.0, 0.2), Run(1.0, 0.0), Run(4.0, 0.3)]
    assert undisturbed(runs) == [Run(1.0, 0.0), Run(3.0, 0.2), Run(4.0, 0.3)]


def test_a_run_that_only_computes_loses_less_than_it_took() -> None:
    run = run_watched(host_seconds, lambda: sum(range(100_000)))
    assert run.seconds > 0
    assert run.lost >= 0


def test_overlapping_intervals_count_once() -> None:
    assert union_of([]) == 0
    assert union_of([(5, 6), (0, 2), (1, 3), (1, 2), (3, 4)]) == 5


def test_thousands_of_runs_have_a_median_too() -> None:
    median, low, high = median_with_interval([float(number) for number in range(5001)])
    assert median == 2500
    assert low is not None
    assert high is not None
    assert 2400 < low < 2500 < high < 2600
