"""Two profiles side by side: the totals, and the layers whose numbers differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnprof.base.units import format_value
from nnprof.report.metrics import AT_LEAST, METRICS, Metric, find_metric, known

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nnprof.results.profile import Layer, Profile

__all__ = ["Comparison", "Difference"]

_LINES_SHOWN = 40
#: Shares below which two times are taken for one: no two measurements agree.
_NOISE = 0.05


@dataclass(frozen=True)
class Difference:
    """One number of two profiles. `path` is "" for the whole; None: not there."""

    path: str
    metric: Metric
    before: float | None
    after: float | None
    #: Which of the two are lower bounds.
    at_least: tuple[bool, bool] = (False, False)

    @property
    def ratio(self) -> float | None:
        """after / before; None where either is missing or nothing."""
        return self.after / self.before if self.after is not None and self.before else None


class Comparison:
    """`totals`: the table's metrics of the whole. `layers`: the numbers that differ, by path."""

    def __init__(self, before: Profile, after: Profile) -> None:
        self.names = (before.facts.name, after.facts.name)
        self.totals = [
            Difference(
                "",
                metric,
                metric.of(before),
                metric.of(after),
                (metric.is_lower_bound(before), metric.is_lower_bound(after)),
            )
            for metric in METRICS
            if _compared(metric, before, after)
            and (metric in known(before) or metric in known(after))
        ]
        self.layers = list(_changed(before, after))

    def __str__(self) -> str:
        from io import StringIO

        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for index, title in enumerate(("Module", "", *self.names, "ratio")):
            table.add_column(Text(title), justify="left" if index < 2 else "right")
        for difference in [*self.totals, *self.layers][:_LINES_SHOWN]:
            table.add_row(*map(Text, _cells(difference)))
        text = StringIO()
        Console(file=text, width=1000, no_color=True).print(table)
        lines = [line.rstrip() for line in text.getvalue().splitlines()]
        more = len(self.totals) + len(self.layers) - _LINES_SHOWN
        return "\n".join([*lines, f"and {more} more"] if more > 0 else lines)


def _compared(metric: Metric, *profiles: Profile) -> bool:
    if metric.mostly is None:
        return metric.in_table
    usual = find_metric(metric.mostly)
    return any(metric.of(one) not in (None, usual.of(one)) for one in profiles)


def _changed(before: Profile, after: Profile) -> Iterator[Difference]:
    paths = dict.fromkeys(layer.path for layer in [*before.layers, *after.layers] if layer.path)
    called = ({layer.path for layer in before.layers}, {layer.path for layer in after.layers})
    for path in paths:
        pair = [
            p[path] if path in k else None for p, k in zip((before, after), called, strict=True)
        ]
        for metric in (metric for metric in METRICS if metric.in_table):
            before_value, after_value = (_value(metric, layer) for layer in pair)
            if _differ(metric, before_value, after_value):
                yield Difference(path, metric, before_value, after_value)


def _differ(metric: Metric, before: float | None, after: float | None) -> bool:
    if metric.exact or before is None or after is None:
        return before != after
    return abs(before - after) > _NOISE * max(before, after)


def _value(metric: Metric, layer: Layer | None) -> float | None:
    return None if layer is None else metric.of(layer)


def _cells(difference: Difference) -> list[str]:
    unit = difference.metric.unit
    values = [
        "" if value is None else AT_LEAST * bound + format_value(value, unit)
        for value, bound in zip(
            (difference.before, difference.after), difference.at_least, strict=True
        )
    ]
    ratio = "" if difference.ratio is None else f"{difference.ratio:.3f}x"
    return [difference.path or "(all)", difference.metric.title, *values, ratio]
