"""What `nnprof.measure` returns: the totals, the layers and the calls of one trace.

Making a `Profile` costs microseconds: each answer is asked of the trace when it is first read, and
NumPy, rich and the reports are imported only where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nnprof.errors import InputError, UnknownLayerError
from nnprof.results import registry
from nnprof.results.collectives import Collective, make_collectives
from nnprof.results.layers import Layer, combine, is_shell, make_layers, no_such_layer, outermost
from nnprof.results.memory import Memory
from nnprof.results.op_table import OpTable
from nnprof.results.records import PHASES, ModelFacts, TraceData

if TYPE_CHECKING:
    from os import PathLike

    from nnprof.hardware import Hardware
    from nnprof.report.compare import Comparison
    from nnprof.results.times import Times

__all__ = ["Collective", "Coverage", "Layer", "Memory", "OpTable", "PhaseCosts", "Profile"]


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
    def flops_needed(self) -> int | None:
        """FLOPs that the mathematics needs: `flops` without the products of queries and keys that a
        causal mask, a window, other documents or a mask hide from each other, skipped or not, and
        without what is computed again (checkpointing, the scores in a gradient's kernel).

        None where an older version of nnprof saved the profile.
        """
        return self._totals.get("flops_needed")

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


class Profile(PhaseCosts):
    """What a model costs, phase by phase, layer by layer and call by call.

    `str(profile)` is a table by module; `profile["layer1.0.conv1"]` is one `Layer`.
    """

    def __init__(
        self, data: TraceData, facts: ModelFacts, trace_s: float, times: Times | None = None
    ) -> None:
        super().__init__(data)
        self._facts = facts
        self._trace_s = trace_s
        self._times = times

    def replaced(self, *, facts: ModelFacts | None = None, times: Times | None = None) -> Profile:
        """The same trace with other facts or times; a profile itself never changes."""
        return Profile(self._data, facts or self._facts, self._trace_s, times or self._times)

    @property
    def data(self) -> TraceData:
        """The records of the trace: all that is told here is read from them."""
        return self._data

    @property
    def facts(self) -> ModelFacts:
        """What is known of the model beside its calls."""
        return self._facts

    @property
    def trace_s(self) -> float:
        """Seconds that the trace took."""
        return self._trace_s

    @property
    def times(self) -> Times | None:
        """Estimated and measured seconds in detail; None where no hardware was named."""
        return self._times

    # Of the model, whatever was called.

    @property
    def params(self) -> int:
        """Parameter elements; a tensor that several modules share counts once."""
        return self.facts.params

    @property
    def global_params(self) -> int:
        """Parameters of the whole model, where ranks share them out (DTensor)."""
        whole = self._facts.global_params
        return whole if whole is not None else self._facts.params

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

    @cached_property
    def memory(self) -> Memory:
        """Bytes held: the most at any time, where and for what, and over time."""
        return Memory(self._data, self.facts, self.hardware)

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
        """Model FLOPs utilization: `model_flops` at the device's peak, over the wall time."""
        return self.times.mfu if self.times is not None else None

    @property
    def mfu_needed(self) -> float | None:
        """The same of `model_flops_needed`: what masks hide is no use of the device."""
        return self.times.mfu_needed if self.times is not None else None

    @property
    def hfu(self) -> float | None:
        """Hardware FLOPs utilization: `hardware_flops` at the device's peak, likewise."""
        return self.times.hfu if self.times is not None else None

    # Of the calls.

    @property
    def tokens(self) -> int | None:
        """Tokens of the whole batch: read with `phase="prefill"`, generated with "decode".

        None without a phase. An encoder-decoder model reads its prompt in the encoder.
        """
        return self.facts.tokens

    @cached_property
    def model_flops(self) -> int:
        """FLOPs of products (2 x MACs; 8 x of complex numbers) of the model, in all phases.

        Attention is dense, as in arXiv:2204.02311, appendix B. What is computed again is left out:
        by activation checkpointing, and by the kernels of attention's gradient.
        """
        from nnprof.results.model_flops import model_flops

        return model_flops(self._data)

    @cached_property
    def model_flops_needed(self) -> int | None:
        """Of `model_flops`, what causal and other masks, windows and documents leave to be done.

        None where an older version of nnprof saved the profile.
        """
        from nnprof.results.model_flops import model_flops_needed

        return model_flops_needed(self._data)

    @cached_property
    def hardware_flops(self) -> int:
        """FLOPs of products that kernels execute, recomputed ones included.

        What kernels skip of attention (the half that a causal mask hides, windows, documents, empty
        blocks) is left out, so that it may be less than `model_flops`.
        """
        from nnprof.results.model_flops import hardware_flops

        return hardware_flops(self._data)

    def phase(self, name: str) -> PhaseCosts:
        """The costs of "forward", "backward" or "optimizer"; zeros where it did not run."""
        if name not in PHASES:
            raise InputError(f"no phase {name!r}: choose one of {', '.join(PHASES)}")
        return PhaseCosts(self._data, name)

    @cached_property
    def layers(self) -> list[Layer]:
        """Every call path in call order, parents first; the first is the model itself."""
        return self._layers_by_row[is_shell(self._data.layers()) :]

    @cached_property
    def _layers_by_row(self) -> list[Layer]:
        return make_layers(self._data.layers(), self.times)

    @cached_property
    def _layers_by_path(self) -> dict[str, list[Layer]]:
        by_path: dict[str, list[Layer]] = {}
        for layer in outermost(self.layers[:1], frozenset()):
            by_path.setdefault(layer.path, []).append(layer)
        return by_path

    def __getitem__(self, path: str) -> Layer:
        """The layer at a module path; calls by several parents are added up.

        Raises `UnknownLayerError` for a path that was never called, with the closest that were.
        """
        try:
            return combine(self._layers_by_path[path])
        except KeyError:
            why = no_such_layer(path, self._layers_by_path, self.facts.never_called)
            raise UnknownLayerError(why) from None

    @cached_property
    def ops(self) -> OpTable:
        """One row a recorded operator call."""
        return OpTable(self._data, self.times)

    @cached_property
    def collectives(self) -> tuple[Collective, ...]:
        """The calls that talk to other ranks, in their order; see `nnprof.world`."""
        return make_collectives(self._data, self._facts, self._layers_by_row)

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
        return registry.flops_as(self._data, tool)

    # Reports.

    def table(self, depth: int | None = None, sort: str | None = None) -> str:
        """The costs by module, as text.

        `depth`: levels of modules shown; default: as many as fit about forty lines. `sort`: a
        metric's name, to put the most costly siblings first; default: call order. The totals are
        the same at any depth.
        """
        return registry.table(self, depth, sort)

    def summary(self) -> str:
        """The layers as torchsummary prints them."""
        return registry.summary(self)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        from nnprof.base.units import Unit, format_value

        at_least = "at least " if self.coverage.generic else ""
        return (
            f"<Profile of {self.facts.name}: {format_value(self.params)} params, {at_least}"
            f"{format_value(self.macs, Unit.MACS)}, {format_value(self.flops, Unit.FLOPS)}>"
        )

    def _repr_html_(self) -> str:
        return registry.html(self)

    def compare(self, other: Profile) -> Comparison:
        """This profile beside `other`: totals and the layers that differ. Print it."""
        return registry.compare(self, other)

    # Files.

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied by its stored form, which no process has to share a trace with."""
        from nnprof.results import stored

        return stored.from_dict, (self.to_dict(),)

    def to_dict(self) -> dict[str, Any]:
        """All that the profile holds, as plain data that JSON can hold."""
        from nnprof.results import stored

        return stored.to_dict(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a report, chosen by the suffix: .json (complete, see `load`) or .csv (layers).

        Raises `InputError` for another suffix, and for a file that cannot be written: that is an
        `OSError`, too.
        """
        registry.save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Profile:
        """The profile that `save("x.json")` wrote; raises `InputError` for any other file."""
        from nnprof.results import stored

        return stored.load(path)
