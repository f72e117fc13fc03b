"""What is held in memory: at the peak, after each phase, by module and over time.

Bytes of storages as eager PyTorch allocates and frees them, by what they are held for:

- parameters, buffers; inputs: what was there before.
- KV cache: that of a language model's phase, which it is given or leaves.
- activations: what the forward leaves to the backward; without a backward, all that it makes.
- gradients; optimizer: what it keeps from step to step.
- temporaries: all else, and what the kernel at the peak takes while it runs.

Not in it: workspaces of libraries, the device's context, what fragmentation loses.

By module, at the peak: bytes that a module's own calls made, without those of its children; those
of modules whose paths differ in numbers alone are added up. The model's line has the inputs, too.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnprof.base.units import Unit, format_bytes, format_exact, format_percent
from nnprof.report.options import TableOptions
from nnprof.report.paper import NO_LIMIT, Column, fitting_table, text_of, width_of
from nnprof.results.memory import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Group, RenderableType

    from nnprof.results.memory import Memory
    from nnprof.results.profile import Profile

__all__ = ["document", "peak_line", "render", "verdict_line"]

_NOT_KNOWN = "This profile was saved by a version that did not count memory: measure again."
_MODULES_SHOWN = 20
#: A number between dots: "layers.12.mlp".
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
#: The curve is as high and, at most, as wide as this.
_ROWS, _WIDTH = 6, 100
_BLOCKS = " ▁▂▃▄▅▆▇█"


def render(profile: Profile, options: TableOptions | None = None) -> str:
    """The report as plain text, no wider than `options.width` or the terminal."""
    options = options or TableOptions()
    width = width_of(options)
    return text_of(document(profile, options, width), width)


def document(profile: Profile, options: TableOptions, width: int = NO_LIMIT) -> Group:
    """The report for a rich console of `width` columns."""
    from rich.console import Group
    from rich.text import Text

    memory = profile.memory
    if not memory.known:
        return Group(Text(_NOT_KNOWN))
    sections: list[tuple[str, RenderableType]] = [
        (f"At the peak, {_where(memory)}", _at_peak(memory, width)),
        ("By phase, after its last operator", _by_phase(memory, width)),
        ("By module, at the peak", _by_module(profile, width)),
        (
            f"Over time, beyond the model itself, up to {format_bytes(_beyond(memory))}",
            _curve(memory, width),
        ),
    ]
    hardware = profile.hardware
    if hardware is not None and memory.can_be_on(hardware):
        taken = memory.on(hardware)
        sections.insert(1, (f"On {hardware.title}", Text(str(taken))))
        reserved, phase = taken.timeline["reserved"], memory.timeline["phase"]
        title = f"Reserved over time, up to {format_bytes(taken.reserved)}"
        sections.append((title, _bars(reserved, taken.reserved, phase, width)))
    parts: list[RenderableType] = []
    for title, content in sections:
        parts += [Text(), Text(title, style="bold"), content]
    return Group(*parts[1:])


def peak_line(profile: Profile) -> str:
    """The peak, where it is and what it is made of, in a line."""
    memory = profile.memory
    text = f"{format_exact(memory.peak, Unit.BYTES)} ({format_bytes(memory.peak)}) {_where(memory)}"
    held = sorted(memory.at_peak.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{format_bytes(bytes_)} {_name(kind)}" for kind, bytes_ in held if bytes_)
    text = f"{text}: {parts}" if parts else text
    if profile.hardware is None:
        return text
    there = profile.hardware.memory_bytes
    return f"{text}; {format_percent(memory.peak, there)} of the device's {format_bytes(there)}"


def verdict_line(profile: Profile) -> str | None:
    """Whether the run fits on the profile's GPU, and by how much; None where that is not known."""
    hardware = profile.hardware
    if hardware is None or not profile.memory.can_be_on(hardware):
        return None
    return "; ".join(profile.memory.on(hardware).lines)


def _where(memory: Memory) -> str:
    if memory.peak_op is None:
        return "before the first operator"
    return f"at {memory.peak_op}" + (f" in {memory.peak_module}" if memory.peak_module else "")


def _name(kind: str) -> str:
    return "KV cache" if kind == "kv_cache" else kind


# The tables.


@dataclass(frozen=True)
class _Held:
    """A line: bytes by kind of a phase, a module or all."""

    name: str
    kinds: Mapping[str, int]
    peak: int = 0

    @property
    def total(self) -> int:
        return sum(self.kinds.values())


def _kind_columns() -> list[Column[_Held]]:
    def column(kind: str, spare: int) -> Column[_Held]:
        def cell(line: _Held) -> str:
            return format_bytes(line.kinds[kind]) if line.kinds.get(kind) else ""

        name = _name(kind)
        return Column(name[0].upper() + name[1:], cell, spare=spare)

    return [column(kind, len(KINDS) - number) for number, kind in enumerate(KINDS)]


def _at_peak(memory: Memory, width: int) -> RenderableType:
    lines = [_Held(_name(kind), {kind: held}) for kind, held in memory.at_peak.items() if held]
    lines.sort(key=lambda line: -line.total)
    columns = [
        Column[_Held]("Held for", lambda line: line.name, left=True),
        Column[_Held]("Bytes", lambda line: format_bytes(line.total)),
        Column[_Held]("%", lambda line: format_percent(line.total, memory.peak)),
    ]
    return fitting_table(columns, [*lines, _Held("all", memory.at_peak)], width)


def _by_phase(memory: Memory, width: int) -> RenderableType:
    lines = [_Held(phase, memory.after(phase), memory.peak_of(phase)) for phase in memory.phases]
    columns = [
        Column[_Held]("Phase", lambda line: line.name, left=True),
        Column[_Held]("Peak in it", lambda line: format_bytes(line.peak)),
        Column[_Held]("After it", lambda line: format_bytes(line.total)),
    ]
    return fitting_table([*columns, *_kind_columns()], lines, width)


def _by_module(profile: Profile, width: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    lines = _folded(profile)
    columns = [
        Column[_Held]("Module", lambda line: line.name, left=True, least=24),
        Column[_Held]("Bytes", lambda line: format_bytes(line.total)),
        Column[_Held]("%", lambda line: format_percent(line.total, profile.memory.peak)),
    ]
    shown = fitting_table([*columns, *_kind_columns()], lines[:_MODULES_SHOWN], width)
    return Group(shown, *map(Text, _rest(lines[_MODULES_SHOWN:], profile.memory.peak)))


def _folded(profile: Profile) -> list[_Held]:
    """Modules whose paths differ in numbers alone are one line, the largest line first."""
    kinds: dict[str, Counter[str]] = {}
    modules: Counter[str] = Counter()
    for path, held in profile.memory.by_module.items():
        pattern = _NUMBER.sub("*", path)
        kinds.setdefault(pattern, Counter()).update(held)
        modules[pattern] += 1
    lines = [
        _Held(_label(pattern, modules[pattern]) or profile.facts.name, held)
        for pattern, held in kinds.items()
    ]
    return sorted(lines, key=lambda line: -line.total)


def _label(pattern: str, modules: int) -> str:
    return f"{pattern} (x{modules})" if modules > 1 else pattern


def _rest(lines: Sequence[_Held], peak: int) -> list[str]:
    if not lines:
        return []
    held = sum(line.total for line in lines)
    return [f"and {len(lines)} more: {format_bytes(held)}, {format_percent(held, peak)}"]


# Over time.


def _beyond(memory: Memory) -> int:
    """Bytes at the peak that are not the model's own, which are there all the time."""
    return memory.peak - memory.at_peak["parameters"] - memory.at_peak["buffers"]


def _curve(memory: Memory, width: int) -> RenderableType:
    """The most held beyond the model itself, call by call, and where each phase begins."""
    timeline, beyond = memory.timeline, _beyond(memory)
    return _bars(timeline["highest"] - (memory.peak - beyond), beyond, timeline["phase"], width)


def _bars(heights: Any, highest: int, phase: Any, width: int) -> RenderableType:
    """A column of blocks for some calls each; `highest` is as high as there is room."""
    from rich.console import Group
    from rich.text import Text

    if not len(heights):
        return Text("no operator was called")
    columns = min(len(heights), _WIDTH, width)
    starts = [column * len(heights) // columns for column in range(columns)]
    ends = [*starts[1:], len(heights)]
    steps = len(_BLOCKS) - 1
    levels = [
        round(_ROWS * steps * int(heights[start:end].max()) / (highest or 1))
        for start, end in zip(starts, ends, strict=True)
    ]
    rows = [
        "".join(_BLOCKS[min(max(level - steps * row, 0), steps)] for level in levels)
        for row in reversed(range(_ROWS))
    ]
    names = _phase_names(phase[starts].tolist())[:width]
    return Group(*(Text(row, no_wrap=True) for row in [*rows, names]))


def _phase_names(phase: Sequence[str]) -> str:
    """Each name below the column where its phase begins, as far as there is room."""
    text = ""
    for column, name in enumerate(phase):
        if (column == 0 or name != phase[column - 1]) and len(text) <= column:
            text = f"{text:{column}}{name} "
    return text.rstrip()
