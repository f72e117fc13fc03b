"""One row a layer, for spreadsheets: plain numbers, the shapes as text."""

from __future__ import annotations

import csv
from io import StringIO
from typing import TYPE_CHECKING

from nnprof.base.units import format_shape
from nnprof.report.metrics import Metric, known

if TYPE_CHECKING:
    from nnprof.report.options import TableOptions
    from nnprof.results.profile import Layer, Profile

__all__ = ["render"]


def render(profile: Profile, options: TableOptions | None = None) -> str:
    """The layers in call order as CSV with a title line; every depth, whatever the options.

    Times have columns where the profile has any.
    """
    metrics = known(profile)
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_titles(metrics))
    writer.writerows(_row(layer, metrics) for layer in profile.layers)
    return text.getvalue()


def _titles(metrics: list[Metric]) -> list[str]:
    titles = ["path", "type", "depth", "calls", "input_shape", "output_shape"]
    titles += [metric.name for metric in metrics]
    titles += [f"own_{metric.name}" for metric in metrics]
    return titles


def _row(layer: Layer, metrics: list[Metric]) -> list[str | float | None]:
    shapes = [format_shape(layer.input_shapes), format_shape(layer.output_shapes)]
    values = [metric.of(layer) for metric in metrics] + [metric.own(layer) for metric in metrics]
    return [layer.path, layer.type, layer.depth, layer.calls, *shapes, *values]
