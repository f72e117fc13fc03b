"""A call of each rule's operator that no sample of op_db makes. See coverage.py."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
import torch.nn.attention.varlen  # registers its operators
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils.rnn import pack_sequence
from torch.utils._pytree import tree_map

from nnprof.base.packages import import_torchvision
from tests.helpers.versions import TORCH
from tests.rules.backward_cases import ON_META, WRITTEN, backward_cases
from tests.rules.quantized_cases import quantized_cases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Case = tuple[str, tuple[Any, ...], dict[str, Any]]


def _in_dtype(function: Callable[..., Tensor], operands: int) -> Callable[..., Tensor]:
    """The product in its `dtype`: with operands that have it, and so has all that it returns."""

    def product(*args: Any, **kwargs: Any) -> Tensor:
        tensors = [tensor.to(args[operands]) for tensor in args[:operands]]
        return function(*tensors, **kwargs)

    return product


def _gru_cell(gates: Tensor, _: Tensor, state: Tensor, *biases: Tensor) -> tuple[Tensor, ...]:
    batch, hidden = state.shape
    return state.new_empty(state.shape), state.new_empty(
        batch, 5 * hidden
    )  # gates and what they saw


def _on_meta(name: str, namespace: str = "aten") -> Callable[..., Any]:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        on_meta = tree_map(lambda arg: arg.to("meta") if isinstance(arg, Tensor) else arg, args)
        packet, _, overload = name.partition(".")
        kernel = getattr(getattr(torch.ops, namespace), packet)
        return getattr(kernel, overload or "default")(*on_meta, **kwargs)

    return kernel


def _as_fake(name: str) -> Callable[..., Any]:
    """PyTorch's meta kernel, where it asks which device it stands for."""

    def kernel(*args: Any) -> Tensor:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fakes = [mode.from_tensor(arg) if isinstance(arg, Tensor) else arg for arg in args]
            made = getattr(torch.ops.aten, name)(*fakes)
        return torch.empty_strided(made.shape, made.stride(), dtype=made.dtype)

    return kernel


def _scaled_groups(
    a: Tensor, b: Tensor, scales: Any, _: Any, __: Any, others: Any, *rest: Any, **kwargs: Any
) -> Any:
    """By the first version of the operator, which has a meta kernel."""
    return _on_meta("_scaled_grouped_mm")(a, b, scales[0], others[0], **kwargs)


#: With kernels of their own where torchvision's C++ operators are loaded.
_DETECTION = ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")


def _detection_kernels() -> dict[str, Callable[..., Any]]:
    if not find_spec("torchvision"):
        return {}
    import_torchvision()
    names = ["nms", *_DETECTION]
    has_kernel = torch._C._dispatch_has_computed_kernel_for_dispatch_key
    kernels = {f"torchvision::{name}": _on_meta(name, "torchvision") for name in names}
    kernels["torchvision::nms"] = lambda boxes, *_: torch.arange(len(boxes))  # boxes apart
    return {op: kernel for op, kernel in kernels.items() if not has_kernel(op, "CPU")}


def _flex_attention(query: Tensor, key: Tensor, value: Tensor, *_: int) -> tuple[Tensor, ...]:
    """Torch's own, run eagerly; the CPU returns no maxima, which are as many as the sums."""
    from torch.nn.attention import flex_attention as flex

    with patch.object(flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True):
        aux = flex.AuxRequest(lse=True)
        options: dict[str, Any] = {"enable_gqa": query.size(1) != key.size(1), "return_aux": aux}
        out, statistics = flex.flex_attention(query, key, value, **options)
    return out, statistics.lse, torch.zeros_like(statistics.lse)


def _cudnn_attention(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Any, ...]:
    """As `run_cudnn_SDP_fprop` of ATen's MHA.cpp makes them, of a dense batch."""
    sums = torch.empty(*query.shape[:-1], 1, dtype=torch.float)
    random = (torch.empty((), dtype=torch.long) for _ in range(2))
    lengths = query.shape[2], key.shape[2]
    return torch.empty_like(query), sums, None, None, *lengths, *random, None


def _like_the_inputs(_: Tensor, query: Tensor, key: Tensor, value: Tensor, *__: Any) -> Any:
    return tuple(map(torch.empty_like, (query, key, value)))


#: Kernels of attention that are called by themselves, of which PyTorch has a meta kernel.
_ATTENTION = (
    "_efficient_attention_forward",
    "_flash_attention_backward",
    "_flash_attention_forward",
    "_flash_attention_forward.quantized",
    "_flash_attention_forward_no_dropout_inplace",
    "_scaled_dot_product_flash_attention.quantized",
    "_scaled_dot_product_fused_attention_overrideable",
)


#: The same of documents.
_VARLEN = ("_varlen_attn", "_varlen_attn_backward", "_varlen_attn_out")


def _convolutions() -> dict[str, Callable[..., Any]]:
    """By the operator that has all their arguments."""

    def plain(x: Any, weight: Any, bias: Any, padding: Any, stride: Any, *rest: Any) -> Any:
        return torch.ops.aten.convolution(
            x, weight, bias, stride, padding, rest[0], False, [0], rest[1]
        )

    def transposed(x: Any, weight: Any, bias: Any, padding: Any, out: Any, *rest: Any) -> Any:
        stride, dilation, groups = rest[:3]
        return torch.ops.aten.convolution(
            x, weight, bias, stride, padding, dilation, True, out, groups
        )

    def depthwise(x: Any, weight: Any, _: Any, bias: Any, *window: Any) -> Any:
        return torch.ops.aten.convolution(x, weight, bias, *window, False, [0], x.shape[1])

    def rectified(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, *rest: Any) -> Any:
        return plain(x, weight, bias, padding, stride, *rest).relu()

    def added(x: Any, weight: Any, z: Any, alpha: Any, *rest: Any) -> Any:
        return rectified(x, weight, *rest)

    return {
        "convolution_overrideable": torch.ops.aten.convolution,
        "cudnn_convolution": lambda x, weight, *rest: plain(x, weight, None, *rest),
        "cudnn_convolution_transpose": lambda x, weight, *rest: transposed(x, weight, None, *rest),
        "cudnn_convolution_relu": rectified,
        "cudnn_convolution_add_relu": added,
        "miopen_convolution": plain,
        "miopen_convolution_transpose": transposed,
        "miopen_depthwise_convolution": plain,
        "miopen_convolution_relu": rectified,
        "miopen_convolution_add_relu": added,
        "_conv_depthwise2d": depthwise,
        "conv_depthwise3d": depthwise,
    }


def _scaled_product(a: Tensor, b: Tensor, *_: Any) -> Tensor:
    return torch.empty(len(a), b.shape[1], dtype=torch.bfloat16)


#: PyTorch has no CPU kernel: what they are held against, its meta kernel where that works.
NO_CPU_KERNEL: dict[str, Callable[..., Any]] = {
    "aten::_scaled_dot_product_cudnn_attention": _on_meta("_scaled_dot_product_cudnn_attention"),
    "aten::_scaled_dot_product_efficient_attention": _on_meta(
        "_scaled_dot_product_efficient_attention"
    ),
    "aten::_scaled_dot_product_flash_attention": _on_meta("_scaled_dot_product_flash_attention"),
    "aten::mm.dtype": _in_dtype(torch.mm, 2),
    "aten::bmm.dtype": _in_dtype(torch.bmm, 2),
    "aten::addmm.dtype": _in_dtype(torch.addmm, 3),
    "aten::baddbmm.dtype": _in_dtype(torch.baddbmm, 3),
    "aten::_thnn_fused_lstm_cell": _on_meta("_thnn_fused_lstm_cell"),
    "aten::_thnn_fused_gru_cell": _gru_cell,
    "nnprof::flex_attention": _flex_attention,
    "nnprof::flex_attention_backward": _like_the_inputs,
    "aten::_cudnn_attention_forward": _cudnn_attention,
    "aten::_cudnn_attention_backward": _like_the_inputs,
    # Its meta kernel has the arguments in another order than its schema.
    "aten::_efficient_attention_backward": lambda *args, **_: (*_like_the_inputs(*args), None),
    "aten::_triton_scaled_dot_attention": lambda query, *_: torch.empty_like(query),
    "aten::_scaled_dot_product_attention_math_for_mps": (
        torch.ops.aten._scaled_dot_product_attention_math
    ),
    **({"aten::_scaled_mm_v2": _scaled_product} if TORCH < (2, 13) else {}),
    **{f"aten::{name}": kernel for name, kernel in _convolutions().items()},
    **{f"aten::{name}": _on_meta(name) for name in _ATTENTION},
    **{f"torch_attn::{name}": _on_meta(name, "torch_attn") for name in _VARLEN},
    "aten::_scaled_grouped_mm": _on_meta("_scaled_grouped_mm"),
    "aten::_scaled_grouped_mm_v2": _scaled_groups,
    "aten::_weight_int4pack_mm": _as_fake("_weight_int4pack_mm"),
    "aten::_convert_weight_to_int4pack": _on_meta("_convert_weight_to_int4pack"),
    **{f"aten::{name}": _on_meta(name) for name in ON_META},
    **WRITTEN,
    **_detection_kernels(),
}


def written_cases() -> Iterator[Case]:
    """All of them, by the operator's name without `aten::`."""
    for part in (
        _pointwise, _attention, _convolution, _matmul, _factories, _random, _recurrent,
        _transformer, _normalization, _pad, _vision, _others, _quantized, _detection,
        _foreach, _optimizers, _copies_of_views, _draws,
    ):  # fmt: skip
        torch.manual_seed(0)
        for name, args, kwargs in part():
            yield name if "::" in name else f"aten::{name}", args, kwargs
    for name, args, kwargs in backward_cases():
        yield f"aten::{name}", args, kwargs
    yield from quantized_cases()
    query, key = torch.randn(2, 3, 4, 16).transpose(1, 2), torch.randn(2, 2, 5, 16)
    value = torch.randn(2, 2, 5, 32)
    yield "nnprof::flex_attention", (query, key, value, -1, -1), {}
    out, sums = torch.randn(2, 3, 4, 32).transpose(1, 2), torch.randn(2, 4, 3)
    yield "nnprof::flex_attention_backward", (out, query, key, value, out, sums, 9, 7), {}


def _pointwise() -> Iterator[Case]:
    x, integers = torch.rand(2, 3), torch.arange(6).view(2, 3)
    for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        yield f"{name}.Scalar", (integers, 3), {}
        yield f"{name}.Scalar_Tensor", (3, integers), {}
    for name in ("bitwise_left_shift", "bitwise_right_shift"):
        yield f"{name}.Tensor_Scalar", (integers, 1), {}
        yield f"{name}.Scalar_Tensor", (1, integers), {}
    for name in ("__lshift__", "__rshift__"):
        yield f"{name}.Tensor", (integers, integers), {}
        yield f"{name}.Scalar", (integers, 1), {}
    yield "div.Scalar_mode", (x, 2.0), {"rounding_mode": "floor"}
    for name in ("floor_divide.Scalar", "fmod.Scalar", "copysign.Scalar", "clamp_max"):
        yield name, (x, 2.0), {}
    yield "remainder.Scalar_Tensor", (2, x), {}
    yield "xlogy.Scalar_Other", (x, 2.0), {}
    yield "xlogy.Scalar_Self", (2.0, x), {}
    for name in ("xlog1py", "zeta"):
        yield f"special_{name}.other_scalar", (x, 2.0), {}
        yield f"special_{name}.self_scalar", (2.0, x), {}
    for name in POLYNOMIALS:
        yield f"special_{name}.n_scalar", (x, 3), {}
        yield f"special_{name}.x_scalar", (0.5, integers), {}


POLYNOMIALS = (
    "chebyshev_polynomial_t", "chebyshev_polynomial_u", "chebyshev_polynomial_v",
    "chebyshev_polynomial_w", "hermite_polynomial_h", "hermite_polynomial_he",
    "laguerre_polynomial_l", "legendre_polynomial_p", "shifted_chebyshev_polynomial_t",
    "shifted_chebyshev_polynomial_u", "shifted_chebyshev_polynomial_v",
    "shifted_chebyshev_polynomial_w",
)  # fmt: skip


def _copies_of_views() -> Iterator[Case]:
    x = torch.rand(4, 3)
    yield "detach_copy", (x,), {}
    yield "select_copy.int", (x, 0, 1), {}
    yield "slice_copy.Tensor", (x, 0, 1, 3), {}
    yield "split_copy.Tensor", (x, 2), {}
    yield "squeeze_copy.dims", (x[None, :, None], [0, 2]), {}
    yield "view_copy.dtype", (x, torch.int32), {}
    yield "view_as_real_copy", (torch.rand(3, dtype=torch.complex64),), {}
    yield "view_as_complex_copy", (torch.rand(3, 2),), {}


def _draws() -> Iterator[Case]:
    x = torch.rand(4, 3) + 0.5
    yield "_standard_gamma_grad", (x, torch.rand(4, 3)), {}
    yield "_dirichlet_grad", (x / 3, x, x + 1), {}
    yield "_is_all_true", (x > 1,), {}
    yield "_is_any_true", (x > 1,), {}


def _attention() -> Iterator[Case]:
    q, k, v = torch.rand(2, 3, 4, 8), torch.rand(2, 3, 5, 8), torch.rand(2, 3, 5, 8)
    yield "_scaled_dot_product_flash_attention_for_cpu", (q, k, v), {}
    half = [x.half() for x in (q, k, v)]
    yield "_scaled_dot_product_flash_attention", (*half,), {}
    yield "_scaled_dot_product_efficient_attention", (*half, None, True), {}
    yield "_scaled_dot_product_cudnn_attention", (*half, None, True), {}
    yield "_cudnn_attention_forward", (*half, None, None, None, 4, 5, True), {}
    yield "_scaled_dot_product_fused_attention_overrideable", (*half,), {}
    yield "_scaled_dot_product_flash_attention.quantized", (*half, None, None, None), {}
    yield "_scaled_dot_product_attention_math_for_mps", (q, k, v), {}
    yield "_triton_scaled_dot_attention", (*half,), {}
    yield "_fused_sdp_choice", (q, k, v), {}
    out, sums = torch.rand(2, 3, 4, 8).half(), torch.rand(2, 3, 4)
    random = torch.zeros(2, dtype=torch.uint64)
    lengths: tuple[Any, ...] = None, None, 4, 5
    gradient = (out, *half, out, sums)
    given = (*gradient, random, random, torch.rand(3, 4, 5), *lengths, 0.0, False)
    yield "_cudnn_attention_backward", given, {}
    q, k, v, out = (x.transpose(1, 2).contiguous() for x in (*half, out))
    yield "_flash_attention_forward", (q, k, v, *lengths, 0.0, False, False), {}
    scales = (None, None, None)
    yield "_flash_attention_forward.quantized", (q, k, v, *lengths, 0.0, False, False, *scales), {}
    given = (out, q, k, v, *lengths, 0.0, False, False)
    yield "_flash_attention_forward_no_dropout_inplace", given, {}
    given = (out, q, k, v, out, sums, *lengths, 0.0, False, random, random)
    yield "_flash_attention_backward", given, {}
    yield "_efficient_attention_forward", (q, k, v, None, *lengths, 0.0, 0, True), {}
    given = (out, q, k, v, None, out, *lengths, sums, 0.0, random, random, 0, False)
    yield "_efficient_attention_backward", given, {}
    q, k, v, out = (x.flatten(0, 1) for x in (q, k, v, out))
    lengths = torch.tensor([0, 3, 8]), torch.tensor([0, 6, 10]), 5, 6
    places = tuple(x.int() if isinstance(x, Tensor) else x for x in lengths)
    yield "torch_attn::_varlen_attn", (q, k, v, *places), {}
    yield "torch_attn::_varlen_attn_out", (out, q, k, v, *places), {}
    given = (out, q, k, v, out, torch.rand(3, 8), *places, False, random)
    yield "torch_attn::_varlen_attn_backward", given, {}


def _convolution() -> Iterator[Case]:
    x, weight, bias = torch.rand(2, 4, 7, 6), torch.rand(6, 2, 3, 2), torch.rand(6)
    yield "conv2d.padding", (x, weight, bias, [1, 1], "same", [2, 1], 2), {}
    geometry = [1, 2], [1, 0], [1, 1], False, [0, 0], 2
    yield "_convolution.deprecated", (x, weight, bias, *geometry, False, False, True), {}
    yield "convolution_overrideable", (x, weight, bias, *geometry), {}
    yield from _convolution_kernels()
    yield "conv_tbc", (torch.rand(5, 2, 3), torch.rand(3, 3, 4), torch.rand(4), 1), {}


def _convolution_kernels() -> Iterator[Case]:
    """Strides of 2 along the first dimension alone; groups where a kernel has them."""
    flags = False, False
    for dims, kind in ((2, "2d"), (3, "3d")):
        x, bias = torch.rand(2, 4, *(7, 6, 5)[:dims]), torch.rand(6)
        kernel = [3, 2, 2][:dims]
        whole, by_two = torch.rand(6, 4, *kernel), torch.rand(6, 2, *kernel)
        back, back_by_two = torch.rand(4, 6, *kernel), torch.rand(4, 3, *kernel)
        stride, padding, one = [2, 1, 1][:dims], [1, 0, 0][:dims], [1, 1, 1][:dims]
        slow = "_slow_conv2d_forward" if dims == 2 else "slow_conv3d_forward"
        yield slow, (x, whole, kernel, bias, stride, padding), {}
        yield f"slow_conv_dilated{kind}", (x, whole, kernel, bias, stride, padding, one), {}
        yield f"slow_conv_transpose{kind}", (x, back, kernel, bias, stride, padding), {}
        name = "_conv_depthwise2d" if dims == 2 else "conv_depthwise3d"
        each = torch.rand(8, 1, *kernel), kernel, torch.rand(8)
        yield name, (x, *each, stride, padding, one), {}
        if dims == 3:
            continue
        yield "cudnn_convolution", (x, by_two, padding, stride, one, 2, *flags, False), {}
        extra = padding, [1, 0], stride, one, 2
        yield "cudnn_convolution_transpose", (x, back_by_two, *extra, *flags, False), {}
        yield "miopen_convolution_transpose", (x, back_by_two, bias, *extra, *flags), {}
        yield "mkldnn_convolution", (x, by_two, bias, padding, stride, one, 2), {}
        for name in ("miopen_convolution", "miopen_depthwise_convolution"):
            yield name, (x, by_two, bias, padding, stride, one, 2, *flags), {}
        for library in ("cudnn", "miopen"):
            yield f"{library}_convolution_relu", (x, by_two, bias, stride, padding, one, 2), {}
            z = torch.rand(2, 6, 4, 5)
            given = x, by_two, z, 2.0, bias, stride, padding, one, 2
            yield f"{library}_convolution_add_relu", given, {}


def _matmul() -> Iterator[Case]:
    a, b, row = torch.rand(2, 3), torch.rand(3, 4), torch.rand(4)
    x, y = torch.rand(5, 2, 3), torch.rand(5, 3, 4)
    half = [tensor.bfloat16() for tensor in (a, b, row, x, y)]
    yield "mm.dtype", (half[0], half[1], torch.float32), {}
    yield "bmm.dtype", (half[3], half[4], torch.float32), {}
    yield "addmm.dtype", (half[2], half[0], half[1], torch.float32), {"alpha": 2}
    yield "baddbmm.dtype", (torch.rand(2, 4).bfloat16(), half[3], half[4], torch.float32), {}
    yield "_addmm_activation", (row, a, b), {"use_gelu": True}
    small = torch.ones(32, 16, dtype=torch.int8), torch.ones(16, 24, dtype=torch.int8)
    yield "_int_mm", small, {}
    rows, columns = torch.ones(16, 32), torch.ones(48, 32).t()
    eighths = rows.to(torch.float8_e4m3fn), columns.to(torch.float8_e4m3fn)
    scales = torch.ones(()), torch.ones(())
    yield "_scaled_mm", (*eighths, *scales), {"out_dtype": torch.bfloat16}
    ends = torch.tensor([2, 5, 8], dtype=torch.int32)
    experts = torch.rand(3, 16, 8).bfloat16()
    yield "_grouped_mm", (torch.rand(8, 16).bfloat16(), experts, ends), {}
    yield "_euclidean_dist", (torch.rand(4, 3), torch.rand(5, 3)), {}


def _factories() -> Iterator[Case]:
    x = torch.rand(2, 3)
    yield "fill.Tensor", (x.t(), torch.tensor(2.0)), {}
    yield "zero", (x.t(),), {}
    yield "range", (1, 6.5), {}
    yield "range.step", (1, 9, 2), {"dtype": torch.int64}
    for name in ("bartlett", "blackman", "hamming", "hann", "kaiser"):
        yield f"{name}_window", (6,), {}
        yield f"{name}_window.periodic", (6, False), {"dtype": torch.float64}
    yield "hamming_window.periodic_alpha", (6, True, 0.5), {}
    yield "hamming_window.periodic_alpha_beta", (6, True, 0.5, 0.5), {}
    yield "kaiser_window.beta", (6, True, 9.0), {}


def _random() -> Iterator[Case]:
    x, seeded = torch.rand(2, 3), {"generator": torch.Generator()}
    yield "rand.generator", ([2, 3],), seeded
    yield "randn.generator", ([2, 3],), seeded
    yield "randint.generator", (5, [2, 3]), seeded
    yield "randint.low_generator", (2, 5, [2, 3]), seeded
    yield "randperm", (6,), {}
    yield "randperm.generator", (6,), seeded
    yield "rand_like", (x.t(),), {}
    yield "rand_like.generator", (x.t(),), seeded
    yield "randn_like.generator", (x.t(),), seeded
    yield "randint_like.Tensor", (x.t(), torch.tensor(5)), {}
    yield "normal.float_Tensor", (0.0, x), {}
    yield "bernoulli.p", (x, 0.5), {}
    yield "poisson", (x,), {}
    yield "binomial", (torch.full((2, 3), 5.0), x), {}
    yield "_standard_gamma", (x,), {}
    yield "_sample_dirichlet", (x,), {}
    yield "random_", (x.clone(),), {}
    yield "random_.to", (x.clone(), 5), {}
    yield "multinomial.out", (x, 2), {"out": torch.empty(2, 2, dtype=torch.int64)}
    yield "native_dropout", (x, 0.5, True), {}


def _recurrent() -> Iterator[Case]:
    yield "_pack_padded_sequence", (torch.rand(4, 3, 2), torch.tensor([4, 2, 1]), False), {}
    x, h = torch.rand(5, 2, 3), torch.rand(1, 2, 4)
    packed = pack_sequence([torch.rand(5, 3), torch.rand(2, 3)])
    modules: dict[str, nn.RNNBase] = {
        "rnn_tanh": nn.RNN(3, 4),
        "rnn_relu": nn.RNN(3, 4),
        "gru": nn.GRU(3, 4),
        "lstm": nn.LSTM(3, 4),
    }
    for kind, module in modules.items():
        weights = [weight.detach() for weight in module.parameters()]
        state: Any = [h, torch.rand(1, 2, 4)] if kind == "lstm" else h
        options = True, 1, 0.0, False, False  # biases, layers, dropout, train, bidirectional
        yield f"{kind}.input", (x, state, weights, *options, False), {}
        yield f"{kind}.data", (packed.data, packed.batch_sizes, state, weights, *options), {}
        one: Any = [part[0] for part in state] if kind == "lstm" else h[0]
        yield f"{kind}_cell", (x[0], one, *weights), {}
    hidden, cell = torch.rand(2, 4), torch.rand(2, 4)
    gates = torch.rand(2, 16), torch.rand(2, 16)
    yield "_thnn_fused_lstm_cell", (*gates, cell, torch.rand(16), torch.rand(16)), {}
    gates = torch.rand(2, 12), torch.rand(2, 12)
    yield "_thnn_fused_gru_cell", (*gates, hidden, torch.rand(12), torch.rand(12)), {}


def _transformer() -> Iterator[Case]:
    x = torch.rand(2, 5, 8)
    qkv, out = [torch.rand(24, 8), torch.rand(24)], [torch.rand(8, 8), torch.rand(8)]
    norms = [torch.rand(8) for _ in range(4)]
    feed_forward = [torch.rand(16, 8), torch.rand(16), torch.rand(8, 16), torch.rand(8)]
    yield "_native_multi_head_attention", (x, x, x, 8, 2, *qkv, *out), {}
    layer = (*qkv, *out, False, False, 1e-5, *norms, *feed_forward)
    yield "_transformer_encoder_layer_fwd", (x, 8, 2, *layer), {}
    yield "_transform_bias_rescale_qkv", (torch.rand(2, 5, 24), torch.rand(24), 2), {}
    mask = torch.tensor([[True, True, False], [True, False, False]])
    yield "_nested_tensor_from_mask_left_aligned", (torch.rand(2, 3, 4), mask), {}


def _normalization() -> Iterator[Case]:
    x, weight, bias = torch.rand(2, 3, 4), torch.rand(3), torch.rand(3)
    mean, variance = torch.rand(3), torch.rand(3)
    yield "_native_batch_norm_legit.no_stats", (x, weight, bias, True, 0.1, 1e-5), {}
    known: tuple[Tensor, ...] = (x, weight, bias, mean, variance)
    yield "_native_batch_norm_legit_no_training", (*known, 0.1, 1e-5), {}
    yield "_native_batch_norm_legit_functional", (*known, True, 0.1, 1e-5), {}
    yield "_batch_norm_with_update_functional", (*known, 0.1, 1e-5), {}
    yield "_batch_norm_no_update", (*known, 0.1, 1e-5), {}
    yield "_weight_norm_interface", (x.transpose(0, 1), torch.rand(3, 1, 1)), {}


def _pad() -> Iterator[Case]:
    plane, volume = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5, 6)
    for kind in ("reflection", "replication"):
        yield f"{kind}_pad3d", (volume, [1, 2, 0, 1, 1, 0]), {}
        grown = torch.rand(2, 3, 5, 6, 9)
        yield f"{kind}_pad3d_backward", (grown, volume, [1, 2, 0, 1, 1, 0]), {}
    yield "reflection_pad2d_backward", (torch.rand(2, 3, 5, 8), plane, [1, 2, 0, 1]), {}


def _vision() -> Iterator[Case]:
    plane, volume = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5, 6)
    for kind in ("bicubic", "lanczos"):
        yield f"_upsample_{kind}2d_aa", (plane, [3, 7], False), {}
        yield f"_upsample_{kind}2d_aa.vec", (plane, None, False, [0.5, 2.0]), {}
    for name in ("upsample_nearest3d", "_upsample_nearest_exact3d"):
        yield name, (volume, [3, 7, 6]), {}
        yield f"{name}.vec", (volume, None, [0.5, 2.0, 1.0]), {}
    yield "affine_grid_generator", (torch.rand(2, 2, 3), [2, 3, 4, 5], False), {}


def _others() -> Iterator[Case]:
    x, integers = torch.rand(2, 3), torch.arange(6).view(2, 3)
    yield "to.other", (x, torch.empty(0, dtype=torch.float64)), {}
    for name in ("concat", "concatenate", "_stack"):
        yield name, ([x, x], 1), {}
    yield "soft_margin_loss_backward", (x, x, x, 0), {}
    lengths = torch.tensor([4, 5]), torch.tensor([2, 3])
    yield "_ctc_loss.Tensor", (torch.rand(5, 2, 4), torch.ones(2, 3).long(), *lengths), {}
    kept = torch.ops.aten._ctc_loss.Tensor(torch.rand(5, 2, 4), torch.ones(2, 3).long(), *lengths)
    given = torch.rand(2), torch.rand(5, 2, 4), torch.ones(2, 3).long(), *lengths, *kept
    yield "_ctc_loss_backward.Tensor", (*given, 0), {}
    yield "norm.ScalarOpt_dtype", (x, 2), {"dtype": torch.float64}
    yield "norm.ScalarOpt_dim_dtype", (x, 2, [1], True), {"dtype": torch.float64}
    yield "scatter.value_reduce", (x, 1, integers % 3, 2.0), {"reduce": "add"}
    yield "special_softmax", (x, 1), {}
    yield "special_log_softmax", (x, 1), {}
    yield "searchsorted.Scalar", (x[0], 0.5), {}
    yield "bucketize.Scalar", (0.5, x[0]), {}
    yield "unique_dim_consecutive", (integers, 0, True, True), {}
    yield "split.sizes", (x, [1, 2], 1), {}
    yield "unsafe_split_with_sizes", (x, [1, 2], 1), {}
    yield "view.dtype", (x, torch.int32), {}
    yield "_neg_view", (x.t(),), {}
    for name in ("swapaxes", "swapdims", "swapaxes_", "swapdims_"):
        yield name, (torch.rand(2, 3), 0, 1), {}
    yield "set_.source_Tensor", (torch.rand(2, 3), torch.rand(4)), {}
    yield "aminmax.out", (x,), {"dim": 1, "min": torch.empty(2), "max": torch.empty(2)}


def _eighths(groups: int) -> tuple[Tensor, Tensor]:
    """Rows for grouped matrices, which are laid out by columns."""
    rows = torch.ones(8, 16).to(torch.float8_e4m3fn)
    return rows, torch.ones(groups, 32, 16).to(torch.float8_e4m3fn).mT


def _quantized() -> Iterator[Case]:
    rows, grouped = _eighths(3)
    ends = torch.tensor([2, 5, 8], dtype=torch.int32)
    yield "_scaled_grouped_mm", (rows, grouped, torch.ones(8), torch.ones(3, 32), ends), {}
    scales = [torch.ones(8)], [1], [0], [torch.ones(3, 32)], [1], [0]
    yield "_scaled_grouped_mm_v2", (rows, grouped, *scales), {"offs": ends}
    one = [torch.ones(())], [0], [0]
    wide = torch.ones(16, 32).to(torch.float8_e4m3fn)
    yield "_scaled_mm_v2", (wide, wide.t(), *one, *one, None, torch.bfloat16), {}

    x = torch.rand(4, 64).bfloat16()
    fours = torch.randint(0, 16, (32, 64), dtype=torch.int32)
    groups = torch.rand(2, 32, 2).bfloat16()
    yield "_convert_weight_to_int4pack_for_cpu", (fours, 2), {}
    packed = torch.ones(32, 32, dtype=torch.uint8)
    yield "_weight_int4pack_mm_for_cpu", (x, packed, 32, groups), {}
    yield "_convert_weight_to_int4pack", (packed, 2), {}
    yield "_weight_int4pack_mm", (x, torch.ones(4, 2, 32, 1, dtype=torch.int32), 32, groups), {}
    eights = torch.ones(32, 64, dtype=torch.int8)
    yield "_weight_int8pack_mm", (x, eights, torch.rand(32).bfloat16()), {}
    pack = torch.ops.aten._dyn_quant_pack_4bit_weight(packed, torch.rand(32), None, 64, 64, 32)
    yield "_dyn_quant_matmul_4bit", (x.float(), pack, 64, 64, 32), {}

    y, one_scale, zero = torch.rand(3, 4), torch.tensor([0.1]), torch.zeros(1, dtype=torch.int32)
    yield "fake_quantize_per_tensor_affine_cachemask", (y, 0.1, 0, 0, 255), {}
    by_tensors = (y, one_scale, zero, torch.ones(1, dtype=torch.int64), 0, 255)
    yield "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams", by_tensors, {}
    channels = torch.rand(4), torch.zeros(4, dtype=torch.int32)
    yield "fake_quantize_per_channel_affine_cachemask", (y, *channels, 1, 0, 255), {}


#: By list operator, as PyTorch names them: those of one list, and those with a number or a second
#: list.
FOREACH_UNARY = (
    "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor",
    "frac", "lgamma", "log", "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt",
    "sigmoid", "sign", "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
)  # fmt: skip
FOREACH_BINARY = (
    "add", "sub", "mul", "div", "pow", "maximum", "minimum", "clamp_min", "clamp_max",
)  # fmt: skip


def _foreach() -> Iterator[Case]:
    xs, ys = [torch.rand(2, 3), torch.rand(3, 2).t()], [torch.rand(2, 3), torch.rand(2, 3)]
    numbers = [0.5, 2.0]
    for name in [*FOREACH_UNARY, "max", "clone", "zero"]:
        yield f"_foreach_{name}", (xs,), {}
    yield "_foreach_abs_", (xs,), {}
    for name in FOREACH_BINARY:
        yield f"_foreach_{name}.Scalar", (xs, 0.5), {}
        yield f"_foreach_{name}.ScalarList", (xs, numbers), {}
        yield f"_foreach_{name}.List", (xs, ys), {}
    for name in ("add", "mul", "div"):
        yield f"_foreach_{name}.Tensor", (xs, torch.tensor(0.5)), {}
    yield "_foreach_pow.ScalarAndTensor", (0.5, xs), {}
    for name in ("addcmul", "addcdiv"):
        yield f"_foreach_{name}.Scalar", (xs, ys, xs, 0.5), {}
        yield f"_foreach_{name}.ScalarList", (xs, ys, xs, numbers), {}
        yield f"_foreach_{name}.Tensor", (xs, ys, xs, torch.tensor(numbers)), {}
    yield "_foreach_lerp.Scalar", (xs, ys, 0.5), {}
    yield "_foreach_lerp.ScalarList", (xs, ys, numbers), {}
    yield "_foreach_lerp.List", (xs, ys, xs), {}
    yield "_foreach_norm.Scalar", (xs, 1), {}
    yield "_foreach_powsum.Scalar", (xs, 3), {}
    yield "_foreach_mm", (xs, [torch.rand(3, 4), torch.rand(3, 1)]), {}
    yield "_foreach_copy", (xs, [torch.rand(3), torch.rand(2, 3)]), {}
    yield "split_with_sizes_copy", (torch.rand(4, 3).t(), [1, 3], 1), {}
    yield "_chunk_cat", ([torch.rand(2, 5, 3), torch.rand(2, 4)], 1, 2), {}


def _optimizers() -> Iterator[Case]:
    def like() -> list[Tensor]:
        return [torch.rand(2, 3), torch.rand(4)]

    steps, lr = [torch.ones(()), torch.ones(())], torch.tensor(0.1)
    adam = {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.1, "eps": 1e-8}
    adam |= {"amsgrad": True, "maximize": False}
    for name in ("_fused_adam", "_fused_adamw"):
        lists = (like(), like(), like(), like(), like(), steps)
        yield name, lists, {"lr": 0.1, **adam}
        yield f"{name}.tensor_lr", lists, {"lr": lr, **adam}
    sgd = {"weight_decay": 0.1, "momentum": 0.9, "dampening": 0.0, "nesterov": True}
    sgd |= {"maximize": False, "is_first_step": False}
    yield "_fused_sgd", (like(), like(), like()), {"lr": 0.1, **sgd}
    yield "_fused_sgd.tensor_lr", (like(), like(), like()), {"lr": lr, **sgd}
    adagrad = {"lr_decay": 0.1, "weight_decay": 0.1, "eps": 1e-8, "maximize": False}
    yield "_fused_adagrad", (like(), like(), like(), steps), {"lr": 0.1, **adagrad}
    yield "_fused_adagrad.tensor_lr", (like(), like(), like(), steps), {"lr": lr, **adagrad}

    found, scale, tracker = torch.zeros(1), torch.ones(1), torch.ones(1, dtype=torch.int32)
    yield "_amp_foreach_non_finite_check_and_unscale", (like(), found, scale), {}
    yield "_amp_update_scale", (scale, tracker, found, 2.0, 0.5, 2000), {}


def _detection() -> Iterator[Case]:
    if not find_spec("torchvision"):
        return
    corner = torch.arange(5.0)[:, None] * 3
    boxes = torch.cat([corner, corner, corner + 1, corner + 2], dim=1)
    yield "torchvision::nms", (boxes, torch.rand(5), 0.5), {}
    x, regions = torch.rand(2, 12, 8, 8), torch.tensor([[0.0, 0, 0, 8, 8], [1, 2, 2, 6, 7]])
    yield "torchvision::roi_align", (x, regions, 1.0, 2, 3, 2, True), {}
    yield "torchvision::roi_pool", (x, regions, 1.0, 2, 3), {}
    yield "torchvision::ps_roi_align", (x, regions, 1.0, 2, 3, 2), {}
    yield "torchvision::ps_roi_pool", (x, regions, 1.0, 2, 3), {}
    window = torch.rand(2, 12, 5, 5), torch.rand(6, 6, 3, 2), torch.rand(2, 12, 5, 6)
    mask, bias = torch.rand(2, 6, 5, 6), torch.rand(6)
    options = 1, 1, 1, 1, 1, 1, 2, 1, True
    x, weight, offset = window
    yield "torchvision::deform_conv2d", (x, weight, offset, mask, bias, *options), {}
