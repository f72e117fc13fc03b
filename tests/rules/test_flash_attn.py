"""The operators of flash_attn 2 and 3, which need CUDA to be installed: their schemas alone."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

import nnprof
from tests.rules.attention_kernels import (
    HEADS,
    LENGTHS,
    WIDTH,
    check,
    check_gradient,
    count,
    half,
    packed,
    profile_of,
    windowed,
)
from tests.rules.costs import meta

if TYPE_CHECKING:
    from collections.abc import Iterator

FORWARD = (
    "_flash_attn_forward(Tensor q, Tensor k, Tensor v, float dropout_p, float softmax_scale, bool "
    "causal, SymInt window_size_left, SymInt window_size_right, float softcap, Tensor? "
    "alibi_slopes, bool return_softmax) -> (Tensor, Tensor, Tensor, Tensor)"
)
VARLEN = (
    "_flash_attn_varlen_forward(Tensor q, Tensor k, Tensor v, Tensor cu_seqlens_q, Tensor "
    "cu_seqlens_k, SymInt max_seqlen_q, SymInt max_seqlen_k, float dropout_p, float softmax_scale, "
    "bool causal, SymInt window_size_left=-1, SymInt window_size_right=-1, float softcap=0.0, "
    "Tensor? alibi_slopes=None, bool return_softmax=False, Tensor? block_table=None, Tensor? "
    "leftpad_k=None, Tensor? seqused_k=None, bool zero_tensors=False) -> (Tensor, Tensor, Tensor, "
    "Tensor)"
)
BACKWARD = (
    "_flash_attn_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor "
    "softmax_lse, Tensor(a6!)? dq, Tensor(a7!)? dk, Tensor(a8!)? dv, float dropout_p, float "
    "softmax_scale, bool causal, SymInt window_size_left, SymInt window_size_right, float softcap, "
    "Tensor? alibi_slopes, bool deterministic, Tensor? rng_state=None) -> Tensor"
)
VARLEN_BACKWARD = (
    "_flash_attn_varlen_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor "
    "softmax_lse, Tensor(a6!)? dq, Tensor(a7!)? dk, Tensor(a8!)? dv, Tensor cu_seqlens_q, Tensor "
    "cu_seqlens_k, SymInt max_seqlen_q, SymInt max_seqlen_k, float dropout_p, float softmax_scale, "
    "bool causal, SymInt window_size_left, SymInt window_size_right, float softcap, Tensor? "
    "alibi_slopes, bool deterministic, Tensor? rng_state=None, bool zero_tensors=False) -> Tensor"
)
FORWARD_3 = (
    "_flash_attn_forward(Tensor q, Tensor k, Tensor v, Tensor? k_new=None, Tensor? v_new=None, "
    "Tensor? qv=None, Tensor? out_=None, Tensor? cu_seqlens_q=None, Tensor? cu_seqlens_k=None, "
    "Tensor? cu_seqlens_k_new=None, Tensor? seqused_q=None, Tensor? seqused_k=None, SymInt? "
    "max_seqlen_q=None, SymInt? max_seqlen_k=None, Tensor? page_table=None, Tensor? "
    "kv_batch_idx=None, Tensor? leftpad_k=None, Tensor? rotary_cos=None, Tensor? rotary_sin=None, "
    "Tensor? seqlens_rotary=None, Tensor? q_descale=None, Tensor? k_descale=None, Tensor? "
    "v_descale=None, float? softmax_scale=None, bool causal=False, SymInt window_size_left=-1, "
    "SymInt window_size_right=-1, SymInt attention_chunk=0, float softcap=0.0, bool "
    "rotary_interleaved=True, Tensor? scheduler_metadata=None, SymInt num_splits=1, bool? "
    "pack_gqa=None, SymInt sm_margin=0) -> (Tensor, Tensor, Tensor, Tensor)"
)
BACKWARD_3 = (
    "_flash_attn_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor "
    "softmax_lse, Tensor? cu_seqlens_q=None, Tensor? cu_seqlens_k=None, Tensor? sequed_q=None, "
    "Tensor? sequed_k=None, SymInt? max_seqlen_q=None, SymInt? max_seqlen_k=None, Tensor(a12!)? "
    "dq=None, Tensor(a13!)? dk=None, Tensor(a14!)? dv=None, float? softmax_scale=None, bool "
    "is_causal=False, SymInt window_size_left=-1, SymInt window_size_right=-1, float softcap=0.0, "
    "bool deterministic=False, SymInt sm_margin=0) -> Tensor"
)
SCHEMAS = {
    "flash_attn": (FORWARD, VARLEN, BACKWARD, VARLEN_BACKWARD),
    "flash_attn_3": (FORWARD_3, BACKWARD_3),
}


@pytest.fixture(autouse=True)
def _libraries() -> Iterator[None]:
    """Gone afterwards: no other test is to find them."""
    made = []
    for namespace, schemas in SCHEMAS.items():
        library = torch.library.Library(namespace, "FRAGMENT")
        made.append(library)
        for schema in schemas:
            library.define(schema)
    yield
    for library in made:
        library._destroy()


def forward(q: Tensor, k: Tensor, left: int = -1, right: int = -1, *, causal: bool = False) -> Any:
    kernel = torch.ops.flash_attn._flash_attn_forward
    return kernel(q, k, k, 0.0, 1.0, causal, left, right, 0.0, None, False)


@pytest.mark.parametrize("window", list(itertools.product((-1, 0, 3), (-1, 0, 2))))
@pytest.mark.parametrize(("queries", "keys"), [(6, 6), (4, 9), (1, 7)])
def test_windows(queries: int, keys: int, window: tuple[int, int]) -> None:
    q, k = half(2, queries, HEADS, WIDTH), half(2, keys, 1, WIDTH)
    seen = 2 * count([(queries, keys)], windowed(*window))
    check(profile_of(forward, q, k, *window), 2 * queries * keys, seen)
    seen = 2 * count([(queries, keys)], windowed(window[0], 0))
    check(profile_of(forward, q, k, *window, causal=True), 2 * queries * keys, seen)
    profile = profile_of(torch.ops.flash_attn_3._flash_attn_forward, q, k, k, causal=True)
    check(profile, 2 * queries * keys, 2 * count([(queries, keys)], windowed(-1, 0)))


def test_documents() -> None:
    q, k, starts_q, starts_k = packed(LENGTHS)
    varlen = torch.ops.flash_attn._flash_attn_varlen_forward
    seen = count(LENGTHS, windowed(2, 0))
    profile = profile_of(varlen, q, k, k, starts_q, starts_k, 7, 7, 0.0, 1.0, True, 2, -1)
    check(profile, count(LENGTHS), seen)
    names = ("cu_seqlens_q", "cu_seqlens_k", "max_seqlen_q", "max_seqlen_k")
    lengths = dict(zip(names, (starts_q, starts_k, 7, 7), strict=True))
    third = torch.ops.flash_attn_3._flash_attn_forward
    profile = profile_of(third, q, k, k, causal=True, window_size_left=2, **lengths)
    check(profile, count(LENGTHS), seen)


@pytest.mark.parametrize("causal", [False, True])
def test_chunks(causal: bool) -> None:
    def sees(i: int, j: int, queries: int, keys: int) -> bool:
        own = i + keys - queries
        return own // 4 == j // 4 and (j <= own or not causal)

    q, k = half(2, 6, HEADS, WIDTH), half(2, 11, HEADS, WIDTH)
    third = torch.ops.flash_attn_3._flash_attn_forward
    profile = profile_of(third, q, k, k, causal=causal, attention_chunk=4)
    check(profile, 2 * 66, 2 * count([(6, 11)], sees))


def test_a_cache_that_is_used_in_part_and_grows() -> None:
    q, cache, new = half(2, 1, HEADS, WIDTH), half(2, 50, HEADS, WIDTH), half(2, 1, HEADS, WIDTH)
    used = torch.tensor([10, 20], dtype=torch.int32)
    third = torch.ops.flash_attn_3._flash_attn_forward
    profile = profile_of(third, q, cache, cache, new, new, seqused_k=used, causal=True)
    check(profile, 11 + 21, 11 + 21)


def test_scores_may_have_a_second_part() -> None:
    """Of multi-head latent attention: queries of the values' width."""
    q, k, v, qv = half(1, 3, 2, 8), half(1, 5, 1, 8), half(1, 5, 1, 32), half(1, 3, 2, 32)
    third = torch.ops.flash_attn_3._flash_attn_forward
    assert profile_of(third, q, k, v, None, None, qv).macs == 2 * 3 * 5 * (8 + 32 + 32)


def gradients(*like: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(one) for one in like)


def test_gradients_are_written() -> None:
    q, k, starts_q, starts_k = packed(LENGTHS)
    sums, made = meta(HEADS, len(q)), gradients(q, k, k)
    backward = torch.ops.flash_attn._flash_attn_varlen_backward
    profile = profile_of(
        backward, q, q, k, k, q, sums, *made, starts_q, starts_k, 7, 7,
        0.0, 1.0, True, -1, -1, 0.0, None, False,
    )  # fmt: skip
    check_gradient(profile, count(LENGTHS), count(LENGTHS, windowed(-1, 0)))
    assert profile.bytes_read == q.nbytes + k.nbytes + sums.nbytes + 2 * starts_q.nbytes
    rows = 4 * HEADS * (len(q) + 128 * len(LENGTHS))
    assert profile.bytes_written == sum(one.nbytes for one in made) + rows

    q, k = half(2, 6, HEADS, WIDTH), half(2, 9, HEADS, WIDTH)
    sums, made = meta(2, HEADS, 6), gradients(q, k, k)
    backward = torch.ops.flash_attn._flash_attn_backward
    rest = (0.0, 1.0, False, 2, 1, 0.0, None, False)
    profile = profile_of(backward, q, q, k, k, q, sums, *made, *rest)
    check_gradient(profile, 2 * 54, 2 * count([(6, 9)], windowed(2, 1)))
    backward = torch.ops.flash_attn_3._flash_attn_backward
    names = dict(zip(("dq", "dk", "dv"), made, strict=True))
    profile = profile_of(backward, q, q, k, k, q, sums, **names, is_causal=True)
    check_gradient(profile, 2 * 54, 2 * count([(6, 9)], windowed(-1, 0)))


class Attend(torch.autograd.Function):
    """As the library's own: what it keeps, and where its gradients are written."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kernel = torch.ops.flash_attn._flash_attn_forward
        out, sums, _, random = kernel(q, k, v, 0.0, 1.0, True, -1, -1, 0.0, None, False)
        ctx.save_for_backward(q, k, v, out, sums, random)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        q, k, v, out, sums, random = ctx.saved_tensors
        made = gradients(q, k, v)
        torch.ops.flash_attn._flash_attn_backward(
            grad, q, k, v, out, sums, *made, 0.0, 1.0, True, -1, -1, 0.0, None, False, random
        )
        return made


def test_training() -> None:
    qkv = [half(2, 10, HEADS, WIDTH).requires_grad_() for _ in range(3)]
    profile = nnprof.measure(lambda q, k, v: Attend.apply(q, k, v), inputs=qkv, backward=True)
    product = 2 * 2 * HEADS * WIDTH
    assert profile.model_flops == 6 * product * 100
    assert profile.model_flops_needed == 6 * product * 55
    assert profile.hardware_flops == 7 * product * 55


def test_a_dropped_and_capped_score_takes_more() -> None:
    q = half(2, 5, HEADS, WIDTH)
    kernel, scores = torch.ops.flash_attn._flash_attn_forward, 2 * HEADS * 25
    plain = profile_of(kernel, q, q, q, 0.0, 1.0, False, -1, -1, 0.0, None, False)
    slopes = meta(HEADS)
    more = profile_of(kernel, q, q, q, 0.1, 1.0, False, -1, -1, 30.0, slopes, False)
    # dropout: compare, multiply; softcap: tanh, two multiplies; slopes: multiply, add
    assert more.flops - plain.flops == (2 + 3 + 2) * scores
    assert more.macs == plain.macs
