"""Calls of gradients' operators that no sample of op_db makes. See coverage_cases.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

Case = tuple[str, tuple[Any, ...], dict[str, Any]]

aten = torch.ops.aten

#: Those that PyTorch has a meta kernel of, and none for the CPU.
ON_META = (
    "_fused_rms_norm_backward",
    "_scaled_dot_product_cudnn_attention_backward",
    "_scaled_dot_product_efficient_attention_backward",
    "_scaled_dot_product_flash_attention_backward",
    "_scaled_dot_product_fused_attention_overrideable_backward",
    "cudnn_batch_norm",
    "cudnn_batch_norm_backward",
)


def backward_cases() -> Iterator[Case]:
    for part in (_attention, _normalization, _resampling):
        torch.manual_seed(0)
        yield from part()


def _attention() -> Iterator[Case]:
    q, k, v = (torch.rand(2, length, 3, 8).transpose(1, 2) for length in (4, 5, 5))
    out, sums = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)
    given = (out, q, k, v, out, sums)
    yield "_scaled_dot_product_flash_attention_for_cpu_backward", (*given, 0.0, True), {}
    seed, offset = torch.tensor(0), torch.tensor(0)
    random = seed, offset
    empty = torch.empty(0, dtype=torch.int32)
    half = tuple(tensor.half() for tensor in given[:-1])
    lengths = empty, empty, 4, 5
    flash = (*half, sums, *lengths, 0.0, False, *random)
    yield "_scaled_dot_product_flash_attention_backward", flash, {}
    bias = torch.rand(2, 3, 4, 5).half()
    cudnn = (*half, sums, *random, bias, *lengths, 0.0, False)
    yield "_scaled_dot_product_cudnn_attention_backward", cudnn, {}
    gradients = [True] * 4
    efficient = (*half[:4], bias, out.half(), sums, *random, 0.0, gradients)
    yield "_scaled_dot_product_efficient_attention_backward", efficient, {}
    other = (*half[:4], bias, gradients, out.half(), sums, *lengths, 0.0, False, *random)
    yield "_scaled_dot_product_fused_attention_overrideable_backward", other, {}


def _normalization() -> Iterator[Case]:
    x, weight, mean, variance = torch.rand(2, 3, 4, 5), torch.rand(3), torch.rand(3), torch.rand(3)
    x = x.contiguous(memory_format=torch.channels_last)
    statistics = weight, mean, variance, torch.rand(3), torch.rand(3)
    every, reserve = [True] * 3, torch.empty(0, dtype=torch.uint8)
    yield "native_batch_norm_backward", (x, x, *statistics, True, 1e-5, every), {}
    yield "batch_norm_backward", (x, x, *statistics, False, 1e-5, every, reserve), {}
    yield "cudnn_batch_norm", (x, weight, torch.rand(3), mean, variance, True, 0.1, 1e-5), {}
    yield "cudnn_batch_norm_backward", (x, x, *statistics, 1e-5, reserve), {}
    rows = torch.rand(2, 3, 4)
    deviations = torch.rand(2, 3, 1)
    rms = (rows, rows, [4], deviations, torch.rand(4), [True, True])
    yield "_fused_rms_norm_backward", rms, {}


def _resampling() -> Iterator[Case]:
    plane = torch.rand(2, 3, 6, 4).contiguous(memory_format=torch.channels_last)
    for kind in ("bicubic", "lanczos"):
        yield f"_upsample_{kind}2d_aa_backward", (plane, [6, 4], [2, 3, 4, 7], True), {}
    for name in ("upsample_nearest3d", "_upsample_nearest_exact3d"):
        yield f"{name}_backward", (torch.rand(2, 3, 4, 6, 2), [4, 6, 2], [2, 3, 2, 5, 4]), {}
