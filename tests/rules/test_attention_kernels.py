"""Kernels of attention that are called by their own names: layouts, documents, windows, caches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.utils.flop_counter import FlopCounterMode

import nnprof
from tests.rules.attention_kernels import (
    HEADS,
    LENGTHS,
    WIDTH,
    WINDOWS,
    check,
    check_gradient,
    count,
    half,
    packed,
    profile_of,
    starts,
    windowed,
)
from tests.rules.costs import meta

if TYPE_CHECKING:
    from tests.helpers.alone import Starter

VALUE_WIDTH = WIDTH


def flash(q: Tensor, k: Tensor, *, causal: bool = False, **options: Any) -> Any:
    kernel = torch.ops.aten._flash_attention_forward
    return kernel(q, k, k, None, None, q.shape[1], k.shape[1], 0.0, causal, False, **options)


def efficient(q: Tensor, k: Tensor, kind: int = 0, **options: Any) -> Any:
    kernel = torch.ops.aten._efficient_attention_forward
    return kernel(q, k, k, None, None, None, None, None, 0.0, kind, True, **options)


@pytest.mark.parametrize(("queries", "keys"), [(6, 6), (3, 8), (8, 3), (1, 9)])
@pytest.mark.parametrize("window", WINDOWS)
def test_flash_attention_skips_what_a_window_hides(
    queries: int, keys: int, window: tuple[int, int]
) -> None:
    q, k = half(2, queries, HEADS, WIDTH), half(2, keys, 2, WIDTH)  # grouped queries
    sees = windowed(*window)
    names = dict(zip(("window_size_left", "window_size_right"), window, strict=True))
    profile = profile_of(flash, q, k, **names)
    check(profile, 2 * queries * keys, 2 * count([(queries, keys)], sees))
    causal = profile_of(flash, q, k, causal=True, **names)
    check(causal, 2 * queries * keys, 2 * count([(queries, keys)], windowed(window[0], 0)))


@pytest.mark.parametrize(("queries", "keys"), [(6, 6), (3, 8), (8, 3)])
@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("width", [None, 1, 3, 50])
def test_efficient_attention_counts_from_either_end(
    queries: int, keys: int, kind: int, width: int | None
) -> None:
    q, k = half(2, queries, HEADS, WIDTH), half(2, keys, HEADS, WIDTH)
    left = -1 if width is None else width - 1
    sees = windowed(left, 0, from_end=kind == 2) if kind else windowed(-1, -1)
    profile = profile_of(efficient, q, k, kind, window_size=width)
    check(profile, 2 * queries * keys, 2 * count([(queries, keys)], sees))


@pytest.mark.parametrize("causal", [False, True])
def test_cudnn_attention_has_heads_first(causal: bool) -> None:
    q, k = half(2, HEADS, 5, WIDTH), half(2, HEADS, 7, WIDTH)
    kernel = torch.ops.aten._cudnn_attention_forward
    profile = profile_of(kernel, q, k, k, None, None, None, 5, 7, True, 0.0, causal)
    sees = windowed(-1, 0 if causal else -1, from_end=False)
    check(profile, 2 * 5 * 7, 2 * count([(5, 7)], sees))


@pytest.mark.parametrize("window", WINDOWS)
def test_documents_attend_to_themselves(window: tuple[int, int]) -> None:
    q, k, starts_q, starts_k = packed(LENGTHS)
    profile = profile_of(varlen_attn, q, k, k, starts_q, starts_k, 7, 7, window_size=window)
    check(profile, count(LENGTHS), count(LENGTHS, windowed(*window)))


def test_documents_of_every_kernel() -> None:
    q, k, starts_q, starts_k = packed(LENGTHS)
    lengths = (starts_q, starts_k, 7, 7)
    aten = torch.ops.aten
    pairs = count(LENGTHS)
    check(
        profile_of(aten._flash_attention_forward, q, k, k, *lengths, 0.0, False, False),
        pairs,
        pairs,
    )
    check(profile_of(aten._cudnn_attention_forward, q, k, k, None, *lengths, True), pairs, pairs)
    profile = profile_of(
        aten._efficient_attention_forward, q[None], k[None], k[None], None, *lengths, 0.0, 2
    )
    check(profile, pairs, count(LENGTHS, windowed(-1, 0)))
    out = torch.empty_like(q)
    profile = profile_of(
        aten._flash_attention_forward_no_dropout_inplace,
        *(out, q, k, k, *lengths, 0.0, True, False),
    )
    check(profile, pairs, count(LENGTHS, windowed(-1, 0)))
    # The output is written, not read.
    assert profile.bytes_read == sum(t.nbytes for t in (q, k, starts_q, starts_k))
    assert profile.bytes_written == out.nbytes + 4 * HEADS * len(q)


def test_documents_as_flop_counter_mode_counts_them() -> None:
    documents = [4, 0, 9, 1]
    q = half(sum(documents), HEADS, WIDTH)
    where = starts(documents)

    def attend() -> None:
        varlen_attn(q, q, q, where, where, 9, 9)

    with FlopCounterMode(display=False) as counter:
        attend()
    assert 2 * profile_of(attend).macs == counter.get_total_flops()


@pytest.mark.parametrize("kernel", ["flash", "varlen"])
def test_lengths_that_are_not_known_are_a_guess(kernel: str) -> None:
    q, where = half(20, HEADS, WIDTH), meta(6, dtype=torch.int32)
    if kernel == "flash":
        forward = torch.ops.aten._flash_attention_forward
        profile = profile_of(forward, q, q, q, where, where, 8, 8, 0.0, False, False)
    else:
        profile = profile_of(varlen_attn, q, q, q, where, where, 8, 8)
    # 8, 8 and 4 of the five documents.
    check(profile, 64 + 64 + 16, 64 + 64 + 16)
    (assumption,) = profile.assumptions
    assert "as long as the longest" in assumption


def test_a_cache_in_pages_is_read_as_far_as_it_is_used() -> None:
    used = [5, 12, 1]
    q = half(3, HEADS, WIDTH)  # one token a sequence
    keys, values = half(10, 4, 2, WIDTH), half(10, 4, 2, WIDTH)  # pages, tokens of one, heads
    table = torch.zeros(3, 3, dtype=torch.int32)
    lengths = torch.tensor(used, dtype=torch.int32)
    profile = profile_of(
        varlen_attn, q, keys, values, starts([1, 1, 1]), None, 1, 12,
        enable_gqa=True, seqused_k=lengths, block_table=table,
    )  # fmt: skip
    check(profile, sum(used), sum(used))
    cache = 2 * 2 * WIDTH * 2 * sum(used)
    assert profile.bytes_read == q.nbytes + cache + 4 * (4 + 3 + 9)


# Gradients.


def gradient_of(
    kernel: Any, q: Tensor, k: Tensor, sums: Tensor, *rest: Any, **options: Any
) -> nnprof.Profile:
    return profile_of(kernel, q, q, k, k, q, sums, *rest, **options)


@pytest.mark.parametrize("window", [(-1, -1), (2, 1), (-1, 0), (0, 0)])
def test_gradients_of_flash_attention(window: tuple[int, int]) -> None:
    q, k = half(2, 6, HEADS, WIDTH), half(2, 9, HEADS, WIDTH)
    sums, random, unused = meta(2, HEADS, 6), meta(2, dtype=torch.uint64), meta(0)
    backward = torch.ops.aten._flash_attention_backward
    options = dict(zip(("window_size_left", "window_size_right"), window, strict=True))
    rest = (None, None, 6, 9, 0.0, False, random, unused)
    profile = gradient_of(backward, q, k, sums, *rest, **options)
    check_gradient(profile, 2 * 54, 2 * count([(6, 9)], windowed(*window)))


def test_gradients_of_documents() -> None:
    q, k, starts_q, starts_k = packed(LENGTHS)
    sums, random = meta(HEADS, len(q)), meta(2, dtype=torch.uint64)
    lengths = (starts_q, starts_k, 7, 7)
    pairs, causal = count(LENGTHS), count(LENGTHS, windowed(-1, 0))
    backward = torch.ops.torch_attn._varlen_attn_backward
    profile = gradient_of(backward, q, k, sums, *lengths, True, random)
    check_gradient(profile, pairs, causal)
    profile = profile_of(
        torch.ops.aten._efficient_attention_backward,
        *(q[None], q[None], k[None], k[None], None, q[None], *lengths, sums),
        *(0.0, random, random, 0, False),
    )
    check_gradient(profile, pairs, pairs)


def test_training_through_packed_documents() -> None:
    documents = [4, 0, 9, 1]
    where = starts(documents)
    q, k, v = (half(14, HEADS, WIDTH).requires_grad_() for _ in range(3))

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Any:
        return varlen_attn(q, k, v, where, where, 9, 9, window_size=(-1, 0))

    profile = nnprof.measure(attend, inputs=(q, k, v), backward=True)
    pairs, causal = (count([(n, n) for n in documents], windowed(-1, r)) for r in (-1, 0))
    product = 2 * HEADS * WIDTH
    assert profile.model_flops == (2 + 4) * product * pairs
    assert profile.model_flops_needed == (2 + 4) * product * causal
    assert profile.hardware_flops == (2 + 5) * product * causal
    assert profile.assumptions == []


# What is put out.


def outputs(kernel: Any, *args: Any, **kwargs: Any) -> list[Any]:
    found = kernel(*args, **kwargs)
    found = found if isinstance(found, (tuple, list)) else (found,)
    return [
        (tuple(one.shape), one.stride(), one.dtype) if isinstance(one, Tensor) else one
        for one in found
    ]


def _cases() -> list[Any]:
    aten = torch.ops.aten
    q, k = half(2, 5, HEADS, WIDTH), half(2, 7, HEADS, WIDTH)
    flat, other, starts_q, starts_k = packed(LENGTHS)
    lengths = (starts_q.to("meta"), starts_k.to("meta"), 7, 7)
    random, sums = meta(2, dtype=torch.uint64), meta(2, HEADS, 32)
    return [
        (aten._flash_attention_forward, q, k, k, None, None, 5, 7, 0.0, True, False),
        (aten._flash_attention_forward, q, k, k, None, None, 5, 7, 0.1, True, True),
        (aten._flash_attention_forward, flat, other, other, *lengths, 0.0, True, False),
        (aten._efficient_attention_forward, q, k, k, None, None, None, None, None, 0.0, 0, True),
        (aten._efficient_attention_forward, q, k, k, None, None, None, None, None, 0.0, 0),
        (
            *(aten._flash_attention_backward, q, q, k, k, q, sums),
            *(None, None, 5, 7, 0.0, True, random, random),
        ),
        (torch.ops.torch_attn._varlen_attn, flat, other, other, *lengths),
    ]


@pytest.mark.parametrize("case", range(len(_cases())))
def test_outputs_are_as_of_the_meta_kernels(case: int) -> None:
    kernel, *args = _cases()[case]
    expected = outputs(kernel, *args)
    with nnprof.trace():
        assert outputs(kernel, *args) == expected


def test_nothing_depends_on_what_is_imported(run_alone: Starter) -> None:
    program = """
import sys, torch, nnprof
q = torch.empty(2, 128, 4, 64, dtype=torch.bfloat16, device="meta")
aten, no = torch.ops.aten, None
def flash(q): return aten._flash_attention_forward(q, q, q, no, no, 128, 128, 0.0, False, False)[0]
def efficient(q): return aten._efficient_attention_forward(q, q, q, *[no] * 5, 0.0, 0)[0]
before = [nnprof.measure(kernel, inputs=q).macs for kernel in (flash, efficient)]
assert "torch.utils.flop_counter" not in sys.modules
import torch.utils.flop_counter
print(before, [nnprof.measure(kernel, inputs=q).macs for kernel in (flash, efficient)])
"""
    ran = run_alone(program)
    macs = [2 * 2 * 4 * 128 * 128 * 64] * 2
    assert ran.stdout.strip() == f"{macs} {macs}", ran.stderr
