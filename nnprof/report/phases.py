"""What each phase of a training step costs; nothing is shown of a forward alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnprof.base.units import Unit, format_percent, format_value
from nnprof.report.paper import Column
from nnprof.results.records import PHASES

if TYPE_CHECKING:
    from nnprof.results.profile import Profile

__all__ = ["Phase", "columns", "phases"]

_COSTS = (
    ("MACs", "macs", Unit.MACS),
    ("FLOPs", "flops", Unit.FLOPS),
    ("Bytes", "bytes", Unit.BYTES),
)


@dataclass(frozen=True)
class Phase:
    """A line of the table."""

    name: str
    calls: int
    macs: int
    flops: int
    bytes: int
    peak: int | None  # bytes held; None where not known


def phases(profile: Profile) -> list[Phase]:
    """The phases that ran, and what of them was computed again; none of a forward alone."""
    ran = [name for name in PHASES if profile.phase(name).calls]
    if ran in ([], ["forward"]):
        return []
    lines = [_phase(profile, name) for name in ran]
    recomputed = _recomputed(profile)
    if recomputed is not None:
        lines.insert(ran.index("backward") + 1, recomputed)
    return lines


def columns(profile: Profile) -> list[Column[Phase]]:
    """The costs with their shares of the whole, and the most that was held."""
    found: list[Column[Phase]] = [
        Column("Phase", lambda line: line.name, left=True, least=12),
        Column("Calls", lambda line: f"{line.calls:,}", spare=3),
    ]
    for title, name, unit in _COSTS:
        found += _cost(title, name, unit, getattr(profile, name))
    return [*found, Column("Peak memory", _peak, spare=2)]


def _cost(title: str, name: str, unit: Unit, whole: int) -> list[Column[Phase]]:
    def value(line: Phase) -> str:
        count = getattr(line, name)
        return format_value(count, unit, with_unit=False) if count else ""

    def share(line: Phase) -> str:
        return format_percent(getattr(line, name), whole) if getattr(line, name) else ""

    return [Column(title, value), Column("%", share, spare=1)]


def _peak(line: Phase) -> str:
    return "" if line.peak is None else format_value(line.peak, Unit.BYTES)


def _phase(profile: Profile, name: str) -> Phase:
    costs, memory = profile.phase(name), profile.memory
    peak = memory.peak_of(name) if memory.known else None
    return Phase(name, costs.calls, costs.macs, costs.flops, costs.bytes, peak)


def _recomputed(profile: Profile) -> Phase | None:
    """What activation checkpointing runs again, which the backward's line has too."""
    ops = profile.ops
    again = ops["recomputed"].astype(bool)
    if not again.any():
        return None
    macs, flops, bytes_ = (int(ops[name][again].sum()) for name in ("macs", "flops", "bytes"))
    return Phase("└─ recomputed", int(again.sum()), macs, flops, bytes_, None)
