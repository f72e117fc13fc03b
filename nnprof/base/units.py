"""Numbers as people read them, with units that cannot be taken for one another."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Unit",
    "format_bytes",
    "format_exact",
    "format_interval",
    "format_percent",
    "format_shape",
    "format_shapes",
    "format_value",
]

_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y", "R", "Q")
_SHAPES_SHOWN = 2


class Unit(Enum):
    """What a metric counts. The value is what follows the decimal prefix: "4.09 GMACs"."""

    ELEMENTS = ""
    MACS = "MACs"
    FLOPS = "FLOPs"
    BYTES = "B"
    SECONDS = "s"
    FLOP_RATE = "FLOP/s"


def format_value(value: float, unit: Unit = Unit.ELEMENTS, *, with_unit: bool = True) -> str:
    """`value` to four digits with a decimal prefix: "4.089 GMACs", "25.56 M", "102.2 MB".

    Prefixes are powers of 1000 for bytes too, as in the bandwidths that bytes are held against.
    With `with_unit=False`, for a column whose title names the unit, only the prefix is written;
    bytes keep their B, so that a size is never taken for a count. Seconds are "12.3 µs", "4.56 ms",
    "1.234 s", and keep their s likewise.
    """
    if unit is Unit.SECONDS:
        return _format_seconds(value)
    suffix = unit.value if with_unit or unit is Unit.BYTES else ""
    scaled, prefix = _scale(value)
    digits = f"{scaled:#.4g}" if prefix else f"{scaled:.0f}"
    return f"{digits} {prefix}{suffix}".rstrip()


def _format_seconds(seconds: float) -> str:
    """To three digits, and to four from a second on: times are known no better."""
    if abs(seconds) >= 0.9995:
        return (
            f"{seconds:.3f} s" if abs(seconds) < 9.9995 else f"{seconds:,.{_decimals(seconds)}f} s"
        )
    for factor, prefix in ((1e3, "m"), (1e6, "µ")):
        if abs(seconds) * factor >= 0.9995:
            return f"{_three_digits(seconds * factor)} {prefix}s"
    return f"{_three_digits(seconds * 1e9)} ns" if seconds else "0 s"


def format_bytes(size: float) -> str:
    """12.34 GB."""
    return format_value(size, Unit.BYTES)


def format_interval(low: float | None, high: float | None) -> str:
    """Two ends in seconds: "[1.11, 1.33] ms"; nothing where they are not known."""
    if low is None or high is None:
        return ""
    ends = [_format_seconds(low), _format_seconds(high)]
    numbers, units = zip(*(end.split(" ") for end in ends), strict=True)
    if units[0] == units[1]:
        return f"[{numbers[0]}, {numbers[1]}] {units[0]}"
    return f"[{ends[0]}, {ends[1]}]"


def _decimals(seconds: float) -> int:
    return 2 if abs(seconds) < 99.995 else 1 if abs(seconds) < 999.95 else 0


def _three_digits(value: float) -> str:
    size = abs(value)
    return f"{value:.{2 if size < 9.995 else 1 if size < 99.95 else 0}f}"


def _scale(value: float) -> tuple[float, str]:
    for prefix in _PREFIXES[:-1]:
        # 999.95 would be written 1000 of the smaller prefix.
        if abs(value) < 999.95:
            return value, prefix
        value /= 1000
    return value, _PREFIXES[-1]


def format_exact(value: int, unit: Unit = Unit.ELEMENTS) -> str:
    """Every digit, in groups of three: "4,089,184,256 MACs"."""
    name = "bytes" if unit is Unit.BYTES else unit.value
    return f"{value:,} {name}".rstrip()


def format_percent(part: float, whole: float) -> str:
    """The share of `part` in `whole`: "41.3%"; nothing where there is no whole."""
    return f"{100 * part / whole:.1f}%" if whole else ""


def format_shape(shapes: Sequence[Sequence[int]]) -> str:
    """The first of the shapes, with a count of the others: "[1, 197, 768] +1"."""
    if not shapes:
        return ""
    first = "[" + ", ".join(map(str, shapes[0])) + "]"
    return first if len(shapes) == 1 else f"{first} +{len(shapes) - 1}"


def format_shapes(shapes: Sequence[Sequence[int]]) -> str:
    """The first two of the shapes, closely, with a count of the others: "[8,64] [64,64] +1"."""
    shown = ["[" + ",".join(map(str, shape)) + "]" for shape in shapes[:_SHAPES_SHOWN]]
    more = len(shapes) - _SHAPES_SHOWN
    return " ".join([*shown, f"+{more}"] if more > 0 else shown)
