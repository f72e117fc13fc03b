"""Model FLOPs and hardware FLOPs, the two counts that utilizations are made of.

Both are FLOPs of products (matmul, convolution, attention, recurrent cells) in all phases, as in
the appendix of PaLM (Chowdhery et al., arXiv:2204.02311).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nnprof.records import PHASES

if TYPE_CHECKING:
    from nnprof.records import TraceData

__all__ = ["hardware_flops", "model_flops", "signature_calls"]


def model_flops(data: TraceData) -> int:
    """What the model needs: without the calls that activation checkpointing makes again."""
    return _summed(data, "contraction_flops", recomputed=False)


def hardware_flops(data: TraceData) -> int:
    """What kernels execute: with those calls, without what a causal mask lets kernels skip."""
    return _summed(data, "contraction_flops_executed", recomputed=True)


def _summed(data: TraceData, column: str, *, recomputed: bool) -> int:
    each = data.signatures()[column]
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
