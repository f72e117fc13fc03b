"""Calls of gradients' operators that no sample of op_db makes. See coverage_cases.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

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
    "_thnn_fused_lstm_cell_backward_impl",
    "cudnn_batch_norm",
    "cudnn_batch_norm_backward",
)


def _cudnn_rnn(*args: Any) -> tuple[Any, ...]:
    on_meta = tree_map(lambda arg: arg.to("meta") if isinstance(arg, Tensor) else arg, args)
    return *aten._cudnn_rnn(*on_meta)[:4], args[3]  # the flat weights are handed through


def _cudnn_rnn_backward(x: Tensor, weights: list[Tensor], *rest: Any) -> tuple[Any, ...]:
    hx, cx = rest[2:4]
    made = [torch.empty(tensor.shape) for tensor in (x, hx, cx, *weights)]
    return *made[:3], made[3:]


def _gru_cell_backward(grad: Tensor, workspace: Tensor, _: bool) -> tuple[Tensor, ...]:
    batch, hidden = grad.shape
    shapes = [(batch, 3 * hidden)] * 2 + [(batch, hidden)] + [(3 * hidden,)] * 2
    return tuple(workspace.new_empty(shape) for shape in shapes)


#: Those that have no meta kernel either, or another: by the sizes that the CUDA kernels give.
WRITTEN = {
    "aten::_cudnn_rnn": _cudnn_rnn,
    "aten::_cudnn_rnn_backward": _cudnn_rnn_backward,
    "aten::_thnn_fused_gru_cell_backward": _gru_cell_backward,
}


def backward_cases() -> Iterator[Case]:
    for part in (_attention, _normalization, _resampling, _recurrent, _others):
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


def _recurrent() -> Iterator[Case]:
    layers = nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2)
    weights = [weight.detach() for weight in layers.parameters()]
    flat = torch.cat([weight.flatten() for weight in weights])
    x, hx, cx = torch.rand(5, 2, 3), torch.rand(4, 2, 2), torch.rand(4, 2, 4)
    given = x, weights, 5, flat, hx, cx
    options: tuple[Any, ...] = 2, 4, 2, 2, False, 0.5, True, True, [], None
    yield "_cudnn_rnn", (*given, *options), {}
    out, reserve = torch.rand(5, 2, 4), torch.empty(0, dtype=torch.uint8)
    gradients = (out, out, hx, cx)
    yield "_cudnn_rnn_backward", (*given, *gradients, *options, reserve, [True] * 4), {}
    state = [torch.rand(2, 4) for _ in range(4)]
    yield "_thnn_fused_lstm_cell_backward_impl", (*state, torch.rand(2, 16), True), {}
    yield "_thnn_fused_gru_cell_backward", (state[0], torch.rand(2, 20), True), {}
    yield from _mkldnn_layers()


def _mkldnn_layers() -> Iterator[Case]:
    # The kept workspace is padded in several ways: sizes of each kind.
    for steps, batch, inputs, hidden in (
        (3, 2, 4, 5),
        (2, 3, 70, 9),
        (4, 1, 64, 64),
        (1, 2, 8, 64),
    ):
        weights = [weight.detach() for weight in nn.LSTM(inputs, hidden).parameters()]
        x, state = torch.rand(steps, batch, inputs), torch.rand(batch, hidden)
        options: tuple[Any, ...] = False, [], 2, hidden, 1, True, False, False, True
        yield "mkldnn_rnn_layer", (x, *weights, state, state, *options), {}
        out, hy, cy, kept = torch.ops.aten.mkldnn_rnn_layer(x, *weights, state, state, *options)
        given = (x, *weights, state, state, out, hy, cy, out, hy, cy)
        reverse, sizes, mode, _, layers, biases, both, first, train = options
        rest = (reverse, mode, hidden, layers, biases, train, both, sizes, first, kept)
        yield "mkldnn_rnn_layer_backward", (*given, *rest), {}


def _others() -> Iterator[Case]:
    v, g = torch.rand(3, 2, 4), torch.rand(3, 1, 1)
    yield "_weight_norm_interface_backward", (v, v, g, g, 0), {}
