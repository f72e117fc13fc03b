"""What a run takes of a GPU: PyTorch's caching allocator, simulated, and what is outside of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nnprof import _core
from nnprof.base.units import format_bytes
from nnprof.errors import InputError
from nnprof.hardware.alloc_conf import parse, text_of
from nnprof.hardware.process_memory import process_memory

if TYPE_CHECKING:
    from os import PathLike

    import numpy as np

    from nnprof.hardware import Hardware
    from nnprof.results.records import TraceData

__all__ = ["NO", "TOO_CLOSE", "YES", "DeviceMemory", "OutOfMemory"]

YES, NO, TOO_CLOSE = "yes", "no", "too close to tell"

#: Beside the context's own range: what is not counted, of what is reserved.
_UNCERTAIN = 0.01
_SEGMENT = 2 << 20


@dataclass(frozen=True)
class OutOfMemory:
    """Where the device had no more to give, after all that was cached had gone back to it."""

    call: int  #: its number, a row in `profile.ops`; -1: the model itself does not fit
    asked: int  #: bytes that it asked for
    allocated: int  #: bytes in use then
    reserved: int  #: bytes that the allocator held


class DeviceMemory:
    """What the recorded calls take of a GPU. Bytes.

    PyTorch's native allocator is simulated from what the calls ask for: rounding, segments, the
    best fit, splitting and merging, memory given back where there is no more. cuBLAS' workspace is
    among it; those of cuDNN and of attention are not, nor what other processes hold.
    """

    def __init__(
        self,
        data: TraceData,
        requests: _core.Requests,
        hardware: Hardware,
        alloc_conf: str | None = None,
        *,
        beside: int = 0,
    ) -> None:
        if hardware.kind != "gpu":
            raise InputError(f"{hardware.name} is no GPU: only they have a caching allocator")
        self._data = data
        self._requests = requests
        self._beside = [beside] if beside else []
        self._options = parse(alloc_conf)
        self._process = process_memory(hardware)
        #: As in PYTORCH_ALLOC_CONF, "" for torch's defaults.
        self.alloc_conf = text_of(alloc_conf)
        self.hardware = hardware

    # With as much memory as it takes.

    @property
    def allocated(self) -> int:
        """The most in use at any time, as `torch.cuda.max_memory_allocated()`."""
        return int(self._free_of_limits["peak_allocated"])

    @property
    def reserved(self) -> int:
        """The most that the allocator holds, as `torch.cuda.max_memory_reserved()`."""
        return int(self._free_of_limits["peak_reserved"])

    @property
    def process(self) -> int:
        """What the process holds then, as `nvidia-smi` shows it: with CUDA's context."""
        return self.reserved + self._process.context

    @property
    def context(self) -> int:
        """CUDA's context and the kernels' modules, which no allocator knows."""
        return self._process.context

    @property
    def fragmentation(self) -> int:
        """Of `reserved`, when it came to be so much: in no use, but cached."""
        return int(self._free_of_limits["unused_at_peak"])

    @property
    def peak_call(self) -> int:
        """The call that made it hold the most; -1: it did so before the first."""
        return int(self._free_of_limits["peak_call"])

    @property
    def timeline(self) -> dict[str, np.ndarray[Any, Any]]:
        """Columns by recorded call: allocated and reserved, after it."""
        return {name: self._free_of_limits[name] for name in ("allocated", "reserved")}

    # With what there is.

    @property
    def total(self) -> int:
        """What programs can have of the device, all together."""
        return self._process.total

    @property
    def margin(self) -> int:
        """How far `process` may be off.

        Half of the context's range, 1 % of what is reserved, and where there are convolutions what
        cuDNN was seen to take for them.
        """
        spread = self._process.context_high - self._process.context_low
        return spread // 2 + self._uncertain

    @cached_property
    def needed(self) -> int:
        """The least that the allocator must be able to hold, to 0.1 % or a segment of 2 MiB.

        Less than `reserved` where what is cached can go back to the device first, which takes time.
        """
        low, high = self.allocated, self.reserved
        close = max(_SEGMENT, high // 1000)
        while high - low > close:
            middle = (low + high) // 2
            if self._simulated(middle)["out_of_memory"] is None:
                high = middle
            else:
                low = middle
        return high

    @cached_property
    def verdict(self) -> str:
        """ "yes", "no", or "too close to tell": within `margin`."""
        surely = self.total - self._process.context_high - self._uncertain
        if self.reserved <= surely or self.needed <= surely:
            return YES
        perhaps = self.total - self._process.context_low + self._uncertain
        return NO if self.needed > perhaps else TOO_CLOSE

    @cached_property
    def _uncertain(self) -> int:
        convolves = any("conv" in op for op in self._data.signatures()["op"])
        workspace = self._process.convolution_high if convolves else 0
        return workspace + round(_UNCERTAIN * self.reserved)

    @property
    def spare(self) -> int:
        """Bytes left at the process's most; less than 0 where they are missing.

        Where it runs only because what is cached goes back to the device first: of `needed`.
        """
        return self._room - (self.reserved if self.reserved <= self._room else self.needed)

    @cached_property
    def out_of_memory(self) -> OutOfMemory | None:
        """Where it would run out on this device; None where it would not."""
        found = self._here["out_of_memory"]
        if found is None:
            return None
        return OutOfMemory(found["call"], found["bytes"], found["allocated"], found["reserved"])

    @property
    def retries(self) -> int:
        """How often all that is cached has to go back to the device first, which costs time."""
        return int(self._here["retries"])

    @property
    def _room(self) -> int:
        return self.total - self._process.context

    @cached_property
    def _here(self) -> dict[str, Any]:
        return self._simulated(self._room)

    @cached_property
    def _free_of_limits(self) -> dict[str, Any]:
        return self._simulated(None)

    def _simulated(self, capacity: int | None) -> dict[str, Any]:
        return _core.device_use(
            self._requests, self._allocator(capacity), **self._outside_of_the_trace
        )

    @property
    def _outside_of_the_trace(self) -> dict[str, Any]:
        return {"beside": self._beside, "blas_workspace": self._process.blas_workspace}

    def _allocator(self, capacity: int | None) -> _core.AllocatorOptions:
        options = dict(self._options)
        # A share of the device that torch may take, and all that there is.
        if "allowed" in options:
            options["allowed"] = round(options["allowed"] * self._process.total)
        return _core.AllocatorOptions(
            capacity=None if capacity is None else max(capacity, 0), **options
        )

    # For PyTorch's viewer.

    def snapshot(self) -> dict[str, Any]:
        """What `torch.cuda.memory._snapshot()` would give after the run, with as much as it takes.

        Segments, their blocks and every event, each under the operator and the modules that made
        it: see `nnprof.results.memory_snapshot`.
        """
        from nnprof.results.memory_snapshot import made

        history = _core.device_history(
            self._requests, self._allocator(None), **self._outside_of_the_trace
        )
        return made(self._data, *history)

    def save_snapshot(self, path: str | PathLike[str]) -> None:
        """Writes `snapshot()` as https://pytorch.org/memory_viz reads it.

        Raises InputError where it cannot be written.
        """
        from nnprof.results.memory_snapshot import write

        write(self.snapshot(), path)

    @property
    def lines(self) -> tuple[str, str]:
        """The verdict and by how much; what the process and the allocator hold."""
        spare = f"{format_bytes(abs(self.spare))} {'to spare' if self.spare >= 0 else 'missing'}"
        return (
            f"{self.verdict}: {spare} on {self.hardware.title}, within {format_bytes(self.margin)}",
            (
                f"process {format_bytes(self.process)} of {format_bytes(self.total)}: reserved "
                f"{format_bytes(self.reserved)}, allocated {format_bytes(self.allocated)}"
            ),
        )

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{name} {format_bytes(getattr(self, name))}"
            for name in ("allocated", "reserved", "process")
        )
        return f"<DeviceMemory on {self.hardware.name}: {sizes}; fits: {self.verdict}>"
