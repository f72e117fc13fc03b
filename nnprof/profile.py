"""What `nnprof.measure` returns: the totals, the layers and the calls of one trace.

Making a `Profile` costs microseconds: each answer is asked of the trace when it is first read, and
NumPy, rich and the reports are imported only where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nnprof.errors import InputError, MissingExtraError, UnknownLayerError
from nnprof.records import PHASES, ModelFacts, TraceData

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from os import PathLike

    import numpy as np
    import pandas as pd

    from nnprof.hardware import Hardware
    from nnprof.report.compare import Comparison
    from nnprof.times import LayerTimes, Times

__all__ = ["Coverage", "Layer", "Memory", "OpTable", "PhaseCosts", "Profile"]

Shapes = list[list[int]]


@dataclass(frozen=True, slots=True)
class Layer:
    """One module as one parent called it; several calls by that parent are added up.

    `macs`, `flops` and `bytes*` include the children; `own_*` leave them out. `params` are
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
    bytes_read: int
    bytes_written: int
    own_macs: int
    own_flops: int
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
_COSTS = ("macs", "flops", "bytes_read", "bytes_written")
_SUMMED_FIELDS = ("calls", *_COSTS, *(f"own_{name}" for name in _COSTS))


def _make_layers(rows: Sequence[dict[str, Any]], times: Times | None) -> list[Layer]:
    """One layer a row, joined to their parents."""
    up = int(_is_shell(rows))
    layers: list[Layer] = []
    for index, row in enumerate(rows):
        values = {name: row[name] for name in _ROW_FIELDS}
        inside, alone = times.rows[index] if times is not None else (None, None)
        layer = Layer(**values | {"depth": row["depth"] - up}, times=inside, own_times=alone)
        if row["parent"] >= 0:
            layers[row["parent"]].children.append(layer)
        layers.append(layer)
    return layers


def _is_shell(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether row 0 is the trace around the model rather than the model: nothing ran in it."""
    below = [row["path"] for row in rows if row["parent"] == 0]
    own_work = any(rows[0][f"own_{name}"] for name in _COSTS)
    return below == [""] and not own_work


def _outermost(layers: Iterable[Layer], around: frozenset[str]) -> Iterator[Layer]:
    """The layers and all below, but none inside a call of the same module: it is counted there."""
    for layer in layers:
        if layer.path not in around:
            yield layer
        yield from _outermost(layer.children, around | {layer.path})


def _combine(layers: Sequence[Layer]) -> Layer:
    """One layer for the call paths `layers` of a single module."""
    if len(layers) == 1:
        return layers[0]
    values = {name: getattr(layers[0], name) for name in _ROW_FIELDS}
    values |= {name: sum(getattr(layer, name) for layer in layers) for name in _SUMMED_FIELDS}
    by_path: dict[str, list[Layer]] = {}
    for layer in layers:
        for child in layer.children:
            by_path.setdefault(child.path, []).append(child)
    return Layer(
        **values,
        children=[_combine(children) for children in by_path.values()],
        times=_added([layer.times for layer in layers]),
        own_times=_added([layer.own_times for layer in layers]),
    )


def _added(times: Sequence[LayerTimes | None]) -> LayerTimes | None:
    from nnprof.times import added

    known = [one for one in times if one is not None]
    return added(known) if known else None


class PhaseCosts:
    """What the calls of one phase cost, or of all phases. Counts are for the whole batch."""

    def __init__(self, data: TraceData, phase: str | None = None) -> None:
        self._data = data
        self._phase = phase

    @cached_property
    def _totals(self) -> dict[str, int]:
        return self._data.totals(self._phase)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of contractions: matmul, convolution, attention, recurrent cells."""
        return self._totals["macs"]

    @property
    def flops(self) -> int:
        """All floating-point operations: 2 x MACs, plus what everything else computes."""
        return self._totals["flops"]

    @property
    def flops_executed(self) -> int:
        """FLOPs without those that kernels skip, such as the masked half of causal attention."""
        return self._totals["flops_executed"]

    @property
    def int_ops(self) -> int:
        """Integer operations, which are not FLOPs."""
        return self._totals["int_ops"]

    @property
    def bytes_read(self) -> int:
        """Bytes that the calls must read: each distinct element once a call."""
        return self._totals["bytes_read"]

    @property
    def bytes_written(self) -> int:
        """Bytes that the calls must write."""
        return self._totals["bytes_written"]

    @property
    def bytes(self) -> int:
        """Memory access cost: bytes read plus bytes written, no fusion and no cache."""
        return self.bytes_read + self.bytes_written

    @property
    def calls(self) -> int:
        """Operator calls recorded."""
        return self._totals["calls"]

    @cached_property
    def flops_by_kind(self) -> dict[str, int]:
        """FLOPs by kind of operation; they add up to `flops`. `int_ops` stand beside them."""
        return self._data.flops_by_kind(self._phase)


@dataclass(frozen=True)
class Coverage:
    """How the calls were priced: operator name -> calls."""

    ruled: dict[str, int]  #: by a rule of nnprof
    generic: dict[str, int]  #: from input and output sizes and the operator's tags alone

    @property
    def ruled_calls(self) -> int:
        """Calls priced by a rule."""
        return sum(self.ruled.values())

    @property
    def calls(self) -> int:
        """All calls."""
        return self.ruled_calls + sum(self.generic.values())


@dataclass(frozen=True)
class Memory:
    """What stays in memory around the call, in bytes."""

    parameters: int  #: a tensor that several modules share counts once
    buffers: int
    #: The cache that `phase="prefill"` leaves or `phase="decode"` is given; 0 without a phase. Keys
    #: and values of attention, the states of state-space layers: what generation goes on with.
    kv_cache: int
    #: The same by layer, empty where the cache is not made of layers.
    kv_cache_by_layer: tuple[int, ...]


class OpTable:
    """One row a recorded operator call, in call order, as NumPy columns: `ops["macs"]`.

    Columns: op, scope (the module's path), phase, signature (equal numbers are equal calls), macs,
    flops, bytes_read, bytes_written, bytes, input_shapes, output_shapes, dtype, ruled; where times
    are known also op_class, estimated_s, bound, measured_s (NaN where not measured), status.
    """

    def __init__(self, data: TraceData, times: Times | None = None) -> None:
        self._data = data
        self._times = times

    @cached_property
    def columns(self) -> dict[str, np.ndarray[Any, Any]]:
        """Column name -> array, all of the same length."""
        recorded = self._data.ops()
        columns = {name: _column(values) for name, values in recorded.items()}
        paths = _column([row["path"] for row in self._data.layers()])
        if len(self._data.layers()):
            columns["scope"] = paths[columns["scope"].astype("int64")]
        columns["bytes"] = columns["bytes_read"] + columns["bytes_written"]
        if self._times is not None:
            columns |= _time_columns(self._times, columns["signature"])
        return columns

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        try:
            return self.columns[name]
        except KeyError:
            raise InputError(f"no column {name!r}: there are {', '.join(self.columns)}") from None

    def __len__(self) -> int:
        return len(self.columns["op"])

    def __repr__(self) -> str:
        return f"<OpTable: {len(self)} calls, columns {', '.join(self.columns)}>"

    def to_pandas(self) -> pd.DataFrame:
        """The table as a DataFrame; raises `MissingExtraError` where pandas is not installed."""
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtraError("to_pandas() needs pandas: pip install pandas") from error
        return pd.DataFrame({name: list(column) for name, column in self.columns.items()})


def _time_columns(
    times: Times, signatures: np.ndarray[Any, Any]
) -> dict[str, np.ndarray[Any, Any]]:
    """What is known of the time of each call, which is that of its signature."""
    import numpy as np

    each = times.by_signature
    number = signatures.astype("int64")
    nan = float("nan")
    measured = [nan if one.measured_s is None else one.measured_s for one in each]
    return {
        "op_class": np.asarray([one.op_class for one in each])[number],
        "estimated_s": np.asarray([one.estimated_s for one in each])[number],
        "bound": np.asarray([one.bound for one in each])[number],
        "measured_s": np.asarray(measured)[number],
        "status": np.asarray([one.status for one in each])[number],
    }


def _column(values: Any) -> np.ndarray[Any, Any]:
    """An array of one dimension, also where the values are lists (shapes)."""
    import numpy as np

    if len(values) and isinstance(values[0], (list, tuple)):
        column = np.empty(len(values), dtype=object)
        column[:] = [list(value) for value in values]
        return column
    return np.asarray(values)


class Profile(PhaseCosts):
    """What a model costs, phase by phase, layer by layer and call by call.

    `str(profile)` is a table by module; `profile["layer1.0.conv1"]` is one `Layer`.
    """

    def __init__(
        self, data: TraceData, facts: ModelFacts, trace_s: float, times: Times | None = None
    ) -> None:
        super().__init__(data)
        self.facts = facts
        #: Seconds that the trace took.
        self.trace_s = trace_s
        #: Estimated and measured seconds in detail; None where no hardware was named.
        self.times = times

    # Of the model, whatever was called.

    @property
    def params(self) -> int:
        """Parameter elements; a tensor that several modules share counts once."""
        return self.facts.params

    @property
    def trainable_params(self) -> int:
        """Parameter elements with `requires_grad`."""
        return self.facts.trainable_params

    @property
    def buffers(self) -> int:
        """Buffer elements, such as running statistics."""
        return self.facts.buffers

    @property
    def active_params(self) -> int:
        """Parameter elements that one token makes use of: all, but experts it is not routed to.

        With k of E experts a token, k/E of what the experts hold; shared experts, routers and
        embeddings count whole. Equal to `params` for a model without experts, and for one whose
        way to pick experts is not understood.
        """
        active = self.facts.active_params
        return self.facts.params if active is None else active

    @property
    def memory(self) -> Memory:
        """Bytes of the parameters, the buffers and a language model's cache."""
        facts = self.facts
        return Memory(
            facts.parameter_bytes,
            facts.buffer_bytes,
            facts.kv_cache_bytes,
            facts.kv_cache_layer_bytes,
        )

    # Of time: None where neither a device nor hardware was named.

    @property
    def hardware(self) -> Hardware | None:
        """What the times are estimated for."""
        return self.times.hardware if self.times is not None else None

    @property
    def device(self) -> str | None:
        """Where the times were measured."""
        return self.times.device if self.times is not None else None

    @property
    def estimated_s(self) -> float | None:
        """Seconds that the device should compute, in all calls."""
        return self.times.estimates.timeline.device_s if self.times is not None else None

    @property
    def measured_s(self) -> float | None:
        """Seconds that the device took for all calls, each measured alone.

        Of what could be measured: `unmeasured_s` is what is missing.
        """
        return self.times.total.measured_s if self.times is not None else None

    @property
    def unmeasured_s(self) -> float | None:
        """Estimated seconds of those calls that `measured_s` leaves out."""
        return self.times.total.unmeasured_s if self.times is not None else None

    @property
    def end_to_end_s(self) -> float | None:
        """Wall seconds of one real forward of a copy; None where it could not run."""
        real = self.times.end_to_end if self.times is not None else None
        return real.eager_s if real is not None else None

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilization: what products need at the device's peak, over the wall time."""
        return self.times.mfu if self.times is not None else None

    @property
    def hfu(self) -> float | None:
        """Hardware FLOPs utilization: the same, of the FLOPs that kernels execute."""
        return self.times.hfu if self.times is not None else None

    # Of the calls.

    @property
    def tokens(self) -> int | None:
        """Tokens of the whole batch: read with `phase="prefill"`, generated with "decode".

        None without a phase. An encoder-decoder model reads its prompt in the encoder.
        """
        return self.facts.tokens

    def phase(self, name: str) -> PhaseCosts:
        """The costs of "forward", "backward" or "optimizer"; zeros where it did not run."""
        if name not in PHASES:
            raise InputError(f"no phase {name!r}: choose one of {', '.join(PHASES)}")
        return PhaseCosts(self._data, name)

    @cached_property
    def layers(self) -> list[Layer]:
        """Every call path in call order, parents first; the first is the model itself."""
        return self._layers_by_row[_is_shell(self._data.layers()) :]

    @cached_property
    def _layers_by_row(self) -> list[Layer]:
        return _make_layers(self._data.layers(), self.times)

    @cached_property
    def _layers_by_path(self) -> dict[str, list[Layer]]:
        by_path: dict[str, list[Layer]] = {}
        for layer in _outermost(self.layers[:1], frozenset()):
            by_path.setdefault(layer.path, []).append(layer)
        return by_path

    def __getitem__(self, path: str) -> Layer:
        """The layer at a module path; calls by several parents are added up.

        Raises `UnknownLayerError` for a path that was never called, with the closest that were.
        """
        try:
            return _combine(self._layers_by_path[path])
        except KeyError:
            raise UnknownLayerError(self._unknown_layer(path)) from None

    def _unknown_layer(self, path: str) -> str:
        from difflib import get_close_matches

        if path in self.facts.never_called:
            return f"layer {path!r} exists but was never called"
        near = get_close_matches(str(path), self._layers_by_path, n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see profile.layers"
        return f"no layer {path!r} was called: {hint}"

    @cached_property
    def ops(self) -> OpTable:
        """One row a recorded operator call."""
        return OpTable(self._data, self.times)

    @cached_property
    def coverage(self) -> Coverage:
        """Which operators were priced by a rule, and which from their sizes alone."""
        return Coverage(**self._data.coverage())

    @cached_property
    def assumptions(self) -> list[str]:
        """What the trace had to guess, a sentence each."""
        return self._data.assumptions()

    def flops_as(self, tool: str) -> int:
        """What the conventions of another tool make of the forward: FLOPs or MACs, as it counts.

        `tool`: "torch" (FlopCounterMode), "torchvision" (the table of its weights), "fvcore",
        "ptflops", "ptflops-aten", "thop" or "deepspeed". A sum over our own records, the whole
        batch; docs/conventions.md says what each counts. Raises `InputError` for another tool.
        """
        from nnprof.conventions import flops_as

        return flops_as(self._data, tool)

    # Reports.

    def table(self, depth: int | None = None, sort: str | None = None) -> str:
        """The costs by module, as text.

        `depth`: levels of modules shown; default: as many as fit about forty lines. `sort`: a
        metric's name, to put the most costly siblings first; default: call order. The totals are
        the same at any depth.
        """
        from nnprof.report import TableOptions, table

        return table.render(self, TableOptions(depth, sort))

    def summary(self) -> str:
        """The layers as torchsummary prints them."""
        from nnprof.report import summary

        return summary.render(self)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        from nnprof.report.units import Unit, format_value

        return (
            f"<Profile of {self.facts.name}: {format_value(self.params)} params, "
            f"{format_value(self.macs, Unit.MACS)}, {format_value(self.flops, Unit.FLOPS)}>"
        )

    def _repr_html_(self) -> str:
        from nnprof.report import html

        return html.render(self)

    def compare(self, other: Profile) -> Comparison:
        """This profile beside `other`: totals and the layers that differ. Print it."""
        from nnprof.report.compare import Comparison

        return Comparison(self, other)

    # Files.

    def to_dict(self) -> dict[str, Any]:
        """All that the profile holds, as plain data that JSON can hold."""
        from nnprof.report import stored

        return stored.to_dict(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a report, chosen by the suffix: .json (complete, see `load`) or .csv (layers).

        Raises `InputError` for another suffix.
        """
        from nnprof.report import save

        save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Profile:
        """The profile that `save("x.json")` wrote; raises `InputError` for any other file."""
        from nnprof.report import stored

        return stored.load(path)
