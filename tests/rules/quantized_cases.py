"""A call of each operator on quantized tensors and packed weights."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Case = tuple[str, tuple[Any, ...], dict[str, Any]]

quantized = torch.ops.quantized
SCALE = 0.1, 3


def quantize(*shape: int, dtype: torch.dtype = torch.quint8) -> Tensor:
    return torch.quantize_per_tensor(torch.randn(shape), *SCALE, dtype)


def weight(*shape: int) -> Tensor:
    return torch.quantize_per_tensor(torch.randn(shape), 0.1, 0, torch.qint8)


@contextmanager
def engine(name: str) -> Iterator[None]:
    """Kernels of another library."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def _of_onednn(name: str) -> Callable[..., Any]:
    def kernel(*args: Any) -> Any:
        with engine("onednn"):
            return getattr(quantized, name)(*args)

    return kernel


#: What only oneDNN has a kernel for, called there.
ONEDNN_KERNELS = {
    f"quantized::{name}": _of_onednn(name)
    for name in ("linear_tanh", "linear_leaky_relu", "conv2d_add", "conv2d_add_relu")
}


def quantized_cases() -> Iterator[Case]:
    yield from _made()
    yield from _linear()
    yield from _convolutions()
    yield from _lookups()
    yield from _recurrent()
    yield from _elementwise()


def _made() -> Iterator[Case]:
    x, qx = torch.randn(3, 4), quantize(3, 4)
    scales, zeros = torch.rand(4, dtype=torch.float64) + 0.1, torch.zeros(4, dtype=torch.int64)
    by_channel = torch.quantize_per_channel(x, scales, zeros, 1, torch.qint8)
    yield "aten::quantize_per_tensor", (x, *SCALE, torch.quint8), {}
    qparams = torch.tensor(0.1), torch.tensor(3)
    yield "aten::quantize_per_tensor.tensor_qparams", (x, *qparams, torch.quint8), {}
    lists = [x, x], torch.tensor([0.1, 0.2]), torch.tensor([0, 3])
    yield "aten::quantize_per_tensor.tensors", (*lists, torch.quint8), {}
    yield "aten::quantize_per_channel", (x, scales, zeros, 1, torch.qint8), {}
    yield "aten::quantize_per_tensor_dynamic", (x, torch.quint8, False), {}
    yield "aten::dequantize.self", (qx,), {}
    yield "aten::dequantize.tensors", ([qx, qx],), {}
    yield "aten::int_repr", (qx,), {}
    integers = torch.zeros(3, 4, dtype=torch.uint8)
    yield "aten::_make_per_tensor_quantized_tensor", (integers, *SCALE), {}
    for name in ("q_scale", "q_zero_point", "qscheme"):
        yield f"aten::{name}", (qx,), {}
    for name in ("q_per_channel_scales", "q_per_channel_zero_points", "q_per_channel_axis"):
        yield f"aten::{name}", (by_channel,), {}


def _linear() -> Iterator[Case]:
    x, qx = torch.randn(3, 4), quantize(3, 4)
    packed = quantized.linear_prepack(weight(5, 4), torch.randn(5))
    for name in ("quantized::linear", "quantized::linear_relu", "_quantized::linear"):
        yield name, (qx, packed, *SCALE), {}
    with engine("onednn"):
        with_onednn = quantized.linear_prepack(weight(5, 4), None)
    yield "quantized::linear_tanh", (qx, with_onednn, *SCALE), {}
    yield "quantized::linear_leaky_relu", (qx, with_onednn, *SCALE, 0.1), {}
    for name in ("quantized::linear_dynamic", "_quantized::linear_dynamic"):
        yield name, (x, packed, False), {}
    yield "quantized::linear_relu_dynamic", (x, packed, False), {}
    halves = quantized.linear_prepack_fp16(torch.randn(5, 4), torch.randn(5))
    yield "quantized::linear_dynamic_fp16", (x, halves), {}
    yield "quantized::linear_relu_dynamic_fp16", (x, halves), {}
    to_float = "quantized::linear_with_input_q_dq_qweight_dq"
    yield f"{to_float}_output_fp32", (x, *SCALE, packed), {}
    yield f"{to_float}_relu_output_fp32", (x, *SCALE, packed), {}


def _convolutions() -> Iterator[Case]:
    for dims in (1, 2, 3):
        each = [1] * dims
        window: tuple[Any, ...] = [2] * dims, each, each, 2
        prepack = getattr(quantized, f"conv{dims}d_prepack")
        w, bias = weight(6, 2, *[3] * dims), torch.randn(6)
        packed = prepack(w, bias, *window)
        qx, x = quantize(2, 4, *[8] * dims), torch.randn(2, 4, *[8] * dims)
        new = "" if dims == 1 else ".new"
        for relu in ("", "_relu"):
            yield f"quantized::conv{dims}d{relu}{new}", (qx, packed, *SCALE), {}
            if dims > 1:
                yield f"quantized::conv{dims}d{relu}", (qx, packed, *window, *SCALE), {}
            if dims == 2:
                yield f"_quantized::conv{dims}d{relu}", (qx, packed, *SCALE), {}
        yield f"quantized::conv{dims}d_dynamic", (x, packed, False), {}
        transposed = getattr(quantized, f"conv_transpose{dims}d_prepack")(
            weight(4, 3, *[3] * dims), bias, [2] * dims, each, each, each, 2
        )
        yield f"quantized::conv_transpose{dims}d", (qx, transposed, *SCALE), {}
        if dims < 3:
            yield f"_quantized::conv_transpose{dims}d", (qx, transposed, *SCALE), {}
        yield f"quantized::conv_transpose{dims}d_dynamic", (x, transposed, False), {}
    with engine("onednn"):
        plain = quantized.conv2d_prepack(weight(4, 4, 1, 1), None, [1, 1], [0, 0], [1, 1], 1)
    qx = quantize(2, 4, 8, 8)
    for name in ("conv2d_add", "conv2d_add_relu"):
        yield f"quantized::{name}", (qx, quantize(2, 4, 8, 8), plain, *SCALE), {}


def _lookups() -> Iterator[Case]:
    indices, offsets = torch.tensor([1, 2, 1, 0]), torch.tensor([0, 3])
    for name, dtype in (("byte", torch.quint8), ("4bit", torch.quint4x2)):
        scales, zeros = torch.rand(10) + 0.1, torch.zeros(10)
        table = torch.quantize_per_channel(torch.randn(10, 8), scales, zeros, 0, dtype)
        packed = quantized.embedding_bag_prepack(table)
        yield f"quantized::embedding_{name}", (packed, indices), {}
        yield f"quantized::embedding_bag_{name}", (packed, indices, offsets), {}


def _cells(gates: int) -> tuple[Any, ...]:
    """Inputs of 4, a state of 5."""
    packed = [
        quantized.linear_prepack(weight(5 * gates, n), torch.randn(5 * gates)) for n in (4, 5)
    ]
    return *packed, torch.randn(5 * gates), torch.randn(5 * gates)


def _recurrent() -> Iterator[Case]:
    x, state = torch.randn(6, 3, 4), torch.zeros(1, 3, 5)
    data, batch_sizes = torch.randn(6, 4), torch.tensor([3, 2, 1])
    make = quantized.make_quantized_cell_params_dynamic
    options = True, 1, 0.0, False, False
    lstm, gru = [make(*_cells(4))], [make(*_cells(3))]
    states = [state, state]
    dynamic = {"dtype": torch.qint8, "use_dynamic": True}
    yield "aten::quantized_lstm.input", (x, states, lstm, *options, False), dynamic
    yield "aten::quantized_lstm.data", (data, batch_sizes, states, lstm, *options), dynamic
    yield "aten::quantized_gru.input", (x, state, gru, *options, False), {}
    yield "aten::quantized_gru.data", (data, batch_sizes, state, gru, *options), {}
    for name, gates in (("lstm", 4), ("gru", 3), ("rnn_tanh", 1), ("rnn_relu", 1)):
        hx = [state[0], state[0]] if name == "lstm" else state[0]
        yield f"quantized::quantized_{name}_cell_dynamic", (x[0], hx, *_cells(gates)), {}


def _elementwise() -> Iterator[Case]:
    a, b = quantize(2, 4, 3, 3), quantize(2, 4, 3, 3)
    for name in ("quantized::add", "_quantized::add", "quantized::mul"):
        yield name, (a, b, *SCALE), {}
    for name in ("add", "mul"):
        yield f"quantized::{name}_relu", (a, b, *SCALE), {}
        yield f"quantized::{name}.Scalar", (a, 2.0), {}
        yield f"quantized::{name}.Scalar2", (2.0, a), {}
        yield f"quantized::{name}_scalar", (a, 2.0), {}
        yield f"quantized::{name}_scalar.Tensor", (a, torch.tensor(2.0)), {}
        yield f"quantized::{name}_scalar_relu", (a, 2.0), {}
    yield "quantized::add_scalar_relu.Tensor", (a, torch.tensor(2.0)), {}
    yield "quantized::add_relu.Scalar", (a, 2.0), {}
    yield "quantized::matmul", (quantize(3, 4), quantize(4, 5), *SCALE), {}
    for name in ("cat", "cat_relu"):
        yield f"quantized::{name}", ([a, b], 1, *SCALE), {}
    yield "quantized::relu6", (a,), {}
    yield "quantized::clamp", (a, 0.0, 1.0), {}
    yield "quantized::threshold", (a, 0.5, 0.0), {}
    yield "quantized::leaky_relu", (a, 0.1, False, *SCALE), {}
    yield "quantized::prelu", (a, quantize(4), *SCALE), {}
    for name in ("sigmoid", "hardswish", "elu", "celu", "dropout"):
        yield f"quantized::{name}", (a, *SCALE), {}
    yield "quantized::softmax", (a, 1, *SCALE), {}
    channels = tuple(torch.rand(4) for _ in range(4))
    flat, deep = quantize(2, 4, 5), quantize(2, 4, 3, 3, 3)
    for relu in ("", "_relu"):
        for name, x in (("", a), ("1d", flat), ("2d", a), ("3d", deep)):
            yield f"quantized::batch_norm{name}{relu}", (x, *channels, 1e-5, *SCALE), {}
    yield "aten::quantized_batch_norm", (a, *channels, 1e-5, *SCALE), {}
    yield "quantized::layer_norm", (a, [3], None, None, 1e-5, *SCALE), {}
    yield "quantized::group_norm", (a, 2, *channels[:2], 1e-5, *SCALE), {}
    yield "quantized::instance_norm", (a, *channels[:2], 1e-5, *SCALE), {}
