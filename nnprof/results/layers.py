"""Layers: the rows of a trace, joined to a tree and combined by module."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nnprof.results.times import LayerTimes, Times

__all__ = ["Layer", "combine", "is_shell", "make_layers", "no_such_layer", "outermost"]

Shapes = list[list[int]]


@dataclass(frozen=True, slots=True)
class Layer:
    """One module as one parent called it; several calls by that parent are added up.

    `macs`, `flops*` and `bytes*` include the children; `own_*` leave them out. `params` are
    elements, shared ones once. Shapes are of the first call, one list of sizes a tensor.
    """

    path: str
    type: str
    depth: int
    calls: int
    params: int
    own_params: int
    macs: int
    flops: int
    flops_needed: int | None  #: as that of `Profile`
    bytes_read: int
    bytes_written: int
    own_macs: int
    own_flops: int
    own_flops_needed: int | None
    own_bytes_read: int
    own_bytes_written: int
    input_shapes: Shapes
    output_shapes: Shapes
    children: list[Layer] = field(default_factory=list, repr=False)
    #: Seconds of all calls, children included, and without them; None where no time is known.
    times: LayerTimes | None = field(default=None, repr=False)
    own_times: LayerTimes | None = field(default=None, repr=False)

    @property
    def estimated_s(self) -> float | None:
        """Seconds that the calls should take on `profile.hardware`, children included."""
        return self.times.estimated_s if self.times is not None else None

    @property
    def measured_s(self) -> float | None:
        """Seconds that the calls took on `profile.device`, each measured alone."""
        return self.times.measured_s if self.times is not None else None

    @property
    def unmeasured_s(self) -> float | None:
        """Estimated seconds of those calls that `measured_s` leaves out."""
        return self.times.unmeasured_s if self.times is not None else None

    @property
    def own_estimated_s(self) -> float | None:
        """Estimated seconds without the children."""
        return self.own_times.estimated_s if self.own_times is not None else None

    @property
    def own_measured_s(self) -> float | None:
        """Measured seconds without the children."""
        return self.own_times.measured_s if self.own_times is not None else None

    @property
    def own_unmeasured_s(self) -> float | None:
        """Estimated seconds that `own_measured_s` leaves out."""
        return self.own_times.unmeasured_s if self.own_times is not None else None

    @property
    def bytes(self) -> int:
        """Memory access cost: bytes read plus bytes written."""
        return self.bytes_read + self.bytes_written

    @property
    def own_bytes(self) -> int:
        """Memory access cost without the children."""
        return self.own_bytes_read + self.own_bytes_written


# What a layer's row and a `Layer` both have. A row has `parent` besides, which became `children`.
_ROW_FIELDS = tuple(
    name for name in Layer.__slots__ if name not in ("children", "times", "own_times")
)
# Added up when the same module was called from several parents; all else is the module's own.
_COSTS = ("macs", "flops", "flops_needed", "bytes_read", "bytes_written")
# What rows in files of older versions lack.
_LATER_FIELDS = ("flops_needed", "own_flops_needed")
_SUMMED_FIELDS = ("calls", *_COSTS, *(f"own_{name}" for name in _COSTS))


def make_layers(rows: Sequence[dict[str, Any]], times: Times | None) -> list[Layer]:
    """One layer a row, joined to their parents."""
    up = int(is_shell(rows))
    layers: list[Layer] = []
    for index, row in enumerate(rows):
        values = {name: row[name] for name in _ROW_FIELDS if name not in _LATER_FIELDS}
        values |= {name: row.get(name) for name in _LATER_FIELDS}
        inside, alone = times.rows[index] if times is not None else (None, None)
        layer = Layer(**values | {"depth": row["depth"] - up}, times=inside, own_times=alone)
        if row["parent"] >= 0:
            layers[row["parent"]].children.append(layer)
        layers.append(layer)
    return layers


def is_shell(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether row 0 is the trace around the model rather than the model: nothing ran in it."""
    below = [row["path"] for row in rows if row["parent"] == 0]
    own_work = any(rows[0].get(f"own_{name}") for name in _COSTS)
    return below == [""] and not own_work


def outermost(layers: Iterable[Layer], around: frozenset[str]) -> Iterator[Layer]:
    """The layers and all below, but none inside a call of the same module: it is counted there."""
    for layer in layers:
        if layer.path not in around:
            yield layer
        yield from outermost(layer.children, around | {layer.path})


def combine(layers: Sequence[Layer]) -> Layer:
    """One layer for the call paths `layers` of a single module."""
    if len(layers) == 1:
        return layers[0]
    values = {name: getattr(layers[0], name) for name in _ROW_FIELDS}
    values |= {name: _sum([getattr(layer, name) for layer in layers]) for name in _SUMMED_FIELDS}
    by_path: dict[str, list[Layer]] = {}
    for layer in layers:
        for child in layer.children:
            by_path.setdefault(child.path, []).append(child)
    return Layer(
        **values,
        children=[combine(children) for children in by_path.values()],
        times=_added([layer.times for layer in layers]),
        own_times=_added([layer.own_times for layer in layers]),
    )


def no_such_layer(path: str, called: Iterable[str], never_called: Iterable[str]) -> str:
    """Why there is no layer at `path`, with the closest paths that were called."""
    from difflib import get_close_matches

    if path in never_called:
        return f"layer {path!r} exists but was never called"
    near = get_close_matches(str(path), list(called), n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see profile.layers"
    return f"no layer {path!r} was called: {hint}"


def _sum(values: Sequence[int | None]) -> int | None:
    return None if None in values else sum(value or 0 for value in values)


def _added(times: Sequence[LayerTimes | None]) -> LayerTimes | None:
    from nnprof.results.times import added

    known = [one for one in times if one is not None]
    return added(known) if known else None
