"""One call at a time, traced and estimated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nnprof
from nnprof.hardware import find
from nnprof.results.times import Times
from nnprof.timing.estimate import estimate

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnprof import _core
    from nnprof.hardware import Hardware
    from nnprof.results.times import SignatureTimes

HALF = torch.bfloat16


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def traced(call: Callable[..., Any], *arguments: Any) -> _core.TraceResult:
    with torch.no_grad(), nnprof.trace(call) as running:
        call(*arguments)
    return running.result


def times(
    call: Callable[..., Any],
    *arguments: Any,
    on: Hardware | str,
    attention: str | None = None,
) -> list[SignatureTimes]:
    """Of each unique call that `call` makes."""
    result = traced(call, *arguments)
    return Times(result, estimate(result, find(on), attention=attention)).by_signature


def time(call: Callable[..., Any], *arguments: Any, **options: Any) -> SignatureTimes:
    """Of the only call that `call` makes."""
    (one,) = times(call, *arguments, **options)
    return one


def seconds(call: Callable[..., Any], *arguments: Any, **options: Any) -> float:
    """Of the only call that `call` makes."""
    return time(call, *arguments, **options).estimated_s


def product(
    rows: int, columns: int, depth: int, on: Hardware | str, dtype: torch.dtype = HALF
) -> SignatureTimes:
    """(rows, depth) by (depth, columns)."""
    left, right = meta(rows, depth, dtype=dtype), meta(depth, columns, dtype=dtype)
    return time(torch.mm, left, right, on=on)


def linear(inputs: int, outputs: int, dtype: torch.dtype = HALF, bias: bool = False) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias, dtype=dtype, device="meta")


def attention(
    queries: tuple[int, int, int, int],
    keys: tuple[int, int, int, int] | None = None,
    *,
    on: Hardware | str,
    dtype: torch.dtype = HALF,
    kernel: str | None = None,
    mask: Tensor | None = None,
    causal: bool = False,
    grouped: bool = False,
) -> SignatureTimes:
    """(batch, heads, length, size) of queries, and of keys and values."""

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=grouped
        )

    q, k, v = (meta(*shape, dtype=dtype) for shape in (queries, keys or queries, keys or queries))
    return time(call, q, k, v, on=on, attention=kernel)


def bytes_of(*tensors: Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
