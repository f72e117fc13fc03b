"""Model FLOPs and hardware FLOPs, the counts that utilizations are made of.

All are FLOPs of products (matmul, convolution, attention, recurrent cells) in all phases, as in
the appendix of PaLM (Chowdhery et al., arXiv:2204.02311).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nnprof.results.records import PHASES

if TYPE_CHECKING:
    from nnprof.results.records import TraceData

__all__ = ["hardware_flops", "model_flops", "model_flops_needed", "signature_calls"]


def model_flops(data: TraceData) -> int:
    """Those of the dense mathematics: without what is computed again, be it a call (activation
    checkpointing) or a product inside of one (the scores, by a gradient's kernel)."""
    return _summed(data, "contraction_flops_model", recomputed=False) or 0


def model_flops_needed(data: TraceData) -> int | None:
    """Of those, what masks, windows and documents leave; None where that was not recorded."""
    return _summed(data, "contraction_flops_needed", recomputed=False)


def hardware_flops(data: TraceData) -> int:
    """What kernels execute: with all that is computed again, without what kernels skip."""
    return _summed(data, "contraction_flops_executed", recomputed=True) or 0


def _summed(data: TraceData, column: str, *, recomputed: bool) -> int | None:
    each = data.signatures().get(column)
    if each is None:
        return None
    return sum(
        calls * int(each[number])
        for number, calls in signature_calls(data, recomputed=recomputed).items()
    )


def signature_calls(data: TraceData, *, recomputed: bool) -> Counter[int]:
    """Calls of each signature, with or without those that were made again."""
    index = data.call_index()
    calls = Counter(map(int, index["signature"]))
    if recomputed or PHASES.index("backward") not in index["phase"]:
        return calls  # only a backward makes calls again
    again = data.ops()["recomputed"]
    calls.subtract(int(n) for n, one in zip(index["signature"], again, strict=True) if one)
    return calls
