"""Why the tools disagree: each one's number by its convention, and what it makes of our FLOPs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from nnprof.base.units import Unit, format_exact, format_value
from nnprof.conventions.vocabulary import ATTENTION, CONVOLUTION, LINEAR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from nnprof.conventions import Explanation, Part
    from nnprof.conventions.tools import Printed
    from nnprof.results.profile import Profile

__all__ = ["document", "reasons", "render"]

_SHOWN = 4
_WIDTH = 120


def render(
    profile: Profile, explanations: list[Explanation], printed: Mapping[str, Printed]
) -> str:
    """The table as plain text."""
    from rich.console import Console

    text = StringIO()
    console = Console(file=text, width=_WIDTH, no_color=True, force_terminal=False)
    console.print(document(profile, explanations, printed))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def document(
    profile: Profile, explanations: list[Explanation], printed: Mapping[str, Printed]
) -> Table:
    """The table for a rich console: ours first, then a row a tool.

    `printed` holds what tools really printed, by name; empty where none was run.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_lines=False)
    table.add_column("Tool", no_wrap=True)
    table.add_column("By its convention", justify="right", no_wrap=True)
    table.add_column("x ours", justify="right", no_wrap=True)
    if printed:
        table.add_column("Printed", justify="right", no_wrap=True)
    table.add_column("Why", ratio=1, overflow="fold")
    ours = ["nnprof", format_value(profile.flops, Unit.FLOPS), "1.000"]
    every = "all floating-point operations: 2 x MACs and what everything else computes"
    table.add_row(*map(Text, [*ours, *([""] if printed else []), every]))
    for one in explanations:
        name, unit = one.convention.name, one.convention.unit
        cells = [name, format_value(one.number, unit), _ratio(one.number, profile.flops)]
        if printed:
            cells.append(_printed(printed[name], unit))
        why = "\n".join(f"- {line}" for line in reasons(one, printed.get(name)))
        table.add_row(*map(Text, [*cells, why]))
    return table


def _ratio(number: int, flops: int) -> str:
    return f"{number / flops:.3f}" if flops else ""


def _printed(printed: Printed, unit: Unit) -> str:
    return "-" if printed.number is None else format_value(printed.number, unit)


def reasons(one: Explanation, printed: Printed | None = None) -> list[str]:
    """Why the number is not our FLOPs, and why what was printed is not the number."""
    lines = [one.convention.counts]
    if one.convention.unit is Unit.MACS:
        lines.append("a multiply-add counts as 1, ours as 2")
    left_out, otherwise = _differences(one)
    if left_out:
        lines.append("leaves out " + _largest(left_out))
    lines += [
        f"counts {other.what} as {_amount(other.theirs)}, ours is {_amount(other.ours)}"
        for other in otherwise[:_SHOWN]
    ]
    return lines + (_may_print(one) if printed is None else _did_print(one, printed))


def _may_print(one: Explanation) -> list[str]:
    return [f"may print {_signed(amount)}: {reason}" for reason, amount in one.quirks]


def _did_print(one: Explanation, printed: Printed) -> list[str]:
    if printed.number is None:
        return [printed.note]
    found = format_exact(printed.number)
    if abs(printed.number - one.number) <= printed.rounding:
        return [f"printed {found}, as expected ({printed.note})"]
    line = f"printed {found} ({printed.note}), {_signed(printed.number - one.number)}"
    why = one.why_printed(printed.number)
    if why:
        return [f"{line}: {'; '.join(why)}"]
    unknown = f"{line}, for a reason that is not known; it may be among these:"
    return [unknown, *_may_print(one), *one.convention.notes]


# Where the number leaves our FLOPs.


@dataclass(frozen=True)
class _Otherwise:
    """An operator that both count, each in its own way."""

    what: str
    theirs: int
    ours: int


def _differences(one: Explanation) -> tuple[Counter[str], list[_Otherwise]]:
    """Our FLOPs that the tool leaves out, and what it counts in another way; MACs' unit aside."""
    per_mac = 1 if one.convention.unit is Unit.MACS else 2
    left_out: Counter[str] = Counter()
    otherwise = []
    for part in one.parts:
        theirs, ours = part.theirs_beyond_macs(per_mac), part.ours_beyond_macs
        if not part.counted:
            left_out[part.op] += part.flops
        elif not theirs:
            left_out[_besides(part)] += ours
        elif theirs != ours:
            otherwise.append(_Otherwise(_besides(part), theirs, ours))
    otherwise.sort(key=lambda other: -abs(other.theirs - other.ours))
    return +left_out, otherwise


def _besides(part: Part) -> str:
    """What an operator computes besides its MACs."""
    if not part.macs:
        return part.op
    if part.op in (*CONVOLUTION, *LINEAR):
        return f"biases of {part.op}"
    return "softmax in attention" if part.op in ATTENTION else f"{part.op} beyond its MACs"


def _largest(left_out: Counter[str]) -> str:
    named = [f"{what} {_amount(flops)}" for what, flops in left_out.most_common(_SHOWN)]
    rest = left_out.most_common()[_SHOWN:]
    if rest:
        named.append(f"{len(rest)} more {_amount(sum(flops for _, flops in rest))}")
    return ", ".join(named) + " (our FLOPs)"


def _amount(count: int) -> str:
    return format_value(count)


def _signed(count: int) -> str:
    return f"{_amount(abs(count))} {'more' if count > 0 else 'less'}"
