"""Bounds of a row of the ladder, and what is judged of them."""

from __future__ import annotations

import pytest

from benchmarks.what_ifs import Bounds

ALLOWED = 0.5


@pytest.mark.parametrize(
    ("bounds", "real", "off"),
    [
        (Bounds(2.0, 2.0), 2.0, 0.0),
        (Bounds(2.0, 2.0), 1.0, 1.0),
        (Bounds(2.0, 2.25), 2.125, 0.0),
        (Bounds(2.0, 9.0), 10.0, 1.0),
        (Bounds(2.0, 9.0), 5.0, None),
    ],
)
def test_what_lies_between_wide_bounds_is_not_judged(
    bounds: Bounds, real: float, off: float | None
) -> None:
    assert bounds.distance(real, ALLOWED) == off


def test_a_change_from_one_pair_of_bounds_to_another_is_as_wide_as_both() -> None:
    assert Bounds(5.0, 6.0) - Bounds(1.0, 3.0) == Bounds(2.0, 5.0)


def test_shows_one_number_where_it_has_one() -> None:
    assert f"{Bounds(1.0, 1.0):.1f} and {Bounds(1.0, 2.0):.1f}" == "1.0 and 1.0 to 2.0"
