"""The border between the compiled core and everything that reports: plain data.

`TraceData` is what a finished trace answers. The compiled `_core.TraceResult` implements it, and
so does `StoredTrace`, a trace read back from a file: a reporter cannot tell one from the other, and
its tests need neither the core nor a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

from nnprof._core import Requests

__all__ = ["PHASES", "Group", "ModelFacts", "StoredTrace", "TraceData", "plain"]

#: The phases that a call can belong to, in the order of a training step.
PHASES = ("forward", "backward", "optimizer")


class TraceData(Protocol):
    """What a trace recorded. Counts are for the whole batch; `phase=None` means all phases."""

    def totals(self, phase: str | None = None) -> dict[str, int]:
        """macs, flops, flops_executed, flops_needed, int_ops, bytes_read, bytes_written, calls.

        `flops_needed`, here and below, is not there where an older version wrote the trace.
        """
        ...

    def flops_by_kind(self, phase: str | None = None) -> dict[str, int]:
        """FLOPs of each kind, and `int_ops`; flops is the sum of all but int_ops."""
        ...

    def layers(self) -> list[dict[str, Any]]:
        """One row a call path, pre-order in call order; row 0 is the root, whose path is "".

        path, type, type_module (where that class is defined: "torch.nn.modules.conv"), depth,
        parent (a row's index, -1 at the root), calls; params (unique, inclusive), own_params; macs,
        flops, flops_needed, bytes_read, bytes_written (inclusive) and the same with own_ (without
        the children); input_shapes, output_shapes (lists of sizes).
        """
        ...

    def ops(self) -> dict[str, Any]:
        """Columns of equal length, one entry a recorded call, in call order.

        op, scope (row in `layers()`), phase, signature (equal numbers: equal calls), macs, flops,
        flops_executed, flops_needed, bytes_read, bytes_written, input_shapes, output_shapes, dtype,
        ruled; saved_bytes (of the tensors that autograd keeps for the call's backward), recomputed
        (made again in the backward by activation checkpointing).
        """
        ...

    def call_index(self) -> dict[str, Any]:
        """The columns of `ops()` that are whole numbers: scope, signature, phase (in `PHASES`)."""
        ...

    def signatures(self) -> dict[str, Any]:
        """Columns by signature number: op, input_shapes, output_shapes, dtype, contraction_flops
        (2 x MACs; 8 x of complex numbers) and of them contraction_flops_executed, without those
        that kernels skip, contraction_flops_model, without those that a gradient's kernel makes
        again, and contraction_flops_needed, without either and without what masks hide.
        """
        ...

    def module_calls(self) -> dict[str, Any]:
        """Columns, one entry a finished module call in the order they finish (children first).

        layer (row in `layers()`), output_shapes (of this very call).
        """
        ...

    def memory(self) -> dict[str, Any] | None:
        """Bytes held over time, by kind (`nnprof.results.memory.KINDS`); None where not recorded.

        peak; peak_call (the call that ran then, -1: before any); at_peak (by kind); phases (of
        those that ran: peak, and by kind after its last call); at_peak_by_layer (pairs: row in
        `layers()`, by kind of what calls in it made); kept_by_layer (pairs: row, bytes of the
        activations that are there when the backward starts); live, highest (columns by call: held
        after it, at most while it ran).
        """
        ...

    def collectives(self) -> dict[str, list[Any]]:
        """Columns, one entry a call that talks to other ranks, in call order.

        call (in `ops()`), op, group (its name), layer (row in `layers()`), phase, dtype,
        argument_bytes (of each tensor among the arguments), output_bytes.
        """
        ...

    def requests(self) -> Requests | None:
        """What the calls ask of their GPU's allocator; None on a CPU, and where not recorded.

        Its columns: parameters, others (bytes of what is there before, in that order), calls (their
        number), and of each request block, call (-1: before any) and bytes: 0 ends the block, -1 is
        a workspace of cuBLAS, of the device's size.
        """
        ...

    def coverage(self) -> dict[str, dict[str, int]]:
        """{"ruled": {op: calls}, "generic": {op: calls}}."""
        ...

    def assumptions(self) -> list[str]:
        """Every guess the trace made, a sentence each."""
        ...


@dataclass(frozen=True)
class Group:
    """A group of ranks that collectives run on."""

    dimension: str | None  #: of a device mesh
    ranks: int
    nodes: int


@dataclass(frozen=True)
class ModelFacts:
    """What is known of the model and its inputs without running it. Counts are in elements.

    A parameter that several modules share counts once.
    """

    name: str
    params: int = 0
    trainable_params: int = 0
    buffers: int = 0
    #: Parameters that one token makes use of; None where nobody looked: all of them.
    active_params: int | None = None
    parameter_bytes: int = 0
    buffer_bytes: int = 0
    input_bytes: int = 0
    #: Of a language model's phase, "prefill" or "decode": tokens read or generated, bytes of the
    #: cache that it leaves or is given, and those of each of its layers.
    language_phase: str | None = None
    tokens: int | None = None
    kv_cache_bytes: int = 0
    kv_cache_layer_bytes: tuple[int, ...] = ()
    never_called: tuple[str, ...] = ()
    #: Names of the module types that are, or derive from, nn.Sequential or nn.ModuleList: they do
    #: nothing but hold others, and torchsummary leaves them out.
    container_types: tuple[str, ...] = ("Sequential", "ModuleList")
    #: Elements of the whole model, where ranks share its parameters out. None: `params`.
    global_params: int | None = None
    #: By name, the groups of ranks that collectives run on.
    groups: dict[str, Group] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelFacts:
        """Facts from `asdict` of others; names that this version does not know are dropped."""
        known = {each.name for each in fields(cls)}
        facts: dict[str, Any] = {n: value for n, value in values.items() if n in known}
        # JSON has lists only.
        facts = {n: tuple(v) if isinstance(v, list) else v for n, v in facts.items()}
        facts["groups"] = {n: Group(**group) for n, group in facts.get("groups", {}).items()}
        return cls(**facts)

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON can hold them."""
        return plain(asdict(self))  # type: ignore[no-any-return]


class StoredTrace:
    """A `TraceData` that lives in a dict which JSON can hold."""

    def __init__(self, stored: Mapping[str, Any]) -> None:
        self._stored = stored

    @staticmethod
    def to_dict(data: TraceData) -> dict[str, Any]:
        """All that `data` answers, in a form that `StoredTrace` and JSON take."""
        phases = (None, *PHASES)
        requests = data.requests()
        stored = {
            "totals": {phase or "all": data.totals(phase) for phase in phases},
            "flops_by_kind": {phase or "all": data.flops_by_kind(phase) for phase in phases},
            "layers": data.layers(),
            "ops": data.ops(),
            "signatures": data.signatures(),
            "module_calls": data.module_calls(),
            "collectives": data.collectives(),
            "memory": data.memory(),
            "requests": requests.columns() if requests is not None else None,
            "coverage": data.coverage(),
            "assumptions": data.assumptions(),
        }
        return plain(stored)  # type: ignore[no-any-return]

    def totals(self, phase: str | None = None) -> dict[str, int]:
        return dict(self._stored["totals"][phase or "all"])

    def flops_by_kind(self, phase: str | None = None) -> dict[str, int]:
        return dict(self._stored["flops_by_kind"][phase or "all"])

    def layers(self) -> list[dict[str, Any]]:
        return list(self._stored["layers"])

    def ops(self) -> dict[str, Any]:
        ops = dict(self._stored["ops"])
        # Files of older versions know no training.
        ops.setdefault("saved_bytes", [0] * len(ops["op"]))
        ops.setdefault("recomputed", [False] * len(ops["op"]))
        return ops

    def call_index(self) -> dict[str, Any]:
        ops = self._stored["ops"]
        phases = [PHASES.index(phase) for phase in ops["phase"]]
        return {"scope": ops["scope"], "signature": ops["signature"], "phase": phases}

    def signatures(self) -> dict[str, Any]:
        signatures = dict(self._stored["signatures"])
        # Files of older versions count what a gradient's kernel makes again as the model's.
        signatures.setdefault("contraction_flops_model", signatures["contraction_flops"])
        return signatures

    def module_calls(self) -> dict[str, Any]:
        return dict(self._stored["module_calls"])

    def collectives(self) -> dict[str, list[Any]]:
        return dict(self._stored.get("collectives", {}))

    def memory(self) -> dict[str, Any] | None:
        return self._stored.get("memory")

    def requests(self) -> Requests | None:
        columns = self._stored.get("requests")
        return Requests(**columns) if columns else None

    def coverage(self) -> dict[str, dict[str, int]]:
        return dict(self._stored["coverage"])

    def assumptions(self) -> list[str]:
        return list(self._stored["assumptions"])


def plain(value: Any) -> Any:
    """`value` with NumPy arrays, tuples and mappings turned into what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    return value
