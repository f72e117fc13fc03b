"""Numbers that count what is done to them: a naive loop over an operator's elements is the oracle.

A loop starts its sums at zero and its maxima at minus infinity, so that a reduction counts one
operation an input element.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Number:
    """No value, only a tally of operations that all numbers made from it share."""

    def __init__(self, tally: Counter[str]) -> None:
        self.tally = tally

    def _count(self, kind: str) -> Number:
        self.tally[kind] += 1
        return self

    def __add__(self, other: object) -> Number:
        return self._count("add")

    __radd__ = __sub__ = __rsub__ = __add__

    def __neg__(self) -> Number:
        return self._count("add")

    def __abs__(self) -> Number:
        return self._count("add")

    def floor(self) -> Number:
        return self._count("add")

    def __mul__(self, other: object) -> Number:
        return self._count("multiply")

    __rmul__ = __mul__

    def __truediv__(self, other: object) -> Number:
        return self._count("division")

    def exp(self) -> Number:
        return self._count("exp")

    log = log1p = exp

    def sqrt(self) -> Number:
        return self._count("sqrt")

    def choose(self, other: object) -> Number:
        """A comparison, a maximum, a selection."""
        return self._count("compare")


class Tally:
    """Makes numbers, and tells what was done to them."""

    def __init__(self) -> None:
        self.tally: Counter[str] = Counter()

    def row(self, length: int) -> list[Number]:
        return [Number(self.tally) for _ in range(length)]

    def rows(self, count: int, length: int) -> list[list[Number]]:
        return [self.row(length) for _ in range(count)]

    @property
    def kinds(self) -> dict[str, int]:
        return {kind: count for kind, count in self.tally.items() if count}


def total(numbers: Iterable[Number], start: Number) -> Number:
    result = start
    for number in numbers:
        result = result + number
    return result


def largest(numbers: Iterable[Number], start: Number) -> Number:
    result = start
    for number in numbers:
        result = result.choose(number)
    return result
