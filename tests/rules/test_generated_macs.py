"""MACs of generated contractions equal the multiplications of the definition, written as loops.

The loops multiply numbers that count: those on the left of a product (weights, queries, values)
share the tally that is compared, and what sums start with has a tally of its own.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor, nn

from tests.rules.costs import macs, meta
from tests.rules.geometries import few, flags, geometries, small
from tests.rules.scalars import Number, largest, total

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = Any  # of numpy, with Numbers as elements


class Counted:
    """Makes arrays of numbers whose products count, and of others."""

    def __init__(self) -> None:
        self.products: Counter[str] = Counter()
        self.elsewhere: Counter[str] = Counter()

    def array(self, *shape: int) -> Array:
        return self._filled(shape, self.products)

    def other(self, *shape: int) -> Array:
        return self._filled(shape, self.elsewhere)

    @property
    def zero(self) -> Number:
        return Number(self.elsewhere)

    @property
    def macs(self) -> int:
        return self.products["multiply"]

    @staticmethod
    def _filled(shape: Sequence[int], tally: Counter[str]) -> Array:
        array = np.empty(shape, dtype=object)
        for place in np.ndindex(*shape):
            array[place] = Number(tally)
        return array


# Products -----------------------------------------------------------------------------------------


def product(counted: Counted, a: Array, b: Array) -> Array:
    """Of matrices (rows, depth) and (depth, columns)."""
    result = counted.other(a.shape[0], b.shape[1])
    for row, column in np.ndindex(*result.shape):
        result[row, column] = total(
            (a[row, term] * b[term, column] for term in range(a.shape[1])), counted.zero
        )
    return result


def broadcast_product(counted: Counted, a: Sequence[int], b: Sequence[int]) -> int:
    """`matmul` of arrays of these shapes, vectors and batches that broadcast included."""
    left, right = counted.array(*a), counted.other(*b)
    left = left[None, :] if len(a) == 1 else left
    right = right[:, None] if len(b) == 1 else right
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left = np.broadcast_to(left, (*batch, *left.shape[-2:]))
    right = np.broadcast_to(right, (*batch, *right.shape[-2:]))
    for place in np.ndindex(*batch):
        product(counted, left[place], right[place])
    return counted.macs


@st.composite
def laid_out(draw: st.DrawFn, shape: Sequence[int]) -> Tensor:
    """On the meta device: plain, transposed or expanded."""
    kind = draw(st.sampled_from(["plain", "transposed", "expanded"]))
    if kind == "transposed" and len(shape) > 1:
        return meta(*shape[:-2], shape[-1], shape[-2]).transpose(-1, -2)
    if kind == "expanded" and shape:
        return meta(1, *shape[1:]).expand(shape)
    return meta(*shape)


@given(st.data())
@few
def test_products(data: st.DataObject) -> None:
    def tensor(*shape: int) -> Tensor:
        return data.draw(laid_out(shape))

    b, m, k, n = (data.draw(small) for _ in range(4))
    batches = st.sampled_from([(), (1,), (b,), (2, 1), (1, b), (2, b)])
    left, right = data.draw(batches), data.draw(batches)
    pairs = [((*left, m, k), (*right, k, n)), ((k,), (*right, k, n)), ((*left, m, k), (k,))]
    for x, y in [*pairs, ((k,), (k,))]:
        assert macs(torch.matmul, tensor(*x), tensor(*y)) == broadcast_product(Counted(), x, y)
    one = broadcast_product(Counted(), (m, k), (k, n))
    many = broadcast_product(Counted(), (b, m, k), (b, k, n))
    scales = {"beta": data.draw(st.integers(0, 2)), "alpha": data.draw(small)}
    assert macs(torch.mm, tensor(m, k), tensor(k, n)) == one
    assert macs(torch.addmm, tensor(n), tensor(m, k), tensor(k, n), **scales) == one
    assert macs(torch.bmm, tensor(b, m, k), tensor(b, k, n)) == many
    assert macs(torch.baddbmm, tensor(m, n), tensor(b, m, k), tensor(b, k, n), **scales) == many
    assert macs(torch.addbmm, tensor(m, n), tensor(b, m, k), tensor(b, k, n), **scales) == many
    vector = broadcast_product(Counted(), (m, k), (k,))
    assert macs(torch.mv, tensor(m, k), tensor(k)) == vector
    assert macs(torch.addmv, tensor(m), tensor(m, k), tensor(k), **scales) == vector
    rows = broadcast_product(Counted(), (*left, m, k), (k, n))
    assert macs(F.linear, tensor(*left, m, k), tensor(n, k), tensor(n)) == rows


@given(st.data())
@few
def test_einsum(data: st.DataObject) -> None:
    """Two operands, any letters of each, any of them kept in the output."""
    letters = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True)
    left, right = data.draw(letters), data.draw(letters)
    union = sorted({*left, *right})
    kept = data.draw(st.lists(st.sampled_from(union), unique=True))
    summed = (set(left) & set(right)) - set(kept)
    sizes = {letter: data.draw(st.integers(2, 3)) for letter in union}
    counted = Counted()
    a, b = (counted.array(*(sizes[i] for i in left)), counted.other(*(sizes[i] for i in right)))
    # What only one operand has and no one keeps is summed within it, before the product.
    alone = [i for i in union if i not in kept and (i in left) != (i in right)]
    loops = [i for i in union if i not in alone]
    for place in itertools.product(*(range(sizes[i]) for i in loops)):
        at = dict(zip(loops, place, strict=True)) | dict.fromkeys(alone, 0)
        a[tuple(at[i] for i in left)] * b[tuple(at[i] for i in right)]
    operands = [meta(*(sizes[i] for i in term)) for term in (left, right)]
    equation = f"{''.join(left)},{''.join(right)}->{''.join(kept)}"
    # Without a sum PyTorch multiplies element by element: no MACs.
    assert macs(torch.einsum, equation, *operands) == (counted.macs if summed else 0), equation


@given(small, small, small, small)
@few
def test_bilinear_and_distances(batch: int, m: int, n: int, outputs: int) -> None:
    counted = Counted()
    weight, x, y = counted.array(outputs, m, n), counted.other(batch, m), counted.other(batch, n)
    for row, out, i, j in np.ndindex(batch, outputs, m, n):
        weight[out, i, j] * (x[row, i] * y[row, j])
    got = macs(F.bilinear, meta(batch, m), meta(batch, n), meta(outputs, m, n))
    assert got == counted.macs
    counted = Counted()
    x, y = counted.array(m, outputs), counted.other(n, outputs)
    for i, j, column in np.ndindex(m, n, outputs):
        difference = x[i, column] - y[j, column]
        difference * difference
    assert macs(torch.cdist, meta(m, outputs), meta(n, outputs)) == counted.macs


# Convolutions -------------------------------------------------------------------------------------

CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
MODULES = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def convolve(case: dict[str, Any], before: Sequence[int], after: Sequence[int]) -> int:
    """A convolution of padded images, window by window."""
    counted = Counted()
    of_group = case["inputs"] // case["groups"]
    weight = counted.array(case["outputs"], of_group, *case["kernel"])
    sizes = [sum(parts) for parts in zip(before, case["sizes"], after, strict=True)]
    x = counted.other(case["batch"], case["inputs"], *sizes)
    starts = [
        [at for at in range(0, size, step) if at + spread * (width - 1) < size]
        for size, step, spread, width in zip(
            sizes, case["stride"], case["dilation"], case["kernel"], strict=True
        )
    ]
    for image, out in np.ndindex(case["batch"], case["outputs"]):
        group = out // (case["outputs"] // case["groups"])
        for start in itertools.product(*starts):
            for channel, *tap in np.ndindex(of_group, *case["kernel"]):
                at = [s + t * d for s, t, d in zip(start, tap, case["dilation"], strict=True)]
                weight[(out, channel, *tap)] * x[(image, group * of_group + channel, *at)]
    return counted.macs


@given(geometries(), flags, flags)
@few
def test_convolutions(case: dict[str, Any], batched: bool, last: bool) -> None:
    dims = len(case["sizes"])
    case = case if batched else case | {"batch": 1}
    x = meta(case["batch"], case["inputs"], *case["sizes"])
    if last and dims > 1:
        x = x.to(memory_format=torch.channels_last if dims == 2 else torch.channels_last_3d)
    x = x if batched else x[0]
    weight = meta(case["outputs"], case["inputs"] // case["groups"], *case["kernel"])
    options = {name: case[name] for name in ("stride", "dilation", "groups")}
    got = macs(CONVOLUTIONS[dims - 1], x, weight, padding=case["padding"], **options)
    assert got == convolve(case, case["padding"], case["padding"])
    case = case | {"stride": (1,) * dims}
    reach = [d * (k - 1) for d, k in zip(case["dilation"], case["kernel"], strict=True)]
    got = macs(CONVOLUTIONS[dims - 1], x, weight, padding="same", **options | {"stride": 1})
    assert got == convolve(case, [r // 2 for r in reach], [r - r // 2 for r in reach])


@given(geometries(), flags)
@few
def test_transposed_convolutions(case: dict[str, Any], batched: bool) -> None:
    counted = Counted()
    case = case if batched else case | {"batch": 1}
    groups, dims = case["groups"], len(case["sizes"])
    of_group = case["outputs"] // groups
    weight = counted.array(case["inputs"], of_group, *case["kernel"])
    x = counted.other(case["batch"], case["inputs"], *case["sizes"])
    for place in np.ndindex(*x.shape):  # every element spreads over its filters
        for tap in np.ndindex(of_group, *case["kernel"]):
            weight[(place[1], *tap)] * x[place]
    tensor = meta(*x.shape) if batched else meta(*x.shape[1:])
    options = {"stride": case["stride"], "dilation": case["dilation"], "groups": groups}
    got = macs(TRANSPOSED[dims - 1], tensor, meta(*weight.shape), **options)
    assert got == counted.macs


# Attention ----------------------------------------------------------------------------------------


@given(st.data())
@few
def test_attention(data: st.DataObject) -> None:
    batch, shared, repeated, queries, keys, width, values = (data.draw(small) for _ in range(7))
    grouped = data.draw(flags)
    heads, key_heads = shared * repeated, shared if grouped else shared * repeated
    counted = Counted()
    query = counted.array(batch, heads, queries, width)
    key = counted.other(batch, key_heads, keys, width)
    value = counted.array(batch, key_heads, keys, values)
    for image, head, row in np.ndindex(batch, heads, queries):
        own = head // (heads // key_heads)
        scores = product(counted, query[image, head, row][None, :], key[image, own].T)[0]
        top = largest(scores, counted.zero)
        weights = [(score - top).exp() for score in scores]
        for column in range(values):
            terms = (value[image, own, at, column] * weights[at] for at in range(keys))
            total(terms, counted.zero)
    mask: Any = data.draw(
        st.sampled_from([None, meta(queries, keys), torch.ones(queries, keys, dtype=torch.bool)])
    )
    causal = mask is None and data.draw(flags)
    tensors = [meta(*array.shape) for array in (query, key, value)]
    got = macs(
        F.scaled_dot_product_attention,
        *tensors,
        attn_mask=mask,
        is_causal=causal,
        enable_gqa=grouped,
    )
    assert got == counted.macs


# Recurrent ----------------------------------------------------------------------------------------

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
LAYERS: dict[str, Any] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
CELLS: dict[str, Any] = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


class Cell:
    """One row's step of a cell: gates of weights, then what has no products that count."""

    def __init__(self, counted: Counted, kind: str, inputs: int, hidden: int, state: int) -> None:
        self._counted, self._hidden = counted, hidden
        self._of_input = counted.array(GATES[kind] * hidden, inputs)
        self._of_state = counted.array(GATES[kind] * hidden, state)
        self._projected = counted.array(state, hidden) if state != hidden else None

    def step(self, x: Array, state: Array) -> Array:
        gates = product(self._counted, self._of_input, x[:, None])
        gates = gates + product(self._counted, self._of_state, state[:, None])
        hidden = gates[: self._hidden]
        if self._projected is not None:
            hidden = product(self._counted, self._projected, hidden)
        return hidden[:, 0]


def run_layers(kind: str, sizes: dict[str, int]) -> int:
    """A recurrent module, row by row, step by step."""
    counted = Counted()
    state = sizes["projection"] or sizes["hidden"]
    for _row in range(sizes["batch"]):
        sequence = [counted.other(sizes["inputs"]) for _ in range(sizes["steps"])]
        for _layer in range(sizes["layers"]):
            outputs = []
            for direction in range(sizes["directions"]):
                cell = Cell(counted, kind, len(sequence[0]), sizes["hidden"], state)
                hidden = counted.other(state)
                seen = []
                for x in sequence[:: -1 if direction else 1]:
                    hidden = cell.step(x, hidden)
                    seen.append(hidden)
                outputs.append(seen[:: -1 if direction else 1])
            sequence = [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
    return counted.macs


@given(st.data())
@few
def test_recurrent(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(LAYERS)))
    names = ("batch", "inputs", "steps", "layers")
    sizes = {name: data.draw(small) for name in names}
    sizes |= {"hidden": data.draw(st.integers(2, 4)), "directions": data.draw(st.integers(1, 2))}
    sizes["projection"] = data.draw(st.integers(0, 1)) if kind == "lstm" else 0
    projection = {"proj_size": sizes["projection"]} if kind == "lstm" else {}
    first = data.draw(flags)
    module = LAYERS[kind](
        sizes["inputs"],
        sizes["hidden"],
        sizes["layers"],
        bidirectional=sizes["directions"] == 2,
        batch_first=first,
        bias=data.draw(flags),
        device="meta",
        **projection,
    )
    outer = (sizes["batch"], sizes["steps"]) if first else (sizes["steps"], sizes["batch"])
    assert macs(module, meta(*outer, sizes["inputs"])) == run_layers(kind, sizes)


@given(st.sampled_from(sorted(CELLS)), small, small, st.integers(2, 4))
@few
def test_cells(kind: str, batch: int, inputs: int, hidden: int) -> None:
    counted = Counted()
    for _row in range(batch):
        cell = Cell(counted, kind, inputs, hidden, hidden)
        cell.step(counted.other(inputs), counted.other(hidden))
    module = CELLS[kind](inputs, hidden, device="meta")
    assert macs(module, meta(batch, inputs)) == counted.macs
