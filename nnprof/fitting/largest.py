"""The largest batch, or the longest sequence, that fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnprof.errors import InputError, only_nnprof_errors
from nnprof.fitting.fit import Fit, fits

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from nnprof.hardware import Hardware

__all__ = ["Largest", "largest"]

_OVER = ("batch", "sequence")
_LIMIT = 1 << 24


@dataclass(frozen=True)
class Largest:
    """`value` of `over` surely fits, one more does not surely."""

    over: str
    value: int  #: 0: not even 1 fits
    fit: Fit  #: of `value`; of 1 where that does not fit
    runs: int  #: that were traced

    def __str__(self) -> str:
        if self.value == 0:
            return f"not even a {self.over} of 1 fits\n{self.fit}"
        return f"{self.over} {self.value:,} fits\n{self.fit}"


@only_nnprof_errors
def largest(
    model: Callable[..., Any],
    hardware: Hardware | PathLike[str] | str,
    *,
    over: str = "batch",
    **run: Any,
) -> Largest:
    """The largest `over`, "batch" or "sequence", with which a run surely fits on a GPU.

    The rest is as for `fits`. Memory is taken as a polynomial of what grows: that says where to
    look, and a run there says whether it is so.

    Raises InputError as `fits`, and for another `over`.
    """
    if over not in _OVER:
        raise InputError(f"over={over!r}: choose one of {', '.join(_OVER)}")
    if run.get("shape") is not None or run.get("inputs") is not None:
        raise InputError(f"the {over} is what is looked for: leave out shape= and inputs=")
    search = _Search(lambda value: fits(model, hardware, **{**run, over: value}))
    value = search.run()
    return Largest(over, value, search.fits[value or 1], len(search.fits))


class _Search:
    def __init__(self, try_out: Callable[[int], Fit]) -> None:
        self._try_out = try_out
        self.fits: dict[int, Fit] = {}

    def _fits(self, value: int) -> bool:
        if value not in self.fits:
            self.fits[value] = self._try_out(value)
        return self.fits[value].verdict == "yes"

    def run(self) -> int:
        if not self._fits(1):
            return 0
        low, high = 1, 2
        while high <= _LIMIT and self._fits(high):
            low, high = high, high * 2
        if high > _LIMIT:
            return low
        while high - low > 1:
            middle = min(max(self._guess(low, high), low + 1), high - 1)
            if self._fits(middle):
                low = middle
                # Where the guess is right, the one above it says so at once.
                if high - low > 1 and not self._fits(low + 1):
                    high = low + 1
            else:
                high = middle
        return low

    def _guess(self, low: int, high: int) -> int:
        """Where the polynomial through what is known meets what the device has."""
        import numpy as np

        known = sorted(self.fits, key=lambda value: abs(value - low))[:3]
        needs = [self.fits[value].memory.reserved for value in known]
        memory = self.fits[low].memory
        room = memory.total - memory.context - memory.margin
        curve = np.polyfit(known, needs, len(known) - 1)
        values = np.arange(low + 1, high)
        inside = values[np.polyval(curve, values) <= room]
        return int(inside[-1]) if inside.size else (low + high) // 2
