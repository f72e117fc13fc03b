"""FLOP per clock and unit, by architecture: peak = units x clock x rate.

From the vendors' architecture papers; the data files of devices agree with them within a few
percent, as tests demand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AMD", "ARCHITECTURES", "GEFORCE", "NVIDIA", "SIMD", "Rates"]


@dataclass(frozen=True)
class Rates:
    """FLOP per clock of one SM, CU or core."""

    vector: Mapping[str, float]
    matrix: Mapping[str, float] = field(default_factory=dict)
    #: The matrix units' clock over the ordinary units', where the vendor's peaks differ in it.
    matrix_clock: float = 1.0


def _tensor_cores(
    fp16: float, *, without: tuple[str, ...] = (), **others: float
) -> dict[str, float]:
    """Rates of tensor cores with fp32 accumulate, which halve with every doubling of the width."""
    rates = {"tf32": fp16 / 2, "fp16": fp16, "bf16": fp16, "int8": 2 * fp16, **others}
    return {name: rate for name, rate in rates.items() if name not in without}


_OLD = ("tf32", "bf16")  # what tensor cores before Ampere do not take

ARCHITECTURES: Mapping[str, Rates] = {
    "pascal": Rates({"fp64": 4, "fp32": 256}),
    "pascal-p100": Rates({"fp64": 64, "fp32": 128}, {"fp16": 256}),
    "volta": Rates({"fp64": 64, "fp32": 128, "int8": 512}, {"fp16": 1024}),
    "turing": Rates({"fp64": 4, "fp32": 128}, _tensor_cores(1024, without=_OLD)),
    "turing-geforce": Rates({"fp64": 4, "fp32": 128}, _tensor_cores(512, without=_OLD, int8=2048)),
    "turing-gtx": Rates({"fp64": 4, "fp32": 128}, {"fp16": 256}),
    "ampere": Rates({"fp64": 64, "fp32": 128}, _tensor_cores(2048, fp64=128)),
    "ampere-pro": Rates({"fp64": 4, "fp32": 256}, _tensor_cores(1024)),
    "ampere-geforce": Rates({"fp64": 4, "fp32": 256}, _tensor_cores(512, int8=2048)),
    "ada": Rates({"fp64": 4, "fp32": 256}, _tensor_cores(1024, fp8=2048)),
    "ada-geforce": Rates({"fp64": 4, "fp32": 256}, _tensor_cores(512, fp8=1024, int8=2048)),
    "hopper": Rates({"fp64": 128, "fp32": 256}, _tensor_cores(4096, fp64=256, fp8=8192), 0.924),
    "blackwell": Rates(
        {"fp64": 128, "fp32": 256}, _tensor_cores(8192, fp64=128, fp8=16384, fp4=32768), 0.944
    ),
    "blackwell-pro": Rates({"fp64": 4, "fp32": 256}, _tensor_cores(1024, fp8=2048, fp4=4096)),
    "blackwell-geforce": Rates(
        {"fp64": 4, "fp32": 256}, _tensor_cores(512, fp8=1024, int8=2048, fp4=4096)
    ),
    "cdna": Rates(
        {"fp64": 64, "fp32": 128}, {"fp32": 256, "fp16": 1024, "bf16": 512, "int8": 1024}
    ),
    "cdna2": Rates(
        {"fp64": 128, "fp32": 128},
        {"fp64": 256, "fp32": 256, "fp16": 1024, "bf16": 1024, "int8": 1024},
    ),
    "cdna3": Rates({"fp64": 128, "fp32": 256}, _tensor_cores(2048, fp64=256, fp32=256, fp8=4096)),
}

#: Words of the names of NVIDIA GPUs that run fp16 with fp32 accumulate at half the rate.
GEFORCE = frozenset({"geforce", "a10g"})

#: The architecture of NVIDIA GPUs by compute capability: (of those, of all others).
NVIDIA: Mapping[tuple[int, int], tuple[str, str]] = {
    (6, 0): ("pascal-p100", "pascal-p100"),
    (6, 1): ("pascal", "pascal"),
    (7, 0): ("volta", "volta"),
    (7, 5): ("turing-geforce", "turing"),
    (8, 0): ("ampere", "ampere"),
    (8, 6): ("ampere-geforce", "ampere-pro"),
    (8, 9): ("ada-geforce", "ada"),
    (9, 0): ("hopper", "hopper"),
    (10, 0): ("blackwell", "blackwell"),
    (12, 0): ("blackwell-geforce", "blackwell-pro"),
}

#: Of AMD GPUs by the first part of `gcnArchName`.
AMD: Mapping[str, str] = {"gfx908": "cdna", "gfx90a": "cdna2", "gfx942": "cdna3"}

#: Of CPU cores, by instruction set. All have two units for fused multiply-add, except zen4, which
#: runs AVX-512 in two halves; bf16 and int8 only where an instruction multiplies them.
SIMD: Mapping[str, Rates] = {
    "sse": Rates({"fp64": 4, "fp32": 8}),
    "neon": Rates({"fp64": 8, "fp32": 16}),
    "avx2": Rates({"fp64": 16, "fp32": 32}),
    "zen4": Rates({"fp64": 16, "fp32": 32}, {"bf16": 64}),
    "avx512": Rates({"fp64": 32, "fp32": 64}),
    "avx512-bf16": Rates({"fp64": 32, "fp32": 64}, {"bf16": 128}),
    "amx": Rates({"fp64": 32, "fp32": 64}, {"bf16": 1024, "int8": 2048}),
}
