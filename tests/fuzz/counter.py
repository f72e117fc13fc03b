"""Multiply-accumulates of a real run, counted at the kernels that it reaches.

The shape-only trace prices the operators that a model calls (`linear`, `lstm`,
`scaled_dot_product_attention`); here the run goes on to what they are made of on the CPU, and each
of those is counted with loops (`helpers/oracles.py`). What looks like a contraction and has no
count fails.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.helpers import oracles

if TYPE_CHECKING:
    from collections.abc import Callable

aten = torch.ops.aten


def _products(first: int) -> Callable[..., int]:
    """Of the matrices or vectors at places `first` and `first + 1`."""
    return lambda args, out: oracles.matmul(args[first].shape, args[first + 1].shape)


def _batches_summed(args: Any, out: Tensor) -> int:
    return oracles.matmul(args[1].shape, args[2].shape)


def _outer(args: Any, out: Tensor) -> int:
    return oracles.outer(args[1].shape, args[2].shape)


def _convolution(args: Any, out: Tensor) -> int:
    x, weight, _, stride, padding, dilation, transposed, _, groups = args
    if transposed:
        return oracles.transposed_convolution(x.shape, weight.shape, groups=groups)
    return oracles.convolution(
        x.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


def _attention(args: Any, out: Any) -> int:
    query, key, value = args[:3]
    return oracles.attention(query.shape, key.shape, value.shape)


def _rnn_layer(args: Any, out: Any) -> int:
    """One layer and direction of an LSTM, of (steps, batch, inputs)."""
    steps, batch, inputs = args[0].shape
    return oracles.recurrent("lstm", [batch] * steps, inputs, hidden=args[10])


def _distances(args: Any, out: Any) -> int:
    return oracles.cdist(args[0].shape, args[1].shape)


def _trilinear(args: Any, out: Any) -> int:
    """The sum over products of three tensors that broadcast, each with dimensions put in."""
    shapes = []
    for tensor, expanded in zip(args[:3], args[3:6], strict=True):
        shape = list(tensor.shape)
        for dim in expanded:
            shape.insert(dim, 1)
        shapes.append(shape)
    return oracles.count(*torch.broadcast_shapes(*map(tuple, shapes)))


def _multihead_attention(args: Any, out: Any) -> int:
    query, key, _, embedding, heads = args[:5]
    batch, queries, _ = query.shape
    return oracles.multihead_attention(
        queries, key.shape[1], batch, embedding, heads, embedding, embedding
    )


def _encoder_layer(args: Any, out: Any) -> int:
    x, embedding, heads = args[:3]
    first, second = args[14], args[16]
    batch, length, _ = x.shape
    attention = oracles.multihead_attention(
        length, length, batch, embedding, heads, embedding, embedding
    )
    hidden = (*x.shape[:-1], first.shape[0])
    return attention + oracles.linear(x.shape, first.shape) + oracles.linear(hidden, second.shape)


COUNTS: dict[Any, Callable[[Any, Any], int]] = {
    aten.mm: _products(0),
    aten.mv: _products(0),
    aten.dot: _products(0),
    aten.vdot: _products(0),
    aten.bmm: _products(0),
    aten.addmm: _products(1),
    aten.addmm_: _products(1),
    aten._addmm_activation: _products(1),
    aten.addmv: _products(1),
    aten.addmv_: _products(1),
    aten.baddbmm: _products(1),
    aten.baddbmm_: _products(1),
    aten.addbmm: _batches_summed,
    aten.addbmm_: _batches_summed,
    aten.addr: _outer,
    aten.addr_: _outer,
    aten.convolution: _convolution,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten.mkldnn_rnn_layer: _rnn_layer,
    aten._cdist_forward: _distances,
    aten._trilinear: _trilinear,
    aten._native_multi_head_attention: _multihead_attention,
    aten._transformer_encoder_layer_fwd: _encoder_layer,
}

_CONTRACTION = re.compile(
    r"mm(_|$)|mv(_|$)|dot(_|$)|conv|attention|rnn|lstm|gru|linear|matmul|dist|einsum|encoder|addr"
)
#: Names that look like a contraction's and are none's.
_OTHERS = {
    aten.convolution_backward,
    aten._thnn_fused_lstm_cell,  # what follows the products
    aten._thnn_fused_gru_cell,
    aten.upsample_linear1d,
    aten.upsample_bilinear2d,
    aten.upsample_trilinear3d,
    aten._upsample_bilinear2d_aa,
    aten.linspace,
}


class BruteForceCounter(TorchDispatchMode):
    """`with BruteForceCounter() as counter: ...`, then `counter.macs`, `counter.by_operator`."""

    def __init__(self) -> None:
        super().__init__()
        self.by_operator: Counter[str] = Counter()

    @property
    def macs(self) -> int:
        return self.by_operator.total()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        packet = func.overloadpacket
        name = packet.__name__
        out = func(*args, **(kwargs or {}))
        if packet in COUNTS:
            self.by_operator[name] += COUNTS[packet](args, out)
        elif _CONTRACTION.search(name) and packet not in _OTHERS:
            raise AssertionError(f"{name} looks like a contraction: say how to count it")
        return out
