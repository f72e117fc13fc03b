"""What the mathematics needs of attention: beside the dense count, and what kernels execute."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import flex_attention as flex

import nnprof
from nnprof.base.packages import import_torchvision

BATCH, HEADS, WIDTH = 2, 4, 16


def tensors(queries: int, keys: int, *, key_heads: int = HEADS) -> tuple[Tensor, Tensor, Tensor]:
    query = torch.empty(BATCH, HEADS, queries, WIDTH, device="meta")
    key = torch.empty(BATCH, key_heads, keys, WIDTH, device="meta")
    return query, key, torch.empty_like(key)


def hidden(profile: nnprof.Profile, pairs: int) -> int:
    """Of `pairs` of one head of one sample: how many are not needed, by the profile's FLOPs."""
    product = 2 * BATCH * HEADS * WIDTH
    assert profile.macs == product * pairs
    assert profile.flops_needed is not None
    assert profile.model_flops_needed == 2 * profile.macs - (profile.flops - profile.flops_needed)
    found, rest = divmod(profile.flops - profile.flops_needed, 2 * product)
    assert rest == 0
    return found


def test_half_of_causal_attention_is_needed() -> None:
    for queries, keys in ((64, 64), (9, 64), (64, 9)):
        profile = nnprof.measure(
            lambda *qkv: F.scaled_dot_product_attention(*qkv, is_causal=True),  # type: ignore[misc]
            inputs=tensors(queries, keys),
        )
        above = sum(j > i for i in range(queries) for j in range(keys))
        assert hidden(profile, queries * keys) == above
        assert profile.flops_needed == profile.flops_executed


def windows(length: int, width: int, device: Any = None) -> Tensor:
    places = torch.arange(length, device=device)
    behind = places[:, None] - places
    return (behind >= 0) & (behind < width)


@pytest.mark.parametrize("length", [64, 200])  # below and above the limit on real booleans
@pytest.mark.parametrize("kind", ["bool", "float", "least", "heads", "expanded"])
def test_a_mask_hides_what_is_computed_all_the_same(length: int, kind: str) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = windows(length, 7, q.device)
        if kind == "float":
            mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, float("-inf"))
        elif kind == "least":
            mask = torch.where(mask, 0.0, torch.finfo(q.dtype).min)
        elif kind == "heads":
            mask = mask.expand(BATCH, HEADS, length, length).clone()
        elif kind == "expanded":
            mask = mask.expand(BATCH, 1, length, length)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    profile = nnprof.measure(attend, inputs=tensors(length, length))
    assert hidden(profile, length**2) == int((~windows(length, 7)).sum())
    assert profile.flops_executed == profile.flops
    assert profile.assumptions == []


def test_a_mask_that_is_given_is_read_whatever_its_size() -> None:
    mask = windows(300, 11)

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    for given in (mask, torch.where(mask, 0.0, -1e9), mask[None, None]):
        profile = nnprof.measure(attend, inputs=(*tensors(300, 300), given))
        assert hidden(profile, 300**2) == int((~mask).sum())
        assert profile.assumptions == []


def test_a_mask_that_nobody_knows_hides_nothing_and_is_listed() -> None:
    mask = torch.empty(64, 64, dtype=torch.bool, device="meta")

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    profile = nnprof.measure(attend, inputs=(*tensors(64, 64), mask))
    assert hidden(profile, 64**2) == 0
    (assumption,) = profile.assumptions
    assert "mask" in assumption
    assert "flops_needed" in assumption


def test_a_mask_that_changes_is_counted_anew() -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = torch.ones(64, 64, dtype=torch.bool, device=q.device)
        first = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        mask[:, :16] = False
        return first + F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    profile = nnprof.measure(attend, inputs=tensors(64, 64))
    assert hidden(profile, 2 * 64**2) == 64 * 16


def run_once(function: Any, *inputs: Tensor) -> nnprof.Profile:
    """The profile of a single run: no second one may find out what a mask hides."""
    with nnprof.trace() as running:
        function(*inputs)
    return running.profile()


def test_a_mask_of_compared_positions_needs_no_second_run() -> None:
    length, width = 2048, 100

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        places = torch.arange(length)
        behind, near = places <= places[:, None], places > places[:, None] - width
        return F.scaled_dot_product_attention(q, k, v, attn_mask=behind & near)

    profile = run_once(attend, *tensors(length, length))
    assert profile.assumptions == []
    assert hidden(profile, length**2) == length**2 - sum(min(i + 1, width) for i in range(length))


def test_a_bias_of_zeros_hides_nothing_whatever_its_size() -> None:
    length = 9000  # more than any limit on real numbers

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        bias = torch.zeros(1, HEADS, length, length, device=q.device)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    def changed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        bias = torch.zeros(1, HEADS, length, length, device=q.device)
        bias[..., 0] = float("-inf")
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    profile = run_once(attend, *tensors(length, length))
    assert (hidden(profile, length**2), profile.assumptions) == (0, [])
    listed = run_once(changed, *tensors(length, length)).assumptions
    assert any("a mask of unknown values" in text for text in listed)


@pytest.mark.parametrize(
    ("number", "dtype", "hides"),
    [
        (1, torch.bool, False),
        (0, torch.bool, True),
        (1.5, torch.float32, False),
        (float("-inf"), torch.float32, True),
        (torch.finfo(torch.float32).min, torch.float32, True),
    ],
)
def test_a_mask_of_one_number_is_known_whatever_its_size(
    number: float, dtype: torch.dtype, hides: bool
) -> None:
    length = 9000

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = torch.full((HEADS, length, length), number, dtype=dtype, device=q.device)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    profile = run_once(attend, *tensors(length, length))
    assert hidden(profile, length**2) == hides * length**2
    assert profile.assumptions == []


def test_zeros_in_a_part_say_nothing_of_the_others() -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        mask[0].zero_()
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[1])

    mask = torch.zeros(2, 64, 64, dtype=torch.bool, device="meta")
    profile = nnprof.measure(attend, inputs=(*tensors(64, 64), mask))
    assert any("a mask of unknown values" in text for text in profile.assumptions)


def test_what_is_written_beside_a_mask_leaves_its_count() -> None:
    """And what is written in it does not."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask, other = windows(64, 7), torch.zeros(3, dtype=torch.long)
        first = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        other += 1
        second = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        mask[:, :3] = False
        return first + second + F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    profile = run_once(attend, *tensors(64, 64))
    changed = windows(64, 7)
    changed[:, :3] = False
    once, last = int((~windows(64, 7)).sum()), int((~changed).sum())
    assert hidden(profile, 3 * 64**2) == 2 * once + last


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_need_what_the_forward_needs(device: str, masked: bool) -> None:
    """The gradient of two products is four; what its kernel computes again is no model FLOP."""
    length = 48
    mask = windows(length, 5)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if not masked:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask.to(q.device))

    qkv = [t.bfloat16().requires_grad_() for t in tensors(length, length)]
    with nnprof.trace(backward=True, target=device) as running:
        attend(*qkv).sum().backward()
    profile = running.profile()
    product = 2 * BATCH * HEADS * length**2 * WIDTH
    seen = int(mask.sum()) if masked else length * (length + 1) // 2
    assert profile.model_flops == 6 * product
    assert profile.model_flops_needed == 6 * product * seen // length**2
    executed = 7 * product if masked else 7 * product * seen // length**2
    assert profile.hardware_flops == executed


def test_multihead_attention_hides_what_its_masks_hide() -> None:
    length, width = 12, HEADS * WIDTH
    causal = nn.Transformer.generate_square_subsequent_mask(length)
    layer = nn.TransformerEncoderLayer(width, HEADS, 64, batch_first=True, dropout=0.0)
    seen = length * (length + 1) // 2
    for training in (False, True):
        layer.train(training)
        profile = nnprof.measure(
            layer, inputs=(torch.randn(BATCH, length, width), causal), backward=training
        )
        product = 2 * BATCH * HEADS * WIDTH * (length**2 - seen)
        assert profile.model_flops_needed == profile.model_flops - (6 if training else 2) * product


def test_recomputed_calls_need_nothing() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    plain = nnprof.measure(model, (4, 8), backward=True)
    again = nnprof.measure(model, (4, 8), backward=True, checkpoint="")
    assert again.flops > plain.flops
    assert again.flops_needed == plain.flops_needed == plain.flops
    assert again.model_flops_needed == plain.model_flops_needed == plain.model_flops
    assert again.ops["flops_needed"].sum() == again.flops_needed


# Flex attention.

DOCUMENTS = torch.arange(200) // 45


def causal(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return q >= k


def window(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return (q >= k) & (q - k < 20)


def documents(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return DOCUMENTS[q] == DOCUMENTS[k]


def by_head(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return (q >= k) & (q - k < 10 * (h + 1)) & (k >= 5 * b)


def by_hand(mask: Any, queries: int, keys: int, block: int) -> tuple[int, int]:
    """Pairs that are computed and that are needed, of all heads of all samples, block by block."""
    computed = needed = 0
    rows, columns = torch.arange(queries)[:, None], torch.arange(keys)[None]
    for b, h in itertools.product(map(torch.tensor, range(BATCH)), map(torch.tensor, range(HEADS))):
        seen = mask(b, h, rows, columns).expand(queries, keys)
        needed += int(seen.sum())
        for row, column in itertools.product(range(0, queries, block), range(0, keys, block)):
            pairs = seen[row : row + block, column : column + block]
            computed += pairs.numel() if pairs.any() else 0
    return computed, needed


@pytest.mark.parametrize("mask", [causal, window, documents, by_head])
@pytest.mark.parametrize("made", ["outside", "inside"])
def test_empty_blocks_are_skipped(mask: Any, made: str) -> None:
    queries, keys, block = 70, 90, 16
    batch, heads = (BATCH, HEADS) if mask is by_head else (None, None)
    outside = flex.create_block_mask(
        mask, batch, heads, queries, keys, device="cpu", BLOCK_SIZE=block
    )

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        blocks = outside
        if made == "inside":
            blocks = flex.create_block_mask(
                mask, batch, heads, queries, keys, device=q.device, BLOCK_SIZE=block
            )
        return flex.flex_attention(q, k, v, block_mask=blocks, enable_gqa=True)

    profile = nnprof.measure(attend, inputs=tensors(queries, keys, key_heads=2))
    computed, needed = by_hand(mask, queries, keys, block)
    ops = profile.ops
    (flexed,) = (ops["op"] == "nnprof::flex_attention").nonzero()[0]
    every = BATCH * HEADS * queries * keys
    assert ops["macs"][flexed] == 2 * WIDTH * every
    assert ops["flops"][flexed] - ops["flops_executed"][flexed] == 4 * WIDTH * (every - computed)
    assert ops["flops"][flexed] - ops["flops_needed"][flexed] == 4 * WIDTH * (every - needed)
    assert not any("block mask" in text for text in profile.assumptions)


def test_blocks_over_the_limit_are_known_from_the_masks_function() -> None:
    length = 1000

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        blocks = flex.create_block_mask(window, None, None, length, length, device=q.device)
        return flex.flex_attention(q, k, v, block_mask=blocks)

    profile = nnprof.measure(attend, inputs=tensors(length, length))
    assert not any("block mask" in text for text in profile.assumptions)
    assert hidden_of_flex(profile) == length**2 - int(windows(length, 20).sum())


def hidden_of_flex(profile: nnprof.Profile) -> int:
    ops = profile.ops
    flexed = ops["op"] == "nnprof::flex_attention"
    found = (ops["flops"] - ops["flops_needed"])[flexed].sum()
    return int(found) // (4 * BATCH * HEADS * WIDTH)


def test_a_block_mask_that_nobody_knows_hides_nothing_and_is_listed() -> None:
    places = torch.empty(64, dtype=torch.long, device="meta")

    def attend(q: Tensor, k: Tensor, v: Tensor, places: Tensor) -> Tensor:
        def same(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return places[i] == places[j]

        blocks = flex.create_block_mask(same, None, None, 64, 64, device=q.device, BLOCK_SIZE=16)
        return flex.flex_attention(q, k, v, block_mask=blocks)

    profile = nnprof.measure(attend, inputs=(*tensors(64, 64), places))
    assert hidden_of_flex(profile) == 0
    assert any("block mask" in text for text in profile.assumptions)


@pytest.mark.parametrize("side", [4, 200])
@pytest.mark.parametrize("backward", [False, True])
def test_lists_of_blocks_that_a_model_computes_are_not_known(side: int, backward: bool) -> None:
    """Also where they are more integers than are kept real, and batching rules move what is."""
    weight = torch.ones(WIDTH, side)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        wanted = (q[0, 0] @ weight > 0).int()
        numbers = wanted.sum(-1, dtype=torch.int32)[None, None]
        indices = torch.argsort(wanted, dim=-1, descending=True).to(torch.int32)[None, None]
        blocks = flex.BlockMask.from_kv_blocks(numbers, indices, BLOCK_SIZE=16)
        q, k, v = (one.repeat(1, 1, 16, 1) for one in (q, k, v))
        return flex.flex_attention(q, k, v, block_mask=blocks)

    given = [one.requires_grad_(backward) for one in tensors(side, side)]
    profile = nnprof.measure(attend, inputs=tuple(given), backward=backward)
    pairs = BATCH * HEADS * (16 * side) ** 2
    forward = profile.phase("forward") if backward else profile
    assert forward.macs == side * WIDTH * side + 2 * WIDTH * pairs
    assert forward.flops_needed == forward.flops
    assert any("block mask" in text for text in profile.assumptions)


def test_a_block_mask_without_a_function_hides_nothing() -> None:
    length = 1000

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        every = flex.noop_mask
        blocks = flex.create_block_mask(
            every, None, None, length, length, device=q.device, BLOCK_SIZE=4
        )
        return flex.flex_attention(q, k, v, block_mask=blocks)

    profile = nnprof.measure(attend, inputs=tensors(length, length))
    assert hidden_of_flex(profile) == 0
    assert not any("block mask" in text for text in profile.assumptions)


def test_gradients_of_flex_attention() -> None:
    length = 64
    blocks = flex.create_block_mask(causal, None, None, length, length, device="cpu", BLOCK_SIZE=16)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return flex.flex_attention(q, k, v, block_mask=blocks)

    qkv = [t.requires_grad_() for t in tensors(length, length)]
    profile = nnprof.measure(attend, inputs=qkv, backward=True)
    product = 2 * BATCH * HEADS * WIDTH
    seen = length * (length + 1) // 2
    assert profile.model_flops == 6 * product * length**2
    assert profile.model_flops_needed == 6 * product * seen
    assert profile.hardware_flops == 7 * product * 16 * 16 * (4 * 5 // 2)
    assert profile.coverage.generic == {}


def test_windows_of_a_real_model() -> None:
    """Every other layer of gpt-oss sees 128 keys, half of what is left is causal."""
    transformers = pytest.importorskip("transformers")
    import_torchvision()
    length, layers, heads, width = 512, 4, 8, 64
    config = transformers.GptOssConfig(
        num_hidden_layers=layers, hidden_size=64, intermediate_size=64, num_local_experts=4,
        num_attention_heads=heads, num_key_value_heads=2, vocab_size=64, sliding_window=128,
        attn_implementation="flex_attention",
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.GptOssForCausalLM(config).eval()
    profile = nnprof.measure(model, (1, length))
    seen = 2 * int(windows(length, length).sum()) + 2 * int(windows(length, 128).sum())
    product = 2 * heads * width
    dense = product * layers * length**2
    assert profile.model_flops == 2 * profile.macs
    assert profile.model_flops_needed == 2 * (profile.macs - dense + product * seen)
