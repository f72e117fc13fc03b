"""How long a trace would take on a device: from a hardware model, without the device.

The model is in C++ (csrc/cost); docs/estimate.md says what is in it and how far to trust it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from nnprof import _core
from nnprof.base.precision import convolution_tf32, matmul_tf32
from nnprof.hardware import find, for_device
from nnprof.results import registry
from nnprof.results.time_records import Estimates, Timeline
from nnprof.results.times import Times

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import torch

    from nnprof.hardware import Hardware

__all__ = ["estimate", "find_hardware", "timeline", "times_on"]


def estimate(
    result: _core.TraceResult, hardware: Hardware, *, attention: str | None = None
) -> Estimates:
    """What each call of `result` takes on `hardware`.

    `attention`: the kernel of scaled dot-product attention ("fa2", "fa3", "cudnn", "efficient",
    "math"); default: the one that PyTorch picks on that device. Whether float32 products may use
    TF32 is as the process has it set.
    """
    core = _core_hardware(hardware)
    columns = _core.estimate(
        result,
        core,
        matmul_tf32=matmul_tf32(),
        convolution_tf32=convolution_tf32(),
        attention=attention or "",
    )
    line = timeline(result, hardware, columns["seconds"], columns["host_s"])
    lists = {n: v if isinstance(v, list) else v.tolist() for n, v in columns.items()}
    return Estimates(hardware=hardware, timeline=line, **lists)


def find_hardware(
    hardware: Hardware | PathLike[str] | str | None, device: torch.device | None
) -> Hardware | None:
    """What to estimate for: the named one, else the device's own, else nothing.

    Raises `InputError` for a name that is not known.
    """
    if hardware is not None:
        return find(hardware)
    return for_device(device) if device is not None else None


def times_on(result: _core.TraceResult, hardware: Hardware | PathLike[str] | str) -> Times:
    """The times of a trace on `hardware`, found by its name. Raises as `find` does."""
    return Times(result, estimate(result, find(hardware)))


registry.times_on.fill(times_on)


def timeline(
    result: _core.TraceResult, hardware: Hardware, seconds: Sequence[float], host_s: Sequence[float]
) -> Timeline:
    """The calls one after the other; `seconds` and `host_s` are of each signature."""
    latency = hardware.model_constants()["launch_latency_s"]
    return Timeline(*_core.timeline(result, seconds, host_s, latency, hardware.kind == "cpu"))


def _core_hardware(hardware: Hardware) -> _core.Hardware:
    return _made(_Key(hardware))


class _Key:
    """A Hardware as a key of a cache: it holds dicts, so it is told by identity."""

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware

    def __hash__(self) -> int:
        return id(self.hardware)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.hardware is self.hardware


@lru_cache(maxsize=8)
def _made(key: _Key) -> _core.Hardware:
    hardware = key.hardware
    vector = dict(hardware.vector_flops)
    # A peak that is that of the ordinary units tells of no matrix unit.
    matrix = {name: peak for name, peak in hardware.flops.items() if vector.get(name) != peak}
    return _core.Hardware(
        architecture=hardware.architecture,
        cpu=hardware.kind == "cpu",
        compute_units=hardware.compute_units,
        cache_bytes=hardware.cache_bytes,
        bandwidth=hardware.bandwidth,
        flops=matrix,
        vector_flops=vector,
        constants=hardware.model_constants(),
    )
