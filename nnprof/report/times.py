"""How long it takes: by layer, by unique call, in all, and how far the estimates are off.

By layer, of all its calls, children included; equal siblings are one row, as in the table:

- Estimated, ±: seconds that the device should take, by which they are off typically, and the share
  of the whole.
- Measured, Interval: seconds that those calls took which were measured, and where their true
  medians lie. "> 1.2 ms" leaves calls out, "-" all of them.
- Not measured: share of the estimated time that Measured leaves out, and why; "scaled" where a part
  of the batch was timed.
- Ratio: estimated over measured, of what was measured.
- Bound: what limits most of the time: compute, memory, launch (too small to fill the device).
- Of peak: FLOPs a second over what the device could do at most in the calls' precisions.

By unique call (an operator with these shapes, dtypes and settings), those that take 95 % of the
time, forty at most; the same columns for one call, and:

- Calls: how often the model makes it. Total, %: of all calls, measured where it was.
- Warm: measured with the weights in the cache. Measured is with weights that are not, as in a model
  larger than it; the truth of a small model lies between.
- FLOPs/B: operational intensity, FLOPs for each byte moved.
- Flags: "scaled" (a part of the batch was timed), "view" (takes no time), why it was not measured,
  and "1 sample" where too few were taken for an interval to be known. A number in parentheses is
  that of a note below.

Errors, by class of operator: shares of the measured time. MAPE is the mean absolute error, Bias the
median of the signed one (above 0: estimated too long), By time is weighted by the measured seconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnprof.base.units import (
    Unit,
    format_interval,
    format_percent,
    format_shapes,
    format_value,
)
from nnprof.report import table, time_notes, tree
from nnprof.report.options import TableOptions
from nnprof.report.paper import NO_LIMIT, Column, fitting_table, text_of, width_of
from nnprof.results.times import INTERVAL_SAMPLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Group, RenderableType

    from nnprof.hardware.fit import Errors
    from nnprof.results.profile import Profile
    from nnprof.results.times import LayerTimes, SignatureTimes, Times

__all__ = ["document", "render"]

_NO_TIMES = (
    'No times are known: measure(..., hardware="h200") estimates them for a device, '
    'measure(..., device="cuda") measures them too (--hardware and --device on the command line).'
)
#: Unique calls are shown up to this share of the time, and so many at most.
_SHARE_SHOWN = 0.95
_CALLS_SHOWN = 40
#: A share that rounds to 0.0%.
_NOTHING = 0.0005


def render(profile: Profile, options: TableOptions | None = None) -> str:
    """The report as plain text, no wider than `options.width` or the terminal."""
    options = options or TableOptions()
    width = width_of(options)
    return text_of(document(profile, options, width), width)


def document(profile: Profile, options: TableOptions, width: int = NO_LIMIT) -> Group:
    """The report for a rich console of `width` columns."""
    from rich.console import Group
    from rich.text import Text

    times = profile.times
    if times is None:
        return Group(Text(_NO_TIMES))
    sections: list[tuple[str, list[RenderableType]]] = [
        ("By layer, of all calls", _by_layer(profile, options, width)),
        ("By unique call, of one call", _by_call(profile, times, width)),
        ("In all", [table.note_text(note) for note in time_notes.notes(profile)]),
        ("Errors of the estimates", _errors(profile, times, width)),
    ]
    parts: list[RenderableType] = []
    if times.measurements is not None:
        # Before any number: whether to believe them.
        parts.append(table.note_text(("Verdict", time_notes.verdict(times))))
    for title, content in sections:
        if content:
            parts += [Text(), Text(title, style="bold"), *content]
    return Group(*(parts if times.measurements is not None else parts[1:]))


def _seconds(value: float | None) -> str:
    return "" if value is None else format_value(value, Unit.SECONDS)


def _share(value: float | None) -> str:
    return "" if value is None else format_percent(value, 1)


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


# By layer.


@dataclass(frozen=True)
class _Layer:
    """A line of the tree, with what is known of its time."""

    module: str
    type: str
    times: LayerTimes


def _by_layer(profile: Profile, options: TableOptions, width: int) -> list[RenderableType]:
    root = tree.build(profile.layers[0], options.sort)
    depth = tree.best_depth(root) if options.depth is None else options.depth
    rows = [
        _Layer(table.module_cell(row, profile), row.node.type, row.node.times)
        for row in tree.rows(root, depth)
        if row.node.times is not None
    ]
    return [fitting_table(_layer_columns(rows[0].times), rows, width)]


def _layer_columns(whole: LayerTimes) -> list[Column[_Layer]]:
    def percent(row: _Layer) -> str:
        share = format_percent(row.times.estimated_s, whole.estimated_s)
        return share if row.times.estimated_s else ""

    return [
        Column("Module", lambda row: row.module, left=True, least=32),
        Column("Type", lambda row: row.type, left=True, spare=7),
        Column("Estimated", lambda row: _seconds(row.times.estimated_s or None)),
        Column("±", lambda row: _seconds(row.times.error_s or None), spare=5),
        Column("%", percent, spare=3),
        Column("Measured", lambda row: _measured_part(row.times)),
        Column("Interval", lambda row: format_interval(row.times.low_s, row.times.high_s), spare=6),
        Column("Ratio", lambda row: _ratio(row.times.ratio), spare=1),
        Column("Bound", lambda row: row.times.bound, left=True, spare=2),
        Column("Of peak", lambda row: _share(row.times.peak_share), spare=4),
        Column("Not measured", lambda row: _left_out(row.times), left=True, least=12),
    ]


def _measured_part(times: LayerTimes) -> str:
    left_out = (times.unmeasured or 0.0) > _NOTHING
    if times.measured_s is None:
        return "-" if left_out else ""
    return ("> " if left_out else "") + _seconds(times.measured_s)


def _left_out(times: LayerTimes) -> str:
    """How much was not measured and why, and whether what was is scaled."""
    reasons = [flag for flag in times.flags if flag != "scaled"]
    text = ""
    if (times.unmeasured or 0.0) > _NOTHING:
        text = ": ".join(filter(None, (_share(times.unmeasured), ", ".join(reasons))))
    scaled = "scaled" if "scaled" in times.flags else ""
    return "; ".join(filter(None, (text, scaled)))


# By unique call.


@dataclass(frozen=True)
class _Call:
    """A unique call, with what the trace knows of its inputs."""

    times: SignatureTimes
    inputs: str
    dtype: str
    asked: bool  # whether it was to be measured
    footnote: int = 0

    @property
    def measured(self) -> str:
        if self.times.measured_s is None:
            return "-" if self.asked else ""
        return _seconds(self.times.measured_s)

    @property
    def flags(self) -> str:
        times = self.times
        flags = [] if times.status == "measured" else [times.status]
        if times.measured_s is not None and times.samples < INTERVAL_SAMPLES:
            flags.append(f"{times.samples} sample{'s' if times.samples != 1 else ''}")
        text = ", ".join(filter(None, flags))
        return f"{text} ({self.footnote})".lstrip() if self.footnote else text


def _by_call(profile: Profile, times: Times, width: int) -> list[RenderableType]:
    from rich.text import Text

    ranked = sorted(times.by_signature, key=lambda one: -one.total_s)
    whole = sum(one.total_s for one in ranked)
    shown = _most(ranked, whole)
    footnotes = {note: n for n, note in enumerate(_distinct_notes(shown), 1)}
    calls = _calls(profile, times, shown, footnotes)
    parts: list[RenderableType] = [fitting_table(_call_columns(whole), calls, width)]
    if len(ranked) > len(shown):
        parts.append(Text(_rest(ranked[len(shown) :], whole)))
    parts += [table.note_text((f"({number})", note)) for note, number in footnotes.items()]
    return parts


def _most(ranked: Sequence[SignatureTimes], whole: float) -> list[SignatureTimes]:
    """Those that make up most of the time."""
    shown: list[SignatureTimes] = []
    so_far = 0.0
    for one in ranked[:_CALLS_SHOWN]:
        if shown and so_far >= _SHARE_SHOWN * whole:
            break
        shown.append(one)
        so_far += one.total_s
    return shown


def _distinct_notes(those: Sequence[SignatureTimes]) -> list[str]:
    return list(dict.fromkeys(one.note for one in those if one.note))


def _calls(
    profile: Profile,
    times: Times,
    those: Sequence[SignatureTimes],
    footnotes: Mapping[str, int],
) -> list[_Call]:
    known = profile.data.signatures()
    return [
        _Call(
            one,
            format_shapes(known["input_shapes"][one.signature]),
            str(known["dtype"][one.signature]),
            times.measurements is not None,
            footnotes.get(one.note, 0),
        )
        for one in those
    ]


def _call_columns(whole: float) -> list[Column[_Call]]:
    def percent(row: _Call) -> str:
        return format_percent(row.times.total_s, whole)

    def interval(row: _Call) -> str:
        return format_interval(row.times.low_s, row.times.high_s)

    def intensity(row: _Call) -> str:
        value = row.times.operational_intensity
        return "" if value is None else f"{value:.1f}"

    return [
        Column("Op", lambda row: time_notes.short_op(row.times.op), left=True, least=12),
        Column("Class", lambda row: row.times.op_class, left=True, spare=11),
        Column("Inputs", lambda row: row.inputs, left=True, spare=1, least=24),
        Column("Dtype", lambda row: row.dtype, left=True, spare=8),
        Column("Calls", lambda row: str(row.times.calls), spare=3),
        Column("Estimated", lambda row: _seconds(row.times.estimated_s)),
        Column("±", lambda row: format_percent(row.times.error, 1), spare=12),
        Column("Measured", lambda row: row.measured),
        Column("Interval", interval, spare=9),
        Column("Warm", lambda row: _seconds(row.times.warm_s), spare=7),
        Column("Total", lambda row: _seconds(row.times.total_s)),
        Column("%", percent, spare=5),
        Column("Ratio", lambda row: _ratio(row.times.ratio), spare=2),
        Column("Bound", lambda row: row.times.bound, left=True, spare=4),
        Column("FLOPs/B", intensity, spare=10),
        Column("Of peak", lambda row: _share(row.times.peak_share), spare=6),
        Column("Flags", lambda row: row.flags, left=True, least=12),
    ]


def _rest(those: Sequence[SignatureTimes], whole: float) -> str:
    seconds = sum(one.total_s for one in those)
    calls = sum(one.calls for one in those)
    text = f"and {len(those)} more: {calls:,} call{'s' if calls != 1 else ''}"
    text += f", {_seconds(seconds)}, {format_percent(seconds, whole)}"
    flagged = Counter(one.status for one in those if one.status not in ("", "measured"))
    named = ", ".join(f"{count} {status}" for status, count in flagged.most_common())
    return f"{text}; of them {named}" if named else text


# Errors.


@dataclass(frozen=True)
class _Class:
    """A class of operators, and how far its estimates are off."""

    name: str
    errors: Errors


def _errors(profile: Profile, times: Times, width: int) -> list[RenderableType]:
    from rich.text import Text

    if times.error is None:
        return []
    rows = [_Class(name, errors) for name, errors in times.errors.items()]
    if len(rows) > 1:
        rows.append(_Class("all", times.error))
    parts: list[RenderableType] = [fitting_table(_ERROR_COLUMNS, rows, width)]
    worst = _calls(profile, times, times.worst(), {})
    if worst:
        title = "The worst, by seconds missed in all calls"
        parts += [Text(), Text(title, style="bold"), fitting_table(_WORST_COLUMNS, worst, width)]
    return parts


_ERROR_COLUMNS = [
    Column[_Class]("Class", lambda row: row.name, left=True, least=12),
    Column[_Class]("n", lambda row: str(row.errors.n)),
    Column[_Class]("MAPE", lambda row: _share(row.errors.mape)),
    Column[_Class]("Median", lambda row: _share(row.errors.median)),
    Column[_Class]("p90", lambda row: _share(row.errors.p90)),
    Column[_Class]("Bias", lambda row: f"{100 * row.errors.bias:+.1f}%"),
    Column[_Class]("By time", lambda row: _share(row.errors.weighted)),
]

_WORST_COLUMNS = [
    Column[_Call]("Op", lambda row: time_notes.short_op(row.times.op), left=True, least=12),
    Column[_Call]("Inputs", lambda row: row.inputs, left=True, spare=1, least=24),
    Column[_Call]("Dtype", lambda row: row.dtype, left=True, spare=4),
    Column[_Call]("Calls", lambda row: str(row.times.calls), spare=3),
    Column[_Call]("Estimated", lambda row: _seconds(row.times.estimated_s)),
    Column[_Call]("Measured", lambda row: row.measured),
    Column[_Call]("Ratio", lambda row: _ratio(row.times.ratio), spare=2),
    Column[_Call]("Missed", lambda row: _seconds(row.times.missed_s)),
    Column[_Call]("Flags", lambda row: row.flags, left=True, least=12),
]
