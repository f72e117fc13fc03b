"""What a process holds of a device beside its program's tensors, and how much there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnprof.hardware.time_model import merged

if TYPE_CHECKING:
    from nnprof.hardware.spec import Hardware

__all__ = ["ProcessMemory", "process_memory"]

FILE = Path(__file__).with_suffix(".toml")

_MIB = 1 << 20


@dataclass(frozen=True)
class ProcessMemory:
    """Bytes; see process_memory.toml for where they are from."""

    total: int  #: what programs can have of the device, all together
    blas_workspace: int  #: of each thread that multiplies, out of PyTorch's allocator
    context_low: int  #: CUDA's context and the kernels' modules: the least that was seen,
    context: int  #: what is usual,
    context_high: int  #: and the most
    convolution_high: int = 0  #: the most that cuDNN was seen to take for a convolution


def process_memory(hardware: Hardware) -> ProcessMemory:
    """Of a GPU; a CPU's process has no context and no workspace."""
    if hardware.kind != "gpu":
        return ProcessMemory(hardware.memory_bytes, 0, 0, 0, 0)
    known = merged(FILE, hardware.kind, hardware.architecture) | dict(hardware.process)
    total = known.get("total", hardware.memory_bytes * known["total_share"])
    return ProcessMemory(
        round(total),
        round(known["blas_workspace"]),
        round(known["context_low"] * _MIB),
        round(known["context"] * _MIB),
        round(known["context_high"] * _MIB),
        round(known["convolution_high"] * _MIB),
    )
