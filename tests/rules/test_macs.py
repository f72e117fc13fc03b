"""MACs of every contraction equal a brute-force count on tiny shapes."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from torch import nn

import nnprof
from tests.helpers import oracles
from tests.rules.costs import macs, meta

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
size = st.integers(1, 4)


@given(st.lists(size, max_size=2), st.booleans(), st.booleans(), size, size, size)
@few
def test_matmul(batch: list[int], left: bool, right: bool, m: int, k: int, n: int) -> None:
    # Either side may lack the batch, or have ones to broadcast, or be a vector.
    a = (*batch, m, k) if left else (m, k)
    b = (*(1 for _ in batch), k, n) if right else (k, n)
    for x, y in ((a, b), ((k,), b), (a, (k,)), ((k,), (k,))):
        assert macs(torch.matmul, meta(*x), meta(*y)) == oracles.matmul(x, y)


def test_matrix_products() -> None:
    a, b, vector = meta(2, 3), meta(3, 4), meta(3)
    square = meta(2, 4)
    assert macs(torch.mm, a, b) == oracles.matmul((2, 3), (3, 4))
    assert macs(torch.addmm, square, a, b) == oracles.matmul((2, 3), (3, 4))
    assert macs(torch.addmm, meta(4), a, b, beta=0.5, alpha=2) == oracles.matmul((2, 3), (3, 4))
    assert macs(torch.mv, a, vector) == oracles.matmul((2, 3), (3,))
    assert macs(torch.addmv, meta(2), a, vector) == oracles.matmul((2, 3), (3,))
    assert macs(torch.dot, vector, vector) == oracles.matmul((3,), (3,))
    assert macs(torch.vdot, vector, vector) == oracles.matmul((3,), (3,))
    assert macs(torch.outer, vector, meta(5)) == oracles.outer((3,), (5,))
    assert macs(torch.addr, meta(3, 5), vector, meta(5)) == oracles.outer((3,), (5,))
    assert macs(torch.linalg.vecdot, a, a) in (0, oracles.count(2, 3))  # a product and a sum


def test_batched_products() -> None:
    a, b = meta(5, 2, 3), meta(5, 3, 4)
    expected = oracles.matmul((5, 2, 3), (5, 3, 4))
    assert macs(torch.bmm, a, b) == expected
    assert macs(torch.baddbmm, meta(5, 2, 4), a, b) == expected
    assert macs(torch.addbmm, meta(2, 4), a, b) == expected
    assert macs(torch.cdist, a, meta(5, 4, 3)) == oracles.cdist((5, 2, 3), (5, 4, 3))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [(), (3,), (2, 3), (2, 2, 3)])
def test_linear(rows: tuple[int, ...], bias: bool) -> None:
    weight, vector = meta(5, 4), meta(5) if bias else None
    assert macs(F.linear, meta(*rows, 4), weight, vector) == oracles.linear((*rows, 4), (5, 4))


def test_bilinear() -> None:
    got = macs(F.bilinear, meta(2, 3, 4), meta(2, 3, 5), meta(6, 4, 5))
    assert got == oracles.bilinear((2, 3, 4), (2, 3, 5), (6, 4, 5))


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("bij,bjk->bik", [(5, 2, 3), (5, 3, 4)]),
        ("bhqd,bhkd->bhqk", [(2, 2, 3, 4), (2, 2, 5, 4)]),
        ("btd,dhe->bthe", [(2, 3, 4), (4, 5, 6)]),
        ("ij,ij->", [(3, 4), (3, 4)]),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    operands = [meta(*shape) for shape in shapes]
    assert macs(torch.einsum, equation, *operands) == oracles.einsum(equation, *shapes)


def test_einsum_without_a_contraction() -> None:
    assert macs(torch.einsum, "i,j->ij", meta(3), meta(4)) == 0  # PyTorch multiplies elementwise


CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


@st.composite
def convolution_cases(draw: st.DrawFn) -> dict[str, Any]:
    dims = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    return {
        "batch": draw(st.integers(1, 2)),
        "channels": groups * draw(st.integers(1, 2)),
        "outputs": groups * draw(st.integers(1, 2)),
        "groups": groups,
        "sizes": each(5, 6),
        "kernel": each(1, 3),
        "stride": each(1, 2),
        "padding": each(0, 1),
        "dilation": each(1, 1 + (dims < 3)),
        "bias": draw(st.booleans()),
        "batched": draw(st.booleans()),
    }


@given(convolution_cases())
@few
def test_convolution(case: dict[str, Any]) -> None:
    x = (case["batch"] if case["batched"] else 1, case["channels"], *case["sizes"])
    weight = (case["outputs"], case["channels"] // case["groups"], *case["kernel"])
    options = {name: case[name] for name in ("stride", "padding", "dilation", "groups")}
    convolution = CONVOLUTIONS[len(case["sizes"]) - 1]
    tensor = meta(*x) if case["batched"] else meta(*x[1:])
    bias = meta(case["outputs"]) if case["bias"] else None
    got = macs(convolution, tensor, meta(*weight), bias, **options)
    assert got == oracles.convolution(x, weight, **options)


@given(convolution_cases())
@few
def test_transposed_convolution(case: dict[str, Any]) -> None:
    x = (case["batch"], case["channels"], *case["sizes"])
    weight = (case["channels"], case["outputs"] // case["groups"], *case["kernel"])
    options = {name: case[name] for name in ("stride", "padding", "dilation", "groups")}
    convolution = TRANSPOSED[len(case["sizes"]) - 1]
    got = macs(convolution, meta(*x), meta(*weight), **options)
    assert got == oracles.transposed_convolution(x, weight, groups=case["groups"])


@pytest.mark.parametrize("kernel", [2, 3])
def test_convolution_with_named_padding(kernel: int) -> None:
    x, weight = (1, 2, 5, 5), (3, 2, kernel, kernel)
    valid = macs(F.conv2d, meta(*x), meta(*weight), padding="valid")
    assert valid == oracles.convolution(x, weight)
    same = macs(F.conv2d, meta(*x), meta(*weight), padding="same")
    padded = (1, 2, 5 + kernel - 1, 5 + kernel - 1)
    assert same == oracles.convolution(padded, weight)


def test_depthwise_convolution_channels_last() -> None:
    x = meta(2, 6, 5, 5).to(memory_format=torch.channels_last)
    got = macs(F.conv2d, x, meta(6, 1, 3, 3), padding=1, groups=6)
    assert got == oracles.convolution((2, 6, 5, 5), (6, 1, 3, 3), padding=(1, 1), groups=6)


@pytest.mark.parametrize("masked", ["no", "causal", "mask", "bool mask"])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_attention(masked: str, kv_heads: int) -> None:
    query, key, value = (2, 4, 3, 8), (2, kv_heads, 5, 8), (2, kv_heads, 5, 6)
    mask = None
    if masked.endswith("mask"):
        mask = torch.ones(3, 5, dtype=torch.bool) if "bool" in masked else meta(3, 5)
    got = macs(
        F.scaled_dot_product_attention,
        meta(*query),
        meta(*key),
        meta(*value),
        attn_mask=mask,
        is_causal=masked == "causal",
        enable_gqa=kv_heads != 4,
    )
    assert got == oracles.attention(query, key, value)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_multihead_attention(weights: bool, training: bool, batch_first: bool) -> None:
    module = nn.MultiheadAttention(8, 2, batch_first=batch_first).train(training)
    x = torch.randn(3, 5, 8)
    batch, length = (3, 5) if batch_first else (5, 3)
    got = macs(module, x, x, x, need_weights=weights)
    assert got == oracles.multihead_attention(length, length, batch, 8, 2, 8, 8)


def test_multihead_attention_over_other_sizes() -> None:
    module = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True)
    got = macs(module, torch.randn(3, 5, 8), torch.randn(3, 7, 6), torch.randn(3, 7, 4))
    assert got == oracles.multihead_attention(5, 7, 3, 8, 2, 6, 4)


MODULES = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("grad", [False, True])
def test_recurrent(kind: str, layers: int, directions: int, grad: bool) -> None:
    module = MODULES[kind](5, 4, layers, bidirectional=directions == 2)
    with torch.set_grad_enabled(grad), nnprof.trace() as trace:
        module(torch.randn(3, 2, 5))
    expected = oracles.recurrent(kind, [2, 2, 2], 5, 4, layers=layers, directions=directions)
    assert trace.profile().macs == expected


def test_lstm_with_projection() -> None:
    module = nn.LSTM(5, 4, 2, proj_size=3, batch_first=True)
    expected = oracles.recurrent("lstm", [2, 2, 2], 5, 4, layers=2, projection=3)
    assert macs(module, torch.randn(2, 3, 5)) == expected


@pytest.mark.parametrize("kind", MODULES)
def test_packed_sequence(kind: str) -> None:
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(4, 3, 5), [4, 2, 1])
    expected = oracles.recurrent(kind, packed.batch_sizes.tolist(), 5, 4)
    assert macs(MODULES[kind](5, 4), packed) == expected


CELLS = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


@pytest.mark.parametrize("kind", CELLS)
def test_cells(kind: str) -> None:
    assert macs(CELLS[kind](5, 4), torch.randn(3, 5)) == oracles.cell(kind, 3, 5, 4)


# The oracles themselves, where FlopCounterMode has a formula.


@given(convolution_cases())
@few
def test_oracle_of_convolution_is_right(case: dict[str, Any]) -> None:
    x = (case["batch"], case["channels"], *case["sizes"])
    options = {name: case[name] for name in ("stride", "padding", "dilation", "groups")}
    weight = (case["outputs"], case["channels"] // case["groups"], *case["kernel"])
    convolution = CONVOLUTIONS[len(case["sizes"]) - 1]
    counted = oracles.flop_counter_macs(convolution, meta(*x), meta(*weight), **options)
    assert counted == oracles.convolution(x, weight, **options)
    weight = (case["channels"], case["outputs"] // case["groups"], *case["kernel"])
    transposed = TRANSPOSED[len(case["sizes"]) - 1]
    counted = oracles.flop_counter_macs(transposed, meta(*x), meta(*weight), **options)
    assert counted == oracles.transposed_convolution(x, weight, groups=case["groups"])


def test_oracles_of_products_are_right() -> None:
    a, b = (2, 1, 3, 4), (5, 4, 6)
    assert oracles.flop_counter_macs(torch.matmul, meta(*a), meta(*b)) == oracles.matmul(a, b)
    weight = (6, 4)
    assert oracles.flop_counter_macs(F.linear, meta(*a), meta(*weight)) == oracles.linear(a, weight)
    query, key, value = (2, 4, 3, 8), (2, 4, 5, 8), (2, 4, 5, 8)
    tensors = [meta(*shape) for shape in (query, key, value)]
    counted = oracles.flop_counter_macs(F.scaled_dot_product_attention, *tensors)
    assert counted == oracles.attention(query, key, value)
