"""Calls of attention's kernels, counted query by query."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import nnprof
from tests.rules.costs import meta

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Sees = Callable[[int, int, int, int], bool]


HEADS, WIDTH = 4, 8
#: (left, right) of a window; -1: all.
WINDOWS = list(itertools.product((-1, 0, 2, 100), (-1, 0, 1, 100)))
LENGTHS = [(5, 5), (3, 7), (7, 3), (1, 6), (0, 4), (4, 0)]


def half(*sizes: int) -> Tensor:
    return meta(*sizes, dtype=torch.float16)


def count(documents: Sequence[tuple[int, int]], sees: Sees = lambda i, j, q, k: True) -> int:
    """Pairs of one head, one by one."""
    return sum(
        sees(i, j, queries, keys)
        for queries, keys in documents
        for i in range(queries)
        for j in range(keys)
    )


def windowed(left: int, right: int, *, from_end: bool = True) -> Sees:
    def sees(i: int, j: int, queries: int, keys: int) -> bool:
        own = i + (keys - queries if from_end else 0)
        return (left < 0 or j >= own - left) and (right < 0 or j <= own + right)

    return sees


def starts(lengths: Sequence[int]) -> Tensor:
    return torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)


def profile_of(function: Any, *args: Any, **kwargs: Any) -> nnprof.Profile:
    with torch.no_grad(), nnprof.trace() as running:
        function(*args, **kwargs)
    return running.profile()


def check(profile: nnprof.Profile, pairs: int, seen: int, heads: int = HEADS) -> None:
    """`pairs` and `seen`: of one head; both products are WIDTH wide."""
    assert profile.coverage.generic == {}
    assert profile.macs == 2 * WIDTH * heads * pairs
    hidden = 2 * 2 * WIDTH * heads * (pairs - seen)
    assert profile.flops - profile.flops_executed == hidden
    assert profile.flops_needed is not None
    assert profile.flops - profile.flops_needed == hidden


def packed(lengths: Sequence[tuple[int, int]]) -> tuple[Tensor, ...]:
    queries, keys = zip(*lengths, strict=True)
    q, k = half(sum(queries), HEADS, WIDTH), half(sum(keys), HEADS, WIDTH)
    return q, k, starts(queries), starts(keys)


def check_gradient(profile: nnprof.Profile, pairs: int, seen: int) -> None:
    """Five products of one width are computed, of which four are the mathematics'."""
    assert profile.coverage.generic == {}
    product = 2 * HEADS * WIDTH
    assert profile.macs == 5 * product * pairs // 2
    assert profile.model_flops == 4 * product * pairs
    assert profile.hardware_flops == 5 * product * seen
    assert profile.model_flops_needed == 4 * product * seen
    assert profile.flops - profile.flops_executed == 5 * product * (pairs - seen)
