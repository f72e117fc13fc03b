"""Sizes of memory as people write them: "24GB", "1.5 GiB"."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CARD", "PLAIN", "bytes_of", "looks_like_size"]

_SIZE = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_BINARY = {"MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
#: Bytes of a unit, as it is defined.
PLAIN = {"MB": 10**6, "GB": 10**9, "TB": 10**12, **_BINARY}
#: And as cards are sold: one of "80GB" has 80 GiB.
CARD = {"MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40, **_BINARY}


def looks_like_size(text: str) -> bool:
    """Is it a number, with a unit or with what could be one?"""
    return _SIZE.fullmatch(text) is not None


def bytes_of(name: str, size: str | float, units: Mapping[str, int] = PLAIN) -> int:
    """The bytes of a size with one of the `units` (capitals do not matter), or of that many bytes.

    Raises InputError, about `name`: no size, no unit or an unknown one, or no more than 0 bytes.
    """
    count = _read(name, size, units) if isinstance(size, str) else _number(name, size)
    if not math.isfinite(count) or round(count) <= 0:
        raise InputError(f"{name}={size!r} must be more than 0 bytes, and finite")
    return round(count)


def _read(name: str, text: str, units: Mapping[str, int]) -> float:
    size = _SIZE.fullmatch(text)
    if size is None:
        raise InputError(f"{name}={text!r} is no size: write it like '24GB'")
    number, unit = size.groups()
    if not unit:
        raise InputError(f"{name}={text!r} is a size without a unit: write '{number}GB'")
    known = {one.lower(): count for one, count in units.items()}
    if unit.lower() not in known:
        raise InputError(f"{name}={text!r}: {unit!r} is none of the units {', '.join(units)}")
    return float(number) * known[unit.lower()]


def _number(name: str, size: float) -> float:
    try:
        return float(size)
    except (TypeError, ValueError):
        raise InputError(
            f"{name}={size!r} must be a size such as '24GB', or a number of bytes"
        ) from None
