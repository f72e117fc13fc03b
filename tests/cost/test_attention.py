"""Attention: which kernel PyTorch would take, and what prefill and decoding cost."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from nnprof.hardware import find
from tests.cost.calls import HALF, attention, meta, time

FP16, FP32, FP64 = torch.float16, torch.float32, torch.float64
KERNELS = ("fa2", "fa3", "cudnn", "efficient", "math")
PREFILL = 2, 16, 2048, 128


@pytest.mark.parametrize(
    ("device", "dtype", "masked", "size", "expected"),
    # By what torch 2.13's sdp_utils.cpp asks of each kernel: flash wants sm80, half precision, no
    # mask and heads of at most 256; memory-efficient takes fp32 and masks as well, but bf16 from
    # sm80 on alone; math takes all.
    [
        ("a100", FP16, False, 128, "fa2"),
        ("a100", HALF, False, 64, "fa2"),
        ("a100", HALF, False, 256, "fa2"),
        ("a100", HALF, False, 320, "efficient"),
        ("a100", HALF, True, 128, "efficient"),
        ("a100", FP32, False, 128, "efficient"),
        ("a100", FP64, False, 128, "math"),
        ("rtx-4090", HALF, False, 128, "fa2"),
        ("l40s", FP32, True, 64, "efficient"),
        ("v100-sxm", FP16, False, 128, "efficient"),
        ("v100-sxm", HALF, False, 128, "math"),
        ("t4", FP16, True, 64, "efficient"),
        ("t4", HALF, False, 64, "math"),
        ("h100", HALF, False, 128, "cudnn"),
        ("h200", FP16, True, 64, "cudnn"),
        ("h100", FP32, False, 128, "efficient"),
        ("h100", FP64, False, 128, "math"),
    ],
)
def test_the_kernel_is_the_one_that_pytorch_takes(
    device: str, dtype: torch.dtype, masked: bool, size: int, expected: str
) -> None:
    shape = (*PREFILL[:3], size)
    mask = meta(PREFILL[2], PREFILL[2], dtype=dtype) if masked else None
    each = {
        kernel: attention(shape, on=device, dtype=dtype, mask=mask, kernel=kernel).estimated_s
        for kernel in KERNELS
    }
    assert len(set(each.values())) == len(KERNELS)
    picked = attention(shape, on=device, dtype=dtype, mask=mask).estimated_s
    assert [kernel for kernel, took in each.items() if took == picked] == [expected]


@pytest.mark.parametrize("device", ["h100", "h200", "a100", "l40s", "b200-sxm", "v100-sxm"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(32, 32), (32, 8), (64, 8)])
def test_decoding_takes_as_long_as_reading_the_cache(
    device: str, heads: int, kv_heads: int
) -> None:
    batch, length, size = 16, 16384, 128
    took = attention(
        (batch, heads, 1, size),
        (batch, kv_heads, length, size),
        on=device,
        dtype=FP16,
        grouped=heads != kv_heads,
    )
    cache = 2 * 2 * batch * kv_heads * length * size
    reading = cache / find(device).bandwidth
    assert reading < took.estimated_s < 2 * reading
    assert took.bytes == pytest.approx(cache, rel=0.01)


def test_fewer_heads_of_keys_are_read_faster() -> None:
    def decode(kv_heads: int) -> float:
        queries, keys = (8, 32, 1, 128), (8, kv_heads, 32768, 128)
        return attention(queries, keys, on="h100", grouped=kv_heads != 32).estimated_s

    assert decode(8) == pytest.approx(decode(32) / 4, rel=0.1)
    assert decode(1) < decode(8) / 4


def test_decoding_grows_with_the_cache() -> None:
    for device in ("h100", "a100", "x86"):
        found = [
            attention((4, 32, 1, 128), (4, 8, length, 128), on=device, grouped=True).estimated_s
            for length in (128, 1024, 8192, 65536)
        ]
        assert all(before < after for before, after in pairwise(found))


@pytest.mark.parametrize("device", ["h100", "a100", "l40s", "rtx-4090", "t4"])
@pytest.mark.parametrize(("length", "most"), [(4096, 0.62), (32768, 0.53)])
def test_a_causal_prefill_takes_about_half(device: str, length: int, most: float) -> None:
    shape = 1, 16, length, 128
    whole = attention(shape, on=device, dtype=FP16).estimated_s
    causal = attention(shape, on=device, dtype=FP16, causal=True).estimated_s
    assert 0.5 < causal / whole < most


def test_a_long_prefill_is_quadratic_and_bound_by_computing() -> None:
    for device in ("h100", "a100"):
        short = attention((1, 32, 8192, 128), on=device)
        long = attention((1, 32, 16384, 128), on=device)
        assert long.estimated_s == pytest.approx(4 * short.estimated_s, rel=0.05)
        assert long.bound == "compute"


@pytest.mark.parametrize(
    ("device", "size", "kernel", "low", "high"),
    # Of the abstracts: FlashAttention-2 reaches 50 to 73 % on an A100 (arXiv 2307.08691),
    # FlashAttention-3 up to 75 % on an H100 (2407.08608), FlashAttention-2 there 35 % (the same).
    [
        ("a100", 128, "fa2", 0.5, 0.73),
        ("h100", 64, "fa3", 0.35, 0.75),
        ("h100", 128, "fa3", 0.5, 0.75),
        ("h100", 128, "fa2", 0.25, 0.45),
    ],
)
def test_shares_of_the_peak_are_near_those_published(
    device: str, size: int, kernel: str, low: float, high: float
) -> None:
    share = attention((1, 2048 // size, 16384, size), on=device, kernel=kernel).peak_share
    assert share is not None
    assert low < share < high


def test_scores_that_are_stored_pass_through_memory() -> None:
    """By the math kernel; a fused one keeps them on the chip."""
    scores = 4 * 2 * 16 * 4096 * 4096
    shape = 2, 16, 4096, 64
    fused = attention(shape, on="a100", dtype=FP32)
    stored = attention(shape, on="a100", dtype=FP32, kernel="math")
    assert fused.bytes < scores / 8
    assert stored.estimated_s > 2 * scores / find("a100").bandwidth


def test_a_single_query_is_split_over_the_keys() -> None:
    """One sequence's step has 8 blocks of heads: 8 of 132 units would not read that fast."""
    took = attention((1, 64, 1, 128), (1, 8, 131072, 128), on="h100", grouped=True)
    known = find("h100")
    assert took.estimated_s < 2 * took.bytes / known.bandwidth


@pytest.mark.parametrize("device", ["h100", "h200", "x86"])
@pytest.mark.parametrize("causal", [False, True])
def test_gradients_take_two_and_a_half_times_the_forward(device: str, causal: bool) -> None:
    shape = (4, 16, 4096, 128)
    forward = attention(shape, on=device, dtype=FP16, causal=causal)
    half = [meta(*shape, dtype=FP16) for _ in range(5)]
    sums, seeds = meta(*shape[:3]), (meta(2), meta(0))
    backward = time(
        torch.ops.aten._scaled_dot_product_cudnn_attention_backward,
        *(*half, sums, *seeds, None, None, None, 4096, 4096, 0.0, causal),
        on=device,
    )
    assert backward.flops / forward.flops == pytest.approx(2.5, rel=0.02)
    assert 1.8 < backward.estimated_s / forward.estimated_s < 3.5
