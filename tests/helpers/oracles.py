"""Brute-force counts of multiply-accumulates, to hold the rules against.

Each counter walks over every output position and every term that is summed into it, with loops, so
that it shares no formula with what it checks. For tiny shapes only. Conventions (those of
FlopCounterMode): positions that lie in the padding count, causal and masked attention counts dense,
a bias is no multiply-accumulate.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

Shape = Sequence[int]


def count(*sizes: int) -> int:
    """The number of index tuples within ``sizes``, counted one by one."""
    return sum(1 for _ in itertools.product(*(range(size) for size in sizes)))


def _broadcast(*shapes: Shape) -> tuple[int, ...]:
    return tuple(torch.broadcast_shapes(*map(tuple, shapes)))


# Matrix products ----------------------------------------------------------------------------------


def matmul(a: Shape, b: Shape) -> int:
    """`torch.matmul` of shapes ``a`` and ``b``, one-dimensional and broadcast ones included."""
    rows, depth = (1, *a)[-2:]
    columns = b[-1] if len(b) > 1 else 1
    assert depth == (b[-2] if len(b) > 1 else b[0])
    macs = 0
    for _batch in itertools.product(*map(range, _broadcast(a[:-2], b[:-2]))):
        for _row in range(rows):
            for _column in range(columns):
                for _term in range(depth):
                    macs += 1
    return macs


def linear(x: Shape, weight: Shape) -> int:
    """`F.linear`: ``weight`` is (outputs, inputs)."""
    macs = 0
    for _row in itertools.product(*map(range, x[:-1])):
        for _output in range(weight[0] if len(weight) > 1 else 1):
            for _term in range(x[-1]):
                macs += 1
    return macs


def bilinear(x1: Shape, x2: Shape, weight: Shape) -> int:
    """`F.bilinear`: one multiply-accumulate a row and weight element."""
    return count(*x1[:-1], *weight)


def outer(a: Shape, b: Shape) -> int:
    """`torch.outer` and its accumulating sibling `addr`."""
    return count(*a, *b)


def cdist(a: Shape, b: Shape) -> int:
    """`torch.cdist`, whatever the norm: one multiply-accumulate a pair of rows and column."""
    macs = 0
    for _batch in itertools.product(*map(range, _broadcast(a[:-2], b[:-2]))):
        for _row in range(a[-2]):
            for _other in range(b[-2]):
                for _column in range(a[-1]):
                    macs += 1
    return macs


def einsum(equation: str, *shapes: Shape) -> int:
    """`torch.einsum` of at most two operands without ellipsis: every index within every other."""
    sizes: dict[str, int] = {}
    for letters, shape in zip(equation.split("->")[0].split(","), shapes, strict=True):
        for letter, size in zip(letters.strip(), shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return count(*sizes.values())


# Convolution --------------------------------------------------------------------------------------


def _positions(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many windows fit, by sliding one along."""
    padded = size + 2 * padding
    reach = dilation * (kernel - 1)
    return sum(1 for start in range(0, padded, stride) if start + reach < padded)


def convolution(
    x: Shape,
    weight: Shape,
    *,
    stride: Shape = (),
    padding: Shape = (),
    dilation: Shape = (),
    groups: int = 1,
) -> int:
    """A convolution of (batch, channels, *sizes) with (outputs, channels / groups, *kernel).

    ``padding`` is given for each side, and may be a pair of sides a dimension ("same" padding).
    """
    batch, channels, *sizes = x
    outputs, channels_of_group, *kernel = weight
    assert channels_of_group * groups == channels
    windows = [
        _positions(size, width, step, before, spread)
        for size, width, step, before, spread in zip(
            sizes,
            kernel,
            stride or [1] * len(sizes),
            padding or [0] * len(sizes),
            dilation or [1] * len(sizes),
            strict=True,
        )
    ]
    macs = 0
    for _image in range(batch):
        for output in range(outputs):
            group = output * groups // outputs
            for _position in itertools.product(*map(range, windows)):
                for channel in range(channels):
                    if channel * groups // channels == group:
                        macs += count(*kernel)
    return macs


def transposed_convolution(x: Shape, weight: Shape, *, groups: int = 1) -> int:
    """A transposed convolution with (channels, outputs / groups, *kernel).

    Every input element is multiplied with every element of its filters; stride, padding, dilation
    and output padding only decide where the products go.
    """
    batch, channels, *sizes = x
    assert weight[0] == channels
    outputs_of_group, *kernel = weight[1:]
    macs = 0
    for _image in range(batch):
        for channel in range(channels):
            for _position in itertools.product(*map(range, sizes)):
                for output in range(outputs_of_group * groups):
                    if output // outputs_of_group == channel * groups // channels:
                        macs += count(*kernel)
    return macs


# Attention ----------------------------------------------------------------------------------------


def attention(query: Shape, key: Shape, value: Shape) -> int:
    """`F.scaled_dot_product_attention`: scores, then their sum over the values, dense.

    With grouped queries ``key`` and ``value`` have fewer heads: the heads of ``query`` count.
    """
    macs = 0
    heads = query[:-2]
    if len(query) < 4 or query[-3] == key[-3]:
        heads = _broadcast(query[:-2], key[:-2], value[:-2])
    for _head in itertools.product(*map(range, heads)):
        for _query in range(query[-2]):
            for _key in range(key[-2]):
                macs += count(query[-1])  # its score
                macs += count(value[-1])  # its value, weighted
    return macs


def multihead_attention(
    queries: int, keys: int, batch: int, embedding: int, heads: int, key_size: int, value_size: int
) -> int:
    """`nn.MultiheadAttention`: the three projections, the attention and the output projection."""
    macs = linear((batch, queries, embedding), (embedding, embedding))
    macs += linear((batch, keys, key_size), (embedding, key_size))
    macs += linear((batch, keys, value_size), (embedding, value_size))
    query = (batch, heads, queries, embedding // heads)
    key = (batch, heads, keys, embedding // heads)
    macs += attention(query, key, key)
    return macs + linear((batch, queries, embedding), (embedding, embedding))


# Recurrent networks -------------------------------------------------------------------------------

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def cell(kind: str, batch: int, inputs: int, hidden: int, recurrent: int | None = None) -> int:
    """One step of an RNN, GRU or LSTM cell; ``recurrent``: size of the state that is fed back."""
    macs = 0
    for _sample in range(batch):
        for _gate in range(GATES[kind]):
            for _output in range(hidden):
                macs += count(inputs)
                macs += count(hidden if recurrent is None else recurrent)
    return macs


def recurrent(
    kind: str,
    steps: Iterable[int],
    inputs: int,
    hidden: int,
    *,
    layers: int = 1,
    directions: int = 1,
    projection: int = 0,
) -> int:
    """A whole recurrent module. ``steps``: the batch at each step (it shrinks when packed)."""
    state = projection or hidden
    macs = 0
    for batch in steps:
        for layer in range(layers):
            for _direction in range(directions):
                size = inputs if layer == 0 else state * directions
                macs += cell(kind, batch, size, hidden, state)
                if projection:
                    macs += count(batch, hidden, projection)
    return macs


# FlopCounterMode ----------------------------------------------------------------------------------


def flop_counter_macs(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """What FlopCounterMode counts, in multiply-accumulates. Give it meta tensors to save time.

    Not to be trusted for attention on the CPU, `_grouped_mm`, `mv`, `dot`, `outer`, `bilinear`,
    `cdist` and recurrent kernels (it has no formula: 0), nor for the backward of grouped
    convolutions (it leaves out the groups).
    """
    with FlopCounterMode(display=False) as counter:
        function(*args, **kwargs)
    flops = int(counter.get_total_flops())
    assert flops % 2 == 0
    return flops // 2
