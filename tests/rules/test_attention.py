"""Attention: the operator that models call, its kernels, and the layers made of it."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import flex_attention as flex
from torch.utils._pytree import tree_map_only

import nnprof
from tests.helpers import oracles
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

sdpa = F.scaled_dot_product_attention


def heads_inside(*shape: int) -> Tensor:
    """(B, H, S, D) as models make it: a view of (B, S, H, D)."""
    b, h, s, d = shape
    return torch.randn(b, s, h, d).transpose(1, 2)


q, long = torch.randn(2, 4, 6, 8), torch.randn(2, 4, 9, 8)
rows = heads_inside(2, 4, 6, 8)
SAMPLES: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((q, q, q), {}),
    ((rows, rows, rows), {}),
    ((rows, long, long), {"is_causal": True}),
    ((rows, rows, torch.randn(2, 4, 6, 3)), {}),  # values of another width
    ((rows, q[:, :2], q[:, :2]), {"enable_gqa": True}),
    ((rows, q, q), {"attn_mask": torch.zeros(6, 6), "scale": 0.5}),
    ((q, q, q), {"attn_mask": torch.ones(2, 1, 6, 6, dtype=torch.bool)}),
    ((q, q, q), {"attn_mask": torch.zeros(4, 6, 6)}),
    ((q.bfloat16(), q.bfloat16(), q.bfloat16()), {}),
    ((q[0], q[0], q[0]), {}),
    ((q[0, 0], q[0], q[0]), {}),
    ((q, q[:1], q[:1]), {}),
    ((q[:, :, :0], q, q), {}),
    ((q[..., ::2], q[..., ::2], q[..., ::2]), {}),
    ((q[:, :, :1].expand(2, 4, 6, 8), q, q), {}),
    # and what PyTorch refuses
    ((q, q.half(), q), {}),
    ((q, q[..., :5], q), {}),
    ((q, q[:, :3], q[:, :3]), {"enable_gqa": True}),
    ((q, q[:, :2], q[:, :2]), {}),
    ((q, q, q), {"attn_mask": torch.zeros(5, 6)}),
    ((q, q, q), {"attn_mask": torch.zeros(6, 6, dtype=torch.long)}),
    ((q, q, q), {"dropout_p": 1.5}),
]


@pytest.mark.parametrize("arguments", SAMPLES)
def test_outputs(arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
    assert not compare("sdpa", sdpa, arguments)


aten = torch.ops.aten


@pytest.mark.parametrize("x", [q, rows, q[0]])
def test_kernels_outputs(x: Tensor) -> None:
    flash = aten._scaled_dot_product_flash_attention_for_cpu
    assert not compare("flash", flash, ((x, x, x), {}))
    math = aten._scaled_dot_product_attention_math
    assert not compare("math", math, ((x, x, x), {}))


#: Per score: maximum, subtraction, exp, sum, division; and the scale.
SOFTMAX = {"add": 2, "multiply": 1, "division": 1, "exp": 1, "compare": 1}
#: Two samples, three heads, four queries, five keys of eight and values of two.
QUERY, KEY, VALUE = meta(2, 3, 4, 8), meta(2, 3, 5, 8), meta(2, 3, 5, 2)
SCORES = 2 * 3 * 4 * 5


@pytest.mark.parametrize("mask", [torch.ones(5), torch.ones(5).bool(), torch.tensor(1.0)])
def test_masks_of_too_few_dimensions(mask: Tensor) -> None:
    x = torch.randn(2, 3, 5, 4)
    assert not compare("sdpa", sdpa, ((x, x, x), {"attn_mask": mask}))


def kinds(**more: int) -> dict[str, int]:
    each = {kind: count + more.get(kind, 0) for kind, count in SOFTMAX.items()}
    return {kind: count * SCORES for kind, count in each.items()}


def test_cost() -> None:
    cost = cost_of(sdpa, QUERY, KEY, VALUE)
    assert cost.macs == oracles.attention(QUERY.shape, KEY.shape, VALUE.shape)
    assert cost.kinds == kinds()
    assert cost.flops_skipped == 0
    assert cost.bytes_read == 4 * (2 * 3 * 4 * 8 + 2 * 3 * 5 * 8 + 2 * 3 * 5 * 2)
    assert cost.bytes_written == 4 * 2 * 3 * 4 * 2


@pytest.mark.parametrize(("queries", "keys"), [(4, 4), (3, 5), (5, 3), (1, 4)])
def test_causal_attention_is_counted_dense_and_what_is_skipped_beside_it(
    queries: int, keys: int
) -> None:
    query, key = meta(2, 3, queries, 8), meta(2, 3, keys, 8)
    cost = cost_of(sdpa, query, key, key, is_causal=True)
    assert cost.macs == oracles.attention(query.shape, key.shape, key.shape)
    skipped = sum(key > query for query in range(queries) for key in range(keys))
    assert cost.flops_skipped == 2 * skipped * 2 * 3 * (8 + 8)


def test_masks_and_dropout_cost() -> None:
    add = cost_of(sdpa, QUERY, KEY, VALUE, attn_mask=meta(4, 5))
    assert add.kinds == kinds(add=1)
    plain = cost_of(sdpa, QUERY, KEY, VALUE)
    assert add.bytes_read == plain.bytes_read + 4 * 4 * 5
    select = cost_of(sdpa, QUERY, KEY, VALUE, attn_mask=torch.ones(4, 5, dtype=torch.bool))
    assert select.kinds == kinds(compare=1)
    assert select.bytes_read == plain.bytes_read + 4 * 5
    dropped = cost_of(sdpa, QUERY, KEY, VALUE, dropout_p=0.5)
    assert dropped.kinds == kinds(multiply=1, compare=1)


def test_grouped_queries_share_keys_but_no_products() -> None:
    query, key, value = meta(2, 6, 4, 8), meta(2, 2, 5, 8), meta(2, 2, 5, 8)
    cost = cost_of(sdpa, query, key, value, enable_gqa=True)
    assert cost.macs == oracles.attention(query.shape, key.shape, value.shape)
    assert cost.bytes_read == 4 * (2 * 6 * 4 * 8 + 2 * (2 * 2 * 5 * 8))


def test_kernels_cost_what_the_operator_does() -> None:
    whole = cost_of(sdpa, QUERY, KEY, KEY)
    flash = cost_of(aten._scaled_dot_product_flash_attention, QUERY, KEY, KEY)
    for_cpu = cost_of(aten._scaled_dot_product_flash_attention_for_cpu, QUERY, KEY, KEY)
    efficient = cost_of(aten._scaled_dot_product_efficient_attention, QUERY, KEY, KEY, None, True)
    cudnn = cost_of(aten._scaled_dot_product_cudnn_attention, QUERY, KEY, KEY, None, True)
    for kernel in (flash, for_cpu, efficient, cudnn):
        assert (kernel.macs, kernel.kinds) == (whole.macs, whole.kinds)


# Layers -------------------------------------------------------------------------------------------


def multihead_arguments(heads: int) -> tuple[Any, ...]:
    width = 8
    weights = torch.randn(3 * width, width), torch.randn(3 * width)
    output = torch.randn(width, width), torch.randn(width)
    x = torch.randn(3, 5, width)
    return (x, x, x, width, heads, *weights, *output)


@pytest.mark.parametrize("weights", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("heads", [2, 3])
def test_multihead_outputs(heads: int, weights: tuple[bool, bool]) -> None:
    arguments = (*multihead_arguments(heads), None, *weights)
    attention = aten._native_multi_head_attention
    assert not compare("multihead", attention, (arguments, {}))


def test_split_heads() -> None:
    arguments = (torch.randn(3, 5, 24), torch.randn(24), 2)
    transform = aten._transform_bias_rescale_qkv
    assert not compare("transform", transform, (arguments, {}))
    cost = cost_of(transform, meta(3, 5, 24), meta(24), 2)
    assert cost.kinds == {"add": 3 * 5 * 24, "multiply": 3 * 5 * 8}


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder_layer_costs_the_sum_of_its_parts(activation: str, norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, batch_first=True, activation=activation, norm_first=norm_first
    ).eval()
    x = torch.randn(3, 5, 8)
    assert not compare("encoder", layer, ((x,), {}))
    whole = cost_of(layer, x)
    parts = cost_of(layer.to("meta"), x.to("meta"))  # the fast path is for real devices
    assert (whole.macs, whole.kinds) == (parts.macs, parts.kinds)
    attention = oracles.multihead_attention(5, 5, 3, 8, 2, 8, 8)
    assert whole.macs == attention + 2 * 3 * 5 * 8 * 16


def test_padded_sequences_are_counted_padded() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    padding = torch.tensor([[False, False, True], [False, False, False]])
    cost = cost_of(encoder, torch.randn(2, 3, 8), src_key_padding_mask=padding)
    each = oracles.multihead_attention(3, 3, 2, 8, 2, 8, 8) + 2 * 2 * 3 * 8 * 16
    assert cost.macs == 2 * each
    x = torch.randn(2, 3, 8)
    with torch.no_grad(), nnprof.trace() as trace:
        encoder(x, src_key_padding_mask=padding)
    assert any("padded" in text for text in trace.profile().assumptions)


def _really(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Torch's flex attention run eagerly, as it stands."""
    with patch.object(flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True):
        return function(*args, **kwargs)


def _sizes(value: Any) -> Any:
    return tree_map_only(Tensor, lambda t: (t.shape, t.stride(), t.dtype), value)


def _causal(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return query >= key


@pytest.mark.parametrize("block_size", [16, 128])
@pytest.mark.parametrize("transposed", [False, True])
def test_flex_attention_is_one_kernel(transposed: bool, block_size: int) -> None:
    shape = (2, 40, 4, 16) if transposed else (2, 4, 40, 16)
    query, key, value = (torch.randn(shape) for _ in range(3))
    if transposed:
        query, key, value = (t.transpose(1, 2) for t in (query, key, value))

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mask = flex.create_block_mask(
            _causal, None, None, 40, 40, device=query.device, BLOCK_SIZE=block_size
        )
        return flex.flex_attention(query, key, value, block_mask=mask)

    with nnprof.trace() as trace:
        found = attend(query, key, value)
    assert _sizes(found) == _sizes(_really(attend, query, key, value))
    profile = trace.profile()
    assert profile.macs == 2 * oracles.count(2, 4, 40, 40, 16)
    flexed = profile.ops["op"] == "nnprof::flex_attention"
    # Three inputs and the output, and two numbers a row: no scores.
    assert profile.ops["bytes"][flexed] == [4 * (4 * query.numel() + 2 * 2 * 4 * 40)]


def test_flex_attention_returns_what_is_asked_for() -> None:
    tensors = [torch.randn(1, heads, 8, 16) for heads in (4, 2, 2)]
    for options in (
        {"return_aux": flex.AuxRequest(lse=True)},
        {"return_aux": flex.AuxRequest()},
        {"score_mod": lambda score, b, h, q, k: score + (q - k)},
    ):
        call = partial(flex.flex_attention, *tensors, enable_gqa=True, **options)
        with nnprof.trace():
            found = call()
        assert _sizes(found) == _sizes(_really(call))


def test_flex_attention_refuses_what_torch_refuses() -> None:
    tensors = [torch.randn(1, heads, 8, 16) for heads in (4, 2, 2)]
    for call in (
        # Groups that were not asked for.
        lambda: flex.flex_attention(*tensors),  # type: ignore[call-overload]
        lambda: flex.flex_attention(  # type: ignore[call-overload]
            tensors[0], tensors[0], tensors[0], unknown=1
        ),
    ):
        with pytest.raises((ValueError, TypeError)) as really:
            _really(call)
        with pytest.raises(type(really.value)), nnprof.trace():
            call()


def test_flex_attention_is_afterwards_as_before() -> None:
    function = flex.flex_attention
    before = function.__code__, function.__kwdefaults__
    with nnprof.trace():
        assert function.__code__ is not before[0]
    assert (function.__code__, function.__kwdefaults__) == before
    compiled = torch.compile(function)
    query = torch.empty(1, 2, 8, 16, device="meta")
    assert nnprof.measure(compiled, inputs=(query, query, query)).macs == 2 * 2 * 8 * 8 * 16


def test_groups_of_heads_take_a_dimension_of_heads() -> None:
    rows, x = torch.ones(2, 3), meta(2, 3)
    assert not compare("sdpa", F.scaled_dot_product_attention, ((rows,) * 3, {"enable_gqa": True}))
    with pytest.raises(IndexError), nnprof.trace():
        F.scaled_dot_product_attention(x, x, x, enable_gqa=True)
