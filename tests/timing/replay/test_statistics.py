"""Order statistics against their definitions, by brute force."""

from __future__ import annotations

import math
import random
from statistics import median

import pytest

from nnprof import _core


def probability_of_missing(count: int, rank: int) -> float:
    """That a fair coin thrown `count` times shows fewer than `rank` heads, or tails."""
    return 2 * sum(math.comb(count, heads) for heads in range(rank)) / 2**count


def best_rank(count: int) -> int:
    """The narrowest interval of ranks that misses the median with at most 2.5 %; 0: none does."""
    ranks = range(1, (count + 1) // 2 + 1)
    return max([rank for rank in ranks if probability_of_missing(count, rank) <= 0.025] or [0])


@pytest.mark.parametrize("count", range(1, 61))
def test_summary(count: int) -> None:
    generator = random.Random(count)
    samples = [generator.lognormvariate(0, 1) for _ in range(count)]
    ordered = sorted(samples)
    rank = best_rank(count)
    interval = (ordered[rank - 1], ordered[count - rank]) if rank else (None, None)
    expected = (pytest.approx(median(samples)), *interval, ordered[0])
    assert _core.summarize_samples(samples) == expected


def test_few_samples_have_no_interval() -> None:
    assert [best_rank(count) for count in range(1, 9)] == [0, 0, 0, 0, 0, 0, 1, 1]
    assert _core.summarize_samples([1.0, 1.002])[1:3] == (None, None)


def test_ten_samples_are_the_known_case() -> None:
    assert best_rank(10) == 2
    assert probability_of_missing(10, 2) == pytest.approx(0.021, abs=1e-3)


def test_the_interval_covers_the_median() -> None:
    generator = random.Random(0)
    hits = 0
    for _ in range(2000):
        _, low, high, _ = _core.summarize_samples([generator.random() for _ in range(10)])
        assert low is not None
        assert high is not None
        hits += low <= 0.5 <= high
    assert hits / 2000 > 0.965
