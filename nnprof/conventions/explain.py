"""The number of each convention, and what makes it another than our FLOPs."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

from nnprof.conventions.calls import calls_of
from nnprof.conventions.tables import CONVENTIONS
from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nnprof.conventions.calls import Call
    from nnprof.conventions.vocabulary import Convention, Rule
    from nnprof.results.records import TraceData

__all__ = ["Explanation", "Part", "explain", "flops_as"]


@dataclass
class Part:
    """The calls of one operator that a tool counts, or those that it does not."""

    op: str
    counted: bool
    macs: int = 0
    flops: int = 0
    theirs: int = 0

    @property
    def ours_beyond_macs(self) -> int:
        """Our FLOPs that are no contraction's: of biases, softmax, elementwise work."""
        return self.flops - 2 * self.macs

    def theirs_beyond_macs(self, per_mac: int) -> int:
        """What the tool counts besides `per_mac` for each MAC."""
        return self.theirs - per_mac * self.macs


@dataclass(frozen=True)
class Explanation:
    """One tool's number by its convention, part by part."""

    convention: Convention
    parts: tuple[Part, ...]
    #: Why the tool may print something else, and how much more that is (negative: less).
    quirks: tuple[tuple[str, int], ...] = field(default=())

    @property
    def number(self) -> int:
        """What the convention makes of the whole model, in the convention's unit."""
        return sum(part.theirs for part in self.parts)

    def why_printed(self, printed: int) -> tuple[str, ...] | None:
        """The quirks that lead from the number to what was printed; None where none do."""
        for count in range(len(self.quirks) + 1):
            for chosen in combinations(self.quirks, count):
                if self.number + sum(amount for _, amount in chosen) == printed:
                    return tuple(reason for reason, _ in chosen)
        return None


def flops_as(data: TraceData, tool: str) -> int:
    """What the conventions of `tool` make of the recorded calls of the forward.

    Raises `InputError` for a tool that is not known, with the names of those that are.
    """
    convention = _find(tool)
    return sum(_amount(convention.rules, call) for call in calls_of(data))


def explain(data: TraceData) -> list[Explanation]:
    """Every convention's number with its parts, in the order of the table."""
    calls = calls_of(data)
    return [_explain(convention, calls) for convention in CONVENTIONS]


def _find(tool: str) -> Convention:
    for convention in CONVENTIONS:
        if convention.name == tool:
            return convention
    names = ", ".join(convention.name for convention in CONVENTIONS)
    raise InputError(f"no tool {tool!r} is known: choose one of {names}")


def _explain(convention: Convention, calls: list[Call]) -> Explanation:
    parts: dict[tuple[str, bool], Part] = {}
    for call in calls:
        theirs = _amount(convention.rules, call)
        part = parts.setdefault((call.op, theirs > 0), Part(call.op, theirs > 0))
        part.macs += call.macs * call.times
        part.flops += call.flops * call.times
        part.theirs += theirs
    quirks = (
        (quirk.reason, sum(_amount(quirk.rules, call) for call in calls))
        for quirk in convention.quirks
    )
    return Explanation(
        convention, tuple(parts.values()), tuple(quirk for quirk in quirks if quirk[1])
    )


def _amount(rules: Iterable[Rule], call: Call) -> int:
    """What the first rule that holds counts of a call, as often as it was made."""
    for rule in rules:
        if rule.holds(call):
            return rule.count(call) * call.times
    return 0
