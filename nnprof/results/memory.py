"""What a model and its run hold in memory, as eager PyTorch allocates and frees it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

from nnprof.errors import InputError, UnknownLayerError
from nnprof.results.columns import counts
from nnprof.results.layers import no_such_layer
from nnprof.results.records import PHASES

if TYPE_CHECKING:
    from os import PathLike

    import numpy as np

    from nnprof._core import Requests
    from nnprof.hardware import Hardware
    from nnprof.results.device_memory import DeviceMemory
    from nnprof.results.records import ModelFacts, TraceData

__all__ = ["KINDS", "Checkpointing", "Memory"]

#: What bytes are held for.
KINDS = (
    "parameters",
    "buffers",
    "inputs",
    "kv_cache",
    "gradients",
    "optimizer",
    "activations",
    "temporaries",
)
#: Held for the whole trace, and by the model rather than by one call of a module.
_OF_MODEL = ("parameters", "buffers")


@dataclass(frozen=True)
class Checkpointing:
    """What activation checkpointing of one module would save, and what it would cost, a step."""

    saved_bytes: int  #: held no longer when the backward starts
    recompute_flops: int  #: of the module's forward, run once more: at most, for it stops early


class Memory:
    """Bytes held while the recorded code runs, by what they are held for.

    `peak` is the most at any time, and the numbers by kind are those at that time. An allocation
    takes a multiple of 512 bytes on an accelerator, what it asks for on a CPU; but `parameters` and
    `buffers` are the tensors' own bytes. Not in it: workspaces of libraries, the device's context,
    what fragmentation loses: `on(hardware)` has these, `reserved` and `process` for the profile's
    own.

    A profile from a file of an older version knows only `parameters`, `buffers` and `kv_cache`; all
    else raises `InputError` then.
    """

    def __init__(
        self, data: TraceData, facts: ModelFacts, hardware: Hardware | None = None
    ) -> None:
        self._data = data
        self._facts = facts
        self._hardware = hardware

    # Of the model, whatever was called.

    @property
    def parameters(self) -> int:
        """Bytes of the parameters; a tensor that several modules share counts once."""
        return self._facts.parameter_bytes

    @property
    def buffers(self) -> int:
        """Bytes of the buffers, such as running statistics."""
        return self._facts.buffer_bytes

    @property
    def kv_cache(self) -> int:
        """The cache that `phase="prefill"` leaves or `phase="decode"` is given; 0 without a phase.

        Keys and values of attention, the states of state-space layers: what generation goes on
        with. At the peak `at_peak["kv_cache"]` is held of it: while an attention of "decode" adds
        its token, the old and the new tensors of that layer.
        """
        return self._facts.kv_cache_bytes

    @property
    def kv_cache_by_layer(self) -> tuple[int, ...]:
        """The same by layer, empty where the cache is not made of layers."""
        return self._facts.kv_cache_layer_bytes

    @property
    def workspace(self) -> int:
        """0: workspaces of libraries are counted for a device alone: see `on`."""
        return 0

    # At the peak.

    @property
    def known(self) -> bool:
        """Whether more than `parameters`, `buffers` and `kv_cache` is known."""
        return self._answer is not None

    @property
    def peak(self) -> int:
        """The most bytes held at any time."""
        return int(self._recorded["peak"])

    @cached_property
    def at_peak(self) -> dict[str, int]:
        """Bytes at the peak by kind, each allocation rounded up: they add up to `peak`."""
        return _by_kind(self._recorded["at_peak"])

    @property
    def inputs(self) -> int:
        """What was there before and is no part of the model: the inputs, a cache among them."""
        return self.at_peak["inputs"]

    @property
    def activations(self) -> int:
        """What the forward leaves to the backward; without a backward, all that it makes."""
        return self.at_peak["activations"]

    @property
    def gradients(self) -> int:
        """The `.grad` of parameters and inputs."""
        return self.at_peak["gradients"]

    @property
    def optimizer(self) -> int:
        """What an optimizer keeps from step to step, such as AdamW's two moments."""
        return self.at_peak["optimizer"]

    @property
    def temporaries(self) -> int:
        """What is freed before the backward, made in it, or taken by a kernel while it runs."""
        return self.at_peak["temporaries"]

    @property
    def peak_op(self) -> str | None:
        """The operator that ran at the peak; None where the most was held before any ran."""
        call = self._recorded["peak_call"]
        if call < 0:
            return None
        number = self._data.call_index()["signature"][call]
        return str(self._data.signatures()["op"][number])

    @property
    def peak_module(self) -> str | None:
        """The path of the module that ran it."""
        call = self._recorded["peak_call"]
        return self._paths[self._data.call_index()["scope"][call]] if call >= 0 else None

    @cached_property
    def by_module(self) -> dict[str, dict[str, int]]:
        """Bytes at the peak by kind, of the modules that made them, without their children's.

        Module path -> kind -> bytes, most first. Inputs, and what no module made, are under ""; the
        working memory of the operator at the peak is under its module. Together with the model's
        parameters and buffers, which are not in it, they add up to `peak`.
        """
        found: dict[str, Counter[str]] = {}
        rest = Counter(self.at_peak)
        for row, bytes_ in self._recorded["at_peak_by_layer"]:
            for kind, held in bytes_.items():
                path = "" if kind == "inputs" else self._paths[row]
                found.setdefault(path, Counter())[kind] += held
                rest[kind] -= held
        found.setdefault(self.peak_module or "", Counter()).update(
            {kind: held for kind, held in rest.items() if kind not in _OF_MODEL}
        )
        largest = sorted(found, key=lambda path: -found[path].total())
        return {path: _by_kind(found[path]) for path in largest if found[path].total()}

    # On a device.

    def on(
        self,
        hardware: Hardware | PathLike[str] | str | None = None,
        alloc_conf: str | None = None,
        *,
        beside: int = 0,
    ) -> DeviceMemory:
        """What the calls take of a GPU: its caching allocator simulated, its context counted.

        Args:
            hardware: a name ("h200"), a data file or a `Hardware`. Default: the profile's own.
            alloc_conf: as in PYTORCH_ALLOC_CONF. Default: what the environment says.
            beside: bytes that are held all the while, and that the trace has not seen.

        Raises:
            InputError: the device is unknown or no GPU, `alloc_conf` is wrong, or the profile is of
                a model on a CPU, or from a file of an older version.
        """
        from nnprof.hardware import find
        from nnprof.results.device_memory import DeviceMemory

        chosen = hardware if hardware is not None else self._hardware
        if chosen is None:
            raise InputError("on which GPU? Pass hardware= to measure(), or name it here")
        requests = self._requests
        if requests is None:
            raise InputError(
                "no allocations of a GPU are known: the model is on the CPU, and so are its own, "
                "or an older version saved the profile: measure the model on the meta device"
            )
        return DeviceMemory(self._data, requests, find(chosen), alloc_conf, beside=beside)

    def can_be_on(self, hardware: Hardware) -> bool:
        """Whether `on(hardware)` has an answer: of a trace for a GPU, on a GPU."""
        return hardware.kind == "gpu" and self._requests is not None

    @cached_property
    def _requests(self) -> Requests | None:
        return self._data.requests()

    @cached_property
    def _on_own(self) -> DeviceMemory:
        return self.on()

    @property
    def reserved(self) -> int:
        """The most that PyTorch's allocator holds of the profile's `hardware`: see `on`."""
        return self._on_own.reserved

    @property
    def process(self) -> int:
        """What the process holds of it then, with CUDA's context."""
        return self._on_own.process

    def fits(self, hardware: Hardware | PathLike[str] | str) -> bool:
        """Whether the run surely fits on the device.

        On a GPU: the process, with what fragmentation loses, workspaces and CUDA's context, less
        than the device's memory by the margin that `on(hardware)` states. Its `verdict` tells "no"
        from "too close to tell". On a CPU, and for a model on a CPU: `peak` against the memory.

        `hardware` is a name ("h200"), a data file or a `Hardware`. Raises `InputError` for an
        unknown device.
        """
        from nnprof.hardware import find
        from nnprof.results.device_memory import YES

        device = find(hardware)
        if not self.can_be_on(device):
            return self.peak <= device.memory_bytes
        return self.on(device).verdict == YES

    # Over time.

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases that ran: of "forward", "backward" and "optimizer", in this order."""
        return tuple(phase for phase in PHASES if phase in self._recorded["phases"])

    def peak_of(self, phase: str) -> int:
        """The most bytes held in a phase; 0 where it did not run."""
        return int(self._phase(phase).get("peak", 0))

    def after(self, phase: str) -> dict[str, int]:
        """Bytes by kind when the phase's last operator has ended; zeros where it did not run."""
        return _by_kind(self._phase(phase).get("after", {}))

    def _phase(self, name: str) -> dict[str, Any]:
        if name not in PHASES:
            raise InputError(f"no phase {name!r}: choose one of {', '.join(PHASES)}")
        return self._recorded["phases"].get(name, {})  # type: ignore[no-any-return]

    @cached_property
    def timeline(self) -> dict[str, np.ndarray[Any, Any]]:
        """Columns with an entry for each recorded call, in call order.

        call (its number, a row in `profile.ops`), op, module (its path), phase, live (bytes held
        after it), highest (the most held while it ran).
        """
        import numpy as np

        index = {name: np.asarray(column) for name, column in self._data.call_index().items()}
        return {
            "call": np.arange(len(index["scope"])),
            "op": _taken(self._data.signatures()["op"], index["signature"]),
            "module": _taken(self._paths, index["scope"]),
            "phase": _taken(PHASES, index["phase"]),
            "live": counts(self._recorded["live"]),
            "highest": counts(self._recorded["highest"]),
        }

    # Advice.

    def checkpointing(self, path: str) -> Checkpointing:
        """What `torch.utils.checkpoint` around the module at `path` would save and cost a step.

        Saved are the activations that its calls leave to the backward, less its inputs, which a
        checkpoint keeps; their elements are taken to be as large as the parameters'. While it is
        recomputed in the backward the module needs its activations after all, so that the peak
        falls by less, and not at all where this module alone makes the peak.

        Raises `InputError` where no backward was recorded, `UnknownLayerError` for a path that was
        never called.
        """
        kept = self._recorded.get("kept_by_layer")
        if kept is None or "backward" not in self.phases:
            raise InputError(
                "checkpointing is for training: record a backward with "
                "nnprof.trace(model, backward=True) or nnprof.measure(..., backward=True)"
            )
        roots, inside = self._rows_of(path)
        held = sum(bytes_ for row, bytes_ in kept if row in inside)
        inputs = sum(self._input_bytes(row) for row in roots)
        return Checkpointing(max(held - inputs, 0), self._forward_flops(inside))

    def _rows_of(self, path: str) -> tuple[list[int], set[int]]:
        """The rows of the module's calls, and those with all rows below them."""
        roots: list[int] = []
        inside: set[int] = set()
        for index, row in enumerate(self._rows):
            if row["parent"] in inside:
                inside.add(index)
            elif row["path"] == path:
                roots.append(index)
                inside.add(index)
        if not roots:
            known = self._facts.never_called
            raise UnknownLayerError(no_such_layer(path, self._paths, known))
        return roots, inside

    def _input_bytes(self, row: int) -> int:
        facts, layer = self._facts, self._rows[row]
        elements = sum(prod(shape) for shape in layer["input_shapes"])
        each = facts.parameter_bytes / facts.params if facts.params else 4
        return int(layer["calls"] * elements * each)

    def _forward_flops(self, rows: set[int]) -> int:
        ops = self._data.ops()
        return sum(
            int(flops)
            for scope, phase, flops in zip(ops["scope"], ops["phase"], ops["flops"], strict=True)
            if phase == "forward" and int(scope) in rows
        )

    # What the trace answers, asked for once.

    @cached_property
    def _answer(self) -> dict[str, Any] | None:
        return self._data.memory()

    @property
    def _recorded(self) -> dict[str, Any]:
        if self._answer is None:
            raise InputError(
                "this profile was saved by a version of nnprof that did not count memory over "
                "time: measure the model again"
            )
        return self._answer

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return self._data.layers()

    @cached_property
    def _paths(self) -> list[str]:
        return [row["path"] for row in self._rows]

    def __repr__(self) -> str:
        from nnprof.base.units import Unit, format_value

        if not self.known:
            return "<Memory: peak unknown>"
        return f"<Memory: peak {format_value(self.peak, Unit.BYTES)}>"


def _by_kind(held: dict[str, int]) -> dict[str, int]:
    return {kind: int(held.get(kind, 0)) for kind in KINDS}


def _taken(names: Any, numbers: Any) -> np.ndarray[Any, Any]:
    """The name of each number; an empty list of names has no type that NumPy would know."""
    import numpy as np

    column: np.ndarray[Any, Any] = np.asarray(names, dtype=str)[numbers.astype("int64")]
    return column
