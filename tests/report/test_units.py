"""Numbers as text."""

from __future__ import annotations

import pytest

from nnprof.base.units import (
    Unit,
    format_exact,
    format_interval,
    format_percent,
    format_shape,
    format_shapes,
    format_value,
)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, Unit.ELEMENTS, "0"),
        (999, Unit.ELEMENTS, "999"),
        (999_960, Unit.ELEMENTS, "1.000 M"),
        (25_557_032, Unit.ELEMENTS, "25.56 M"),
        (4_089_184_256, Unit.MACS, "4.089 GMACs"),
        (613_338_509_737_984, Unit.FLOPS, "613.3 TFLOPs"),
        (512, Unit.BYTES, "512 B"),
        (1_048_576, Unit.BYTES, "1.049 MB"),
        (10**22, Unit.FLOPS, "10.00 ZFLOPs"),
        (4 * 10**30, Unit.FLOPS, "4.000 QFLOPs"),
        (10**34, Unit.FLOPS, "1.000e+04 QFLOPs"),
        (7.764e12, Unit.FLOP_RATE, "7.764 TFLOP/s"),
        (0, Unit.SECONDS, "0 s"),
        (3.2e-10, Unit.SECONDS, "0.32 ns"),
        (1.23e-5, Unit.SECONDS, "12.3 µs"),
        (9.996e-6, Unit.SECONDS, "10.0 µs"),
        (9.996e-4, Unit.SECONDS, "1.00 ms"),
        (4.56e-3, Unit.SECONDS, "4.56 ms"),
        (0.9996, Unit.SECONDS, "1.000 s"),
        (1.234, Unit.SECONDS, "1.234 s"),
        (99.996, Unit.SECONDS, "100.0 s"),
        (12_345.6, Unit.SECONDS, "12,346 s"),
    ],
)
def test_values_carry_their_unit(value: float, unit: Unit, text: str) -> None:
    assert format_value(value, unit) == text


def test_a_column_that_names_the_unit_leaves_it_out_but_for_bytes_and_seconds() -> None:
    assert format_value(1_500, Unit.MACS, with_unit=False) == "1.500 k"
    assert format_value(1_500, Unit.BYTES, with_unit=False) == "1.500 kB"
    assert format_value(0.25, Unit.SECONDS, with_unit=False) == "250 ms"


def test_exact_values_keep_every_digit() -> None:
    assert format_exact(4_089_184_256, Unit.MACS) == "4,089,184,256 MACs"
    assert format_exact(7, Unit.BYTES) == "7 bytes"
    assert format_exact(25_557_032) == "25,557,032"


def test_a_share_of_nothing_is_blank() -> None:
    assert format_percent(1, 8) == "12.5%"
    assert format_percent(0, 0) == ""


def test_shapes() -> None:
    assert format_shape([[1, 2], [3]]) == "[1, 2] +1"
    assert format_shape([[]]) == "[]"
    assert format_shape([]) == ""
    assert format_shapes([[8, 64], [64, 64], [64]]) == "[8,64] [64,64] +1"
    assert format_shapes([]) == ""


def test_intervals_name_their_unit_once() -> None:
    assert format_interval(1.11e-3, 1.33e-3) == "[1.11, 1.33] ms"
    assert format_interval(9.9e-4, 1.33e-3) == "[990 µs, 1.33 ms]"
    assert format_interval(None, 1.0) == ""
