"""Generated arguments, family by family: outputs shape-only are as PyTorch's, or both raise.

A strategy draws the arguments that a group of operators shares, and a loop calls each operator.
Layouts are drawn with them; test_generated_layouts.py does that for every single rule.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn

from tests.rules.differential import compare
from tests.rules.layouts import shapes, tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: An operator's name, function and arguments.
Call = tuple[str, "Callable[..., Any]", tuple[Any, ...], dict[str, Any]]

small = st.integers(1, 4)
flags = st.booleans()
FLOATS = (torch.float32, torch.float32, torch.bfloat16, torch.float64)
DTYPES = (*FLOATS, torch.int64, torch.uint8, torch.bool, torch.complex64)


def call(function: Any, *args: Any, **kwargs: Any) -> Call:
    return getattr(function, "__name__", "call"), function, args, kwargs


# Elementwise --------------------------------------------------------------------------------------

UNARY = (
    torch.neg, torch.abs, torch.exp, torch.log1p, torch.sqrt, torch.rsqrt, torch.sin, torch.tanh,
    torch.sigmoid, torch.erf, torch.lgamma, torch.reciprocal, torch.sign, torch.floor, torch.round,
    torch.isnan, torch.isfinite, torch.logical_not, torch.bitwise_not, torch.square, torch.angle,
    torch.nan_to_num, torch.real, torch.positive, torch.relu, F.gelu, F.silu, F.elu, F.softplus,
    F.hardswish, F.leaky_relu, F.relu6, F.mish, F.logsigmoid, F.hardtanh, F.celu, F.softshrink,
    F.hardsigmoid, F.tanhshrink, F.selu, torch.clone, torch.ones_like, torch.empty_like,
)  # fmt: skip
BINARY = (
    torch.add, torch.sub, torch.mul, torch.div, torch.floor_divide, torch.remainder, torch.fmod,
    torch.pow, torch.maximum, torch.minimum, torch.fmax, torch.atan2, torch.hypot, torch.copysign,
    torch.eq, torch.lt, torch.ge, torch.logical_and, torch.logical_xor, torch.bitwise_and,
    torch.bitwise_or, torch.logaddexp, torch.xlogy, torch.true_divide, torch.nextafter, torch.gcd,
    torch.heaviside, torch.ldexp, torch.special.zeta, torch.bitwise_left_shift, torch.float_power,
)  # fmt: skip
WITH_NUMBERS = (*BINARY[:10], torch.eq, torch.gt, torch.bitwise_and, torch.xlogy)
TERNARY = (torch.addcmul, torch.addcdiv, torch.lerp, torch.clamp)
IN_PLACE = (
    Tensor.add_, Tensor.mul_, Tensor.div_, Tensor.pow_, Tensor.copy_, Tensor.lt_, Tensor.atan2_,
    Tensor.logical_or_, Tensor.sub_, Tensor.remainder_, Tensor.copysign_, Tensor.masked_fill_,
)  # fmt: skip


@st.composite
def broadcast(draw: st.DrawFn, count: int, dtypes: Any = DTYPES) -> list[Tensor]:
    """Tensors that broadcast together, once in a while with no elements."""
    shape = list(draw(shapes(0, 4, largest=3)))
    if shape and draw(st.integers(0, 9)) == 9:
        shape[draw(st.integers(0, len(shape) - 1))] = 0
    found = []
    for _ in range(count):
        kept = draw(st.integers(0, len(shape)))
        own = [draw(st.sampled_from([size, size, 1])) for size in shape[kept:]]
        found.append(draw(tensors(own, draw(st.sampled_from(dtypes)))))
    return found


def unary(draw: st.DrawFn) -> Iterator[Call]:
    (x,) = draw(broadcast(1))
    for function in UNARY:
        yield call(function, x)


def binary(draw: st.DrawFn) -> Iterator[Call]:
    x, y = draw(broadcast(2))
    for function in BINARY:
        yield call(function, x, y)
    for method in IN_PLACE[:-1]:
        yield call(method, x, y)
    number = draw(st.sampled_from([2, 0.5, True, 2j]))
    for function in WITH_NUMBERS:
        yield call(function, x, number)
        yield call(function, number, x)


def ternary(draw: st.DrawFn) -> Iterator[Call]:
    x, y, z = draw(broadcast(3))
    for function in TERNARY:
        yield call(function, x, y, z)
    yield call(torch.where, x > 0 if not x.is_complex() else x.real > 0, y, z)
    yield call(Tensor.masked_fill_, y, z.bool(), 2)
    yield call(torch.masked_fill, y, z.bool(), 2)


# Reductions, softmax, cumulation ------------------------------------------------------------------

REDUCTIONS = (
    torch.sum, torch.mean, torch.prod, torch.amax, torch.amin, torch.var, torch.std, torch.any,
    torch.all, torch.logsumexp, torch.nansum, torch.count_nonzero, torch.var_mean, torch.median,
    torch.max, torch.min, torch.argmax, torch.aminmax, torch.mode, torch.std_mean,
    torch.linalg.vector_norm, torch.norm, torch.nanmean, torch.nanmedian, torch.argmin,
)  # fmt: skip
ALONG = (
    torch.softmax, torch.log_softmax, torch.cumsum, torch.cumprod, torch.logcumsumexp,
    torch.cummax, torch.cummin, torch.sort, torch.argsort, torch.flip, torch.unbind,
    torch.softmax, F.softmin, F.glu, F.normalize, torch.squeeze, torch.unsqueeze, torch.diff,
)  # fmt: skip


def reductions(draw: st.DrawFn) -> Iterator[Call]:
    (x,) = draw(broadcast(1))
    dim = draw(st.integers(-x.dim() - 1, x.dim()))  # one too far once in a while
    dims = draw(st.lists(st.integers(-max(x.dim(), 1), max(x.dim() - 1, 0)), max_size=2))
    keepdim = draw(flags)
    for function in REDUCTIONS:
        yield call(function, x)
        if function is not torch.count_nonzero:
            yield call(function, x, dim=dim, keepdim=keepdim)
            yield call(function, x, dim=tuple(dims), keepdim=keepdim)
    yield call(torch.sum, x, dim=dim, dtype=torch.float64)
    yield call(torch.var, x, dim=dim, correction=draw(st.integers(0, 3)))


def along(draw: st.DrawFn) -> Iterator[Call]:
    (x,) = draw(broadcast(1))
    dim = draw(st.integers(-x.dim() - 1, x.dim()))
    for function in ALONG:
        yield call(function, x, dim=dim) if function is not torch.flip else call(function, x, [dim])
    yield call(torch.softmax, x, dim=dim, dtype=torch.float64)


# Products -----------------------------------------------------------------------------------------


@st.composite
def matrices(draw: st.DrawFn, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Of this shape, but of another one now and then."""
    if draw(st.integers(0, 19)) == 19:
        shape = (*shape[:-1], shape[-1] + 1)
    return draw(tensors(shape, dtype))


def products(draw: st.DrawFn) -> Iterator[Call]:
    b, m, k, n = (draw(st.integers(0 if draw(st.integers(0, 5)) == 5 else 1, 4)) for _ in range(4))
    dtype = draw(st.sampled_from([*FLOATS, torch.int64, torch.complex64]))

    def of(*shape: int) -> Tensor:
        return draw(matrices(*shape, dtype=dtype))

    yield call(torch.mm, of(m, k), of(k, n))
    yield call(torch.bmm, of(b, m, k), of(b, k, n))
    yield call(torch.mv, of(m, k), of(k))
    yield call(torch.dot, of(k), of(k))
    yield call(torch.outer, of(m), of(n))
    yield call(torch.addr, of(m, n), of(m), of(n))
    scales = {"beta": draw(st.integers(0, 2)), "alpha": draw(st.integers(1, 2))}
    start = draw(st.sampled_from([(m, n), (1, n), (n,), (m, 1), ()]))
    yield call(torch.addmm, of(*start) if start else of(n)[:1].sum(), of(m, k), of(k, n), **scales)
    yield call(torch.baddbmm, of(b, m, n), of(b, m, k), of(b, k, n), **scales)
    yield call(torch.baddbmm, of(n), of(b, m, k), of(b, k, n), **scales)
    yield call(torch.addbmm, of(m, n), of(b, m, k), of(b, k, n), **scales)
    yield call(torch.addmv, of(m), of(m, k), of(k), **scales)
    rows = draw(shapes(0, 3, largest=3))
    yield call(F.linear, of(*rows, k), of(n, k), draw(st.sampled_from([None, of(n)])))
    left, right = (draw(st.sampled_from([(), (1,), (b,), (2, 1), (1, b)])) for _ in range(2))
    yield call(torch.matmul, of(*left, m, k), of(*right, k, n))
    yield call(torch.matmul, of(k), of(*right, k, n))
    yield call(torch.matmul, of(*left, m, k), of(k))
    yield call(F.bilinear, of(b, m), of(b, n), of(k, m, n), of(k))
    yield call(torch.cdist, of(b, m, k), of(b, n, k))
    yield call(torch.kron, of(m, k), of(n))
    yield call(torch.tensordot, of(m, k, b), of(k, b, n), dims=2)
    yield call(torch.linalg.multi_dot, [of(m, k), of(k, n), of(n, m)])
    yield call(torch.inner, of(m, k), of(n, k))


EQUATIONS = (
    "ij,jk->ik", "ij,kj->ik", "ji,jk->ki", "bij,bjk->bik", "bij,bkj->bki", "ij,ij->", "ii->i",
    "ij->ji", "ij,j->i", "bhij,bhkj->bhik", "i,j->ij", "ij,jk,kl->il", "...ij,...jk->...ik",
    "bij,jk->bik", "ij,jk->", "bi,bj->bij", "ii", "abc,cd->dab",
)  # fmt: skip


def einsums(draw: st.DrawFn) -> Iterator[Call]:
    sizes = {letter: draw(small) for letter in "abcdhijkl"}
    for equation in EQUATIONS:
        inputs = equation.split("->")[0].replace("...", "ab").split(",")
        operands = [draw(tensors([sizes[letter] for letter in term])) for term in inputs]
        yield call(torch.einsum, equation, *operands)


# Convolutions -------------------------------------------------------------------------------------

CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


@st.composite
def geometry(draw: st.DrawFn, dims: int, high: int = 2) -> Any:
    if draw(flags):
        return draw(st.integers(1, high))
    return tuple(draw(st.integers(1, high)) for _ in range(dims))


@st.composite
def images(draw: st.DrawFn, channels: int, dims: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Batched or not, channels last or in any other layout."""
    batch = [draw(st.integers(1, 2))] if draw(st.integers(0, 3)) else []
    sizes = [draw(st.integers(2, 6)) for _ in range(dims)]
    x: Tensor = draw(tensors([*batch, channels, *sizes], dtype))
    if draw(flags) and x.dim() in (4, 5):
        last = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
        return x.to(memory_format=last)
    return x


def convolutions(draw: st.DrawFn) -> Iterator[Call]:
    dims, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    inputs, outputs = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    dtype = draw(st.sampled_from(FLOATS))
    kernel = [draw(st.integers(1, 3)) for _ in range(dims)]
    x = draw(images(inputs + (draw(st.integers(0, 19)) == 19), dims, dtype))
    weight = draw(tensors([outputs, inputs // groups, *kernel], dtype))
    bias = draw(st.sampled_from([None, torch.ones(outputs, dtype=dtype)]))
    options = {"stride": draw(geometry(dims)), "dilation": draw(geometry(dims)), "groups": groups}
    padding = draw(st.one_of(st.integers(0, 2), st.sampled_from(["same", "valid"])))
    convolution, transposed = CONVOLUTIONS[dims - 1], TRANSPOSED[dims - 1]
    yield call(convolution, x, weight, bias, padding=padding, **options)
    weight = draw(tensors([inputs, outputs // groups, *kernel], dtype))
    padding, extra = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    yield call(transposed, x, weight, bias, padding=padding, output_padding=extra, **options)


# Pooling ------------------------------------------------------------------------------------------

POOLS = [
    (F.max_pool1d, F.avg_pool1d, F.adaptive_avg_pool1d, F.adaptive_max_pool1d),
    (F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d),
    (F.max_pool3d, F.avg_pool3d, F.adaptive_avg_pool3d, F.adaptive_max_pool3d),
]


def pooling(draw: st.DrawFn) -> Iterator[Call]:
    dims = draw(st.integers(1, 3))
    x = draw(images(draw(small), dims, draw(st.sampled_from(FLOATS))))
    kernel, stride = draw(geometry(dims, 3)), draw(st.one_of(st.none(), geometry(dims, 3)))
    padding, ceil = draw(st.integers(0, 1)), draw(flags)
    maximum, average, adaptive_average, adaptive_maximum = POOLS[dims - 1]
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil}
    for indices in (False, True):
        yield call(maximum, x, **options, dilation=draw(geometry(dims)), return_indices=indices)
    yield call(average, x, **options, count_include_pad=draw(flags))
    size = draw(geometry(dims, 4))
    yield call(adaptive_average, x, size)
    yield call(adaptive_maximum, x, size, return_indices=draw(flags))
    power = (F.lp_pool1d, F.lp_pool2d, F.lp_pool3d)[dims - 1]
    yield call(power, x, 2.0, kernel, ceil_mode=ceil)


# Norms --------------------------------------------------------------------------------------------


def norms(draw: st.DrawFn) -> Iterator[Call]:
    dims, groups = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 2))
    dtype = draw(st.sampled_from(FLOATS))
    x = draw(images(channels, dims, dtype)) if dims else draw(tensors((2, channels), dtype))
    other = draw(st.sampled_from([dtype, torch.float32]))  # of mixed dtypes too
    weight, bias, mean, variance = (torch.ones(channels, dtype=other) for _ in range(4))
    for training in (False, True):
        yield call(F.batch_norm, x, mean, variance, weight, bias, training)
        yield call(F.batch_norm, x, mean, variance, None, None, training)
    yield call(F.batch_norm, x, None, None, weight, bias, True)
    yield call(F.instance_norm, x, mean, variance, weight, bias, use_input_stats=draw(flags))
    yield call(F.instance_norm, x)
    yield call(F.group_norm, x, groups, weight, bias)
    yield call(F.group_norm, x, draw(small))
    last = list(x.shape[x.dim() - draw(st.integers(1, x.dim())) :])
    scale, shift = draw(tensors(last, other)), draw(tensors(last, other))
    yield call(F.layer_norm, x, last, scale, shift)
    yield call(F.layer_norm, x, last)
    yield call(F.rms_norm, x, last, scale)
    yield call(F.rms_norm, x, last)
    yield call(F.local_response_norm, x, 2)


# Attention ----------------------------------------------------------------------------------------


def attention(draw: st.DrawFn) -> Iterator[Call]:
    batch, queries, keys, width, values = (draw(small) for _ in range(5))
    key_heads, repeated = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    heads, dtype = key_heads * repeated, draw(st.sampled_from(FLOATS))
    grouped = draw(flags)
    query = draw(tensors((batch, heads, queries, width), dtype))
    shared = (batch, key_heads if grouped else heads, keys)
    key, value = draw(tensors((*shared, width), dtype)), draw(tensors((*shared, values), dtype))
    mask_shape = draw(
        st.sampled_from([(queries, keys), (batch, 1, queries, keys), (1, heads, 1, keys), (keys,)])
    )
    mask = draw(tensors(mask_shape, draw(st.sampled_from([dtype, torch.bool]))))
    attend = F.scaled_dot_product_attention
    yield call(attend, query, key, value, enable_gqa=grouped)
    yield call(attend, query, key, value, is_causal=True, enable_gqa=grouped, scale=0.5)
    yield call(attend, query, key, value, attn_mask=mask, enable_gqa=grouped)
    yield call(attend, query, key, value, attn_mask=mask, dropout_p=0.5, enable_gqa=grouped)
    yield call(attend, query, key, value, attn_mask=mask, is_causal=True, enable_gqa=grouped)
    yield call(attend, query[:, 0], key[:, 0], value[:, 0])
    yield call(attend, query[0, 0], key[0, 0], value[0, 0], is_causal=draw(flags))
    yield call(attend, query, query, query)


# Indices ------------------------------------------------------------------------------------------


@st.composite
def indices(draw: st.DrawFn, shape: Any, choices: int) -> Tensor:
    x = draw(tensors(tuple(shape), torch.int64))
    return x.remainder_(choices) if 0 not in x.stride() else x.remainder(choices)


def indexing(draw: st.DrawFn) -> Iterator[Call]:
    shape = draw(shapes(1, 3))
    x = draw(tensors(shape, draw(st.sampled_from(DTYPES))))
    dim = draw(st.integers(-x.dim(), x.dim() - 1))
    chosen = draw(indices((draw(small),), x.shape[dim]))
    yield call(torch.index_select, x, dim, chosen)
    like = [draw(st.integers(1, size)) for size in shape]
    where = draw(indices(like, x.shape[dim]))
    yield call(torch.gather, x, dim, where)
    source = draw(tensors(shape, x.dtype))
    yield call(torch.scatter, x, dim, where, source)
    yield call(torch.scatter, x, dim, where, 2)
    yield call(torch.scatter_add, x, dim, where, source)
    yield call(Tensor.scatter_, x, dim, where, source)
    yield call(torch.scatter_reduce, x, dim, where, source, "amax", include_self=draw(flags))
    yield call(torch.take, x, where)
    yield call(torch.take_along_dim, x, where, dim)
    first, second = draw(indices(draw(shapes(0, 2)), shape[0])), draw(indices((1,), shape[-1]))
    positive = x.real > 0 if x.is_complex() else x > 0
    for index in (
        (first,), (..., second), (None, first), (slice(1, None), ..., second),
        (first, ..., second), (positive,),
    ):  # fmt: skip
        yield "getitem", lambda x, index=index: x[index], (x,), {}
    yield call(torch.index_put, x, (first,), draw(tensors((), x.dtype)))
    yield call(torch.index_put, x, (first,), draw(tensors(shape[1:], x.dtype)), accumulate=True)
    part = list(shape)
    part[dim] = len(chosen)
    yield call(torch.index_add, x, dim, chosen, draw(tensors(part, x.dtype)))
    yield call(torch.index_copy, x, dim, chosen, draw(tensors(part, x.dtype)))
    yield call(torch.index_fill, x, dim, chosen, 2)
    k = draw(st.integers(0, 5))
    yield call(torch.topk, x, k, dim=dim, largest=draw(flags))
    yield call(torch.kthvalue, x, max(k, 1), dim=dim)
    yield call(torch.sort, x, dim=dim, stable=draw(flags))
    yield call(torch.select, x, dim, draw(st.integers(-4, 4)))
    yield call(torch.masked_scatter, x, torch.ones(shape, dtype=torch.bool), source)
    yield call(torch.searchsorted, torch.arange(4.0), x, right=draw(flags))


def embeddings(draw: st.DrawFn) -> Iterator[Call]:
    rows, width = draw(small), draw(small)
    weight = draw(tensors((rows, width), draw(st.sampled_from(FLOATS))))
    chosen = draw(indices(draw(shapes(0, 3)), rows))
    yield call(F.embedding, chosen, weight, padding_idx=draw(st.sampled_from([None, 0, -1])))
    bags = draw(indices((draw(small), draw(small)), rows))
    offsets = torch.tensor([0, 1])
    for mode in ("sum", "mean", "max"):
        yield call(F.embedding_bag, bags, weight, mode=mode)
        flat = bags.reshape(-1)
        yield call(F.embedding_bag, flat, weight, offsets, mode=mode, include_last_offset=True)
    yield call(F.one_hot, chosen, rows)


# Views and copies ---------------------------------------------------------------------------------


def views(draw: st.DrawFn) -> Iterator[Call]:
    shape = draw(shapes(1, 4))
    x = draw(tensors(shape, draw(st.sampled_from(DTYPES))))
    dim, other = (draw(st.integers(-x.dim(), x.dim() - 1)) for _ in range(2))
    order = draw(st.permutations(range(x.dim())))
    start, length = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    target = [*shape[:-1], -1] if draw(flags) else [-1]
    yield call(Tensor.view, x, target)
    yield call(Tensor.reshape, x, target)
    yield call(Tensor.reshape, x, (-1, draw(small)))
    yield call(Tensor.reshape, x, [shape[dim] for dim in order])
    yield call(torch.flatten, x, *sorted((dim % x.dim(), other % x.dim())))
    yield call(torch.unflatten, x, dim, (-1, draw(small)))
    yield call(torch.permute, x, order)
    yield call(torch.transpose, x, dim, other)
    yield call(torch.movedim, x, dim, other)
    yield call(torch.narrow, x, dim, start, length)
    yield "slice", lambda x: x[..., start : start + length : 2], (x,), {}
    yield call(Tensor.expand, x, (draw(small), *(-1 for _ in shape)))
    yield call(Tensor.expand, x, [draw(small), *shape[1:]])
    yield call(Tensor.unfold, x, dim, length, draw(small))
    yield call(torch.diagonal, x, draw(st.integers(-1, 1)), dim, other)
    yield call(torch.as_strided, x, (2, 2), (1, 1), draw(st.sampled_from([None, 0, 1])))
    yield call(torch.squeeze, x)
    yield call(torch.squeeze, x, (dim, other))
    yield call(torch.unsqueeze, x, dim)
    yield call(torch.split, x, max(length, 1), dim)
    yield call(torch.tensor_split, x, draw(small), dim)
    yield call(torch.chunk, x, draw(small), dim)
    yield call(torch.unbind, x, dim)
    yield call(torch.view_as_real, x)
    yield call(Tensor.view, x, torch.int16)
    yield call(Tensor.contiguous, x)
    yield call(Tensor.t, x)
    yield call(Tensor.swapaxes, x, dim, other)


def copies(draw: st.DrawFn) -> Iterator[Call]:
    shape = draw(shapes(1, 4, largest=3))
    dtype = draw(st.sampled_from(DTYPES))
    x, y = draw(tensors(shape, dtype)), draw(tensors(shape, draw(st.sampled_from(DTYPES))))
    dim = draw(st.integers(-x.dim(), x.dim() - 1))
    longer = list(shape)
    longer[dim] += 1
    yield call(torch.cat, [x, draw(tensors(longer, dtype)), y], dim)
    yield call(torch.cat, [x, torch.ones(0)], dim)
    yield call(torch.stack, [x, y], dim)
    yield call(torch.roll, x, draw(small), dim)
    yield call(torch.roll, x, draw(small))
    yield call(torch.rot90, x)
    yield call(torch.flip, x, [dim])
    yield call(Tensor.repeat, x, [draw(st.integers(0, 2)) for _ in range(x.dim() + 1)])
    yield call(torch.tile, x, (draw(small),))
    yield call(torch.repeat_interleave, x, draw(small), dim)
    yield call(torch.tril, x)
    yield call(torch.diag_embed, x)
    yield call(Tensor.to, x, draw(st.sampled_from(DTYPES)))
    yield call(Tensor.to, x, memory_format=torch.channels_last)
    yield call(Tensor.contiguous, x, memory_format=torch.channels_last)
    memory_format = draw(st.sampled_from([torch.contiguous_format, torch.preserve_format]))
    yield call(torch.clone, x, memory_format=memory_format)
    yield call(torch.hstack, [x, x])
    yield call(torch.meshgrid, [x, x], indexing="ij")
    yield call(torch.block_diag, x, y)
    yield call(torch.combinations, x)
    pad = [draw(st.integers(-1, 2)) for _ in range(2 * draw(st.integers(1, 3)))]
    for mode in ("constant", "reflect", "replicate", "circular"):
        yield call(F.pad, x, pad, mode)


# Vision -------------------------------------------------------------------------------------------

MODES = {
    1: ("nearest", "linear"),
    2: ("nearest", "bilinear", "bicubic", "area", "nearest-exact"),
    3: ("nearest", "trilinear"),
}


def vision(draw: st.DrawFn) -> Iterator[Call]:
    dims, channels = draw(st.integers(1, 3)), draw(small)
    x = draw(images(channels, dims))
    x = x if x.dim() == dims + 2 else x.unsqueeze(0)
    corners = draw(flags)
    size, scale = draw(geometry(dims, 8)), draw(st.sampled_from([0.5, 1.5, 2.0, (2.0,) * dims]))
    for mode in MODES[dims]:
        sharp = {"align_corners": corners} if "linear" in mode or mode == "bicubic" else {}
        yield call(F.interpolate, x, size=size, mode=mode, **sharp)
        yield call(F.interpolate, x, scale_factor=scale, mode=mode, **sharp)
    if dims > 1:
        grid = draw(tensors((x.shape[0], *(draw(small) for _ in range(dims)), dims)))
        for mode in ("bilinear", "nearest"):
            yield call(F.grid_sample, x, grid, mode=mode, align_corners=corners)
    if dims == 2:
        yield call(F.interpolate, x, size=size, mode="bilinear", antialias=True)
        theta = draw(tensors((x.shape[0], 2, 3)))
        yield call(F.affine_grid, theta, list(x.shape), align_corners=corners)
        yield call(F.unfold, x, draw(geometry(2, 3)), padding=draw(st.integers(0, 1)))
        folded = draw(tensors((2, channels * 4, draw(st.sampled_from([9, 4])))))
        yield call(F.fold, folded, (4, 4), 2)
        yield call(F.pixel_unshuffle, x[..., :2, :2], 2)
        yield call(F.pixel_shuffle, draw(tensors((2, channels * 4, 2, 3))), 2)
        yield call(F.channel_shuffle, x, draw(st.sampled_from([1, channels])))
    yield call(F.interpolate, x, size=0)


# Recurrent ----------------------------------------------------------------------------------------

LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
CELLS = (nn.RNNCell, nn.GRUCell, nn.LSTMCell)


def recurrent(draw: st.DrawFn) -> Iterator[Call]:
    inputs, hidden = draw(small), draw(st.integers(2, 4))
    x = draw(tensors([draw(small) for _ in range(draw(st.integers(1, 2)))] + [inputs]))
    wrong = draw(st.integers(0, 9)) == 9
    for name, layer in LAYERS.items():
        options: dict[str, Any] = {
            "num_layers": draw(st.integers(1, 2)),
            "bidirectional": draw(flags),
            "batch_first": draw(flags),
            "bias": draw(flags),
        }
        if name == "lstm":
            options["proj_size"] = draw(st.integers(0, 1))
        module = layer(inputs + wrong, hidden, **options).requires_grad_(False)
        yield name, module, (x,), {}
        yield name, module, (draw(tensors((draw(small), draw(small), inputs))),), {}
    rows = x.reshape(-1, inputs)
    for cell in CELLS:
        module = cell(inputs + wrong, hidden, bias=draw(flags)).requires_grad_(False)
        yield cell.__name__, module, (rows,), {}
        yield cell.__name__, module, (rows[0],), {}


# Factories ----------------------------------------------------------------------------------------


def factories(draw: st.DrawFn) -> Iterator[Call]:
    shape = list(draw(shapes(0, 4, smallest=0)))
    dtype = draw(st.sampled_from([None, *DTYPES]))
    for function in (torch.zeros, torch.ones, torch.empty, torch.rand, torch.randn):
        yield call(function, shape, dtype=dtype)
    yield call(torch.full, shape, draw(st.sampled_from([1, 1.5, True, 1j])), dtype=dtype)
    low, high = draw(st.integers(-3, 3)), draw(st.integers(-3, 6))
    step = draw(st.sampled_from([1, 2, -1, 0.5, 1.5]))
    yield call(torch.arange, low, high, step, dtype=dtype)
    yield call(torch.linspace, low, high, abs(high), dtype=dtype)
    yield call(torch.logspace, low, high, abs(high), dtype=dtype)
    yield call(torch.eye, abs(low), abs(high), dtype=dtype)
    yield call(torch.randint, low, high, shape)
    yield call(torch.randperm, high)
    yield call(torch.tril_indices, abs(low), abs(high))
    yield call(torch.empty_strided, (2, 3), (1, 2), dtype=dtype)
    x = draw(tensors(shape))
    for method in (torch.zeros_like, torch.empty_like, torch.rand_like):
        yield call(method, x, dtype=dtype)
    yield call(Tensor.new_zeros, x, shape[:2], dtype=dtype)
    yield call(Tensor.new_full, x, shape, 2)
    yield call(torch.full_like, x, 2, dtype=dtype)
    yield call(torch.scalar_tensor, 2.5, dtype=dtype)


# Losses -------------------------------------------------------------------------------------------


ELEMENTWISE_LOSSES = (
    F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.soft_margin_loss, F.kl_div,
)  # fmt: skip


def losses(draw: st.DrawFn) -> Iterator[Call]:
    dtype = draw(st.sampled_from(FLOATS))
    x, y = draw(broadcast(2, [dtype]))
    reduction = {"reduction": draw(st.sampled_from(["none", "mean", "sum"]))}
    for loss in ELEMENTWISE_LOSSES:
        yield call(loss, x, y, **reduction)
    same = draw(tensors(tuple(x.shape), dtype))
    yield call(F.binary_cross_entropy, x, same, **reduction)
    yield call(F.binary_cross_entropy_with_logits, x, same, **reduction)
    yield call(F.poisson_nll_loss, x, y, **reduction)
    yield call(F.hinge_embedding_loss, x, same, **reduction)
    batch, classes = [draw(small) for _ in range(draw(st.integers(0, 1)))], draw(small)
    sizes = draw(shapes(0, 2)) if batch else ()
    logits = draw(tensors((*batch, classes, *sizes), dtype))
    target = draw(indices((*batch, *sizes), classes))
    weight = draw(st.sampled_from([None, torch.ones(classes, dtype=dtype)]))
    smooth = draw(st.sampled_from([0.0, 0.1]))
    yield call(F.cross_entropy, logits, target, weight, label_smoothing=smooth, **reduction)
    yield call(F.cross_entropy, logits, torch.ones_like(logits), weight, **reduction)
    yield call(F.nll_loss, logits, target, weight, **reduction)
    if not sizes:
        yield call(F.multi_margin_loss, logits, target, weight=weight, **reduction)
        some = torch.zeros(logits.shape, dtype=torch.int64)
        yield call(F.multilabel_margin_loss, logits, some, **reduction)
    rows = draw(tensors((draw(small), 3), dtype)), draw(tensors((1, 3), dtype))
    yield call(F.cosine_similarity, *rows)
    yield call(F.cosine_embedding_loss, *rows, torch.ones(rows[0].shape[0]), **reduction)
    yield call(F.triplet_margin_loss, *rows, rows[0], **reduction)
    yield call(F.margin_ranking_loss, x, y, draw(tensors((), dtype)), **reduction)
    yield call(F.pairwise_distance, *rows)


# The tests ----------------------------------------------------------------------------------------

#: Examples of an everyday run; a long one takes ten times as many.
GROUPS: dict[str, tuple[Any, int]] = {
    "unary": (unary, 12),
    "binary": (binary, 12),
    "ternary": (ternary, 20),
    "reductions": (reductions, 10),
    "along": (along, 12),
    "products": (products, 15),
    "einsums": (einsums, 6),
    "convolutions": (convolutions, 40),
    "pooling": (pooling, 20),
    "norms": (norms, 15),
    "attention": (attention, 15),
    "indexing": (indexing, 15),
    "embeddings": (embeddings, 15),
    "views": (views, 20),
    "copies": (copies, 15),
    "vision": (vision, 15),
    "recurrent": (recurrent, 8),
    "factories": (factories, 20),
    "losses": (losses, 12),
}


def _empty(dtype: torch.dtype = torch.float32, *, size: int = 0) -> Tensor:
    return torch.ones(size, dtype=dtype)


HALF = torch.ones(2, 3, dtype=torch.bfloat16)
DOUBLES = torch.ones(1, 6, 4, 2, dtype=torch.float64).permute(0, 3, 1, 2)
FILTERS = torch.ones(2, 2, 1, 3, dtype=torch.float64)
COMPLEX = torch.ones((), dtype=torch.complex64)
ONE = COMPLEX.view(1)
NO_ELEMENTS = r"\[(\d+, )*0[,\]]"

#: What may differ: a pattern of the mismatch, the reason, and a call that shows it.
REVIEWED: list[tuple[str, str, Call]] = [
    (
        r"\[accepts\].*not implemented for '(BFloat16|Half)'",
        "CPU kernels lack dtypes that CUDA's have",
        call(torch.cdist, HALF, HALF),
    ),
    (
        r"\[accepts\] (max|avg|lp)_pool3d.*Unsupported memory format",
        "the CPU kernel alone takes two memory formats only",
        call(
            F.max_pool3d, torch.ones(3, 4, 2, 4).bfloat16().permute(0, 3, 1, 2), 2, ceil_mode=True
        ),
    ),
    (
        rf"\[accepts\].*{NO_ELEMENTS}.*not implemented for",
        "a dtype that only matters where there are elements",
        call(torch.gcd, torch.tensor(True), _empty()),
    ),
    (
        r"\[accepts\] ldexp\(.*not implemented for 'Bool'",
        "a boolean exponent",
        call(torch.ldexp, torch.ones(2), torch.ones(2).bool()),
    ),
    (
        r"\[accepts\] clamp\(.*not implemented for 'Complex",
        "only what is clamped is checked, not the bounds",
        call(torch.clamp, torch.tensor(1.0), COMPLEX, COMPLEX),
    ),
    (
        r"\[accepts\] scatter_reduce\(complex",
        "an order of complex numbers",
        call(Tensor.scatter_reduce, ONE, 0, torch.zeros(1).long(), ONE, "amax"),
    ),
    (
        r"\[accepts\] logsumexp\(.*dim=\[\].*doesn't match the broadcast shape",
        "PyTorch stumbles over its own shape",
        call(torch.logsumexp, _empty(size=1), dim=(), keepdim=False),
    ),
    (
        rf"\[accepts\] bilinear\(.*{NO_ELEMENTS}.*cannot reshape tensor of 0 elements",
        "PyTorch stumbles over its own shape",
        call(F.bilinear, torch.ones(1, 0), torch.ones(1, 1), torch.ones(1, 0, 1), torch.ones(1)),
    ),
    (
        r"\[raises\] (mode|cummax|cummin)\(complex64\[\]",
        "one complex number has an order to PyTorch, two have none",
        call(torch.cummax, COMPLEX, 0),
    ),
    (
        rf"\[raises\] (cummax|cummin)\(.*{NO_ELEMENTS}.*Dimension out of range",
        "PyTorch looks at no dimension where there are no elements",
        call(torch.cummax, torch.ones(0, 1), 3),
    ),
    (
        rf"\[raises\] randn\({NO_ELEMENTS}.*not implemented for",
        "PyTorch draws no integers, but no integers it draws",
        call(torch.randn, [0], dtype=torch.int64),
    ),
    (
        r"\[strides\] conv\w*(3d\(|\((float64|bfloat16))",
        "layouts are cuDNN's: channels last of volumes and bfloat16, not of float64",
        call(F.conv2d, DOUBLES, FILTERS, padding=1, dilation=2),
    ),
    # Bugs.
    (
        r"\[shape\] multilabel_margin_loss\(\w+\[\d+\].*'none'",
        "BUG: of one sample the loss is a number",
        call(F.multilabel_margin_loss, torch.ones(3), torch.zeros(3).long(), reduction="none"),
    ),
]


def mismatches(one: Call) -> list[str]:
    name, function, args, kwargs = one
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return [str(mismatch) for mismatch in compare(name, function, (args, kwargs))]


def is_reviewed(mismatch: str) -> bool:
    return any(re.match(pattern, mismatch, re.DOTALL) for pattern, _, _ in REVIEWED)


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize("group", GROUPS)
def test_generated_calls(group: str, times: int) -> None:
    calls, examples = GROUPS[group]

    @given(st.data())
    @settings(max_examples=times * examples, database=None, suppress_health_check=list(HealthCheck))
    def check(data: st.DataObject) -> None:
        for one in calls(data.draw):
            found = [mismatch for mismatch in mismatches(one) if not is_reviewed(mismatch)]
            assert not found, found[0]

    check()


@pytest.mark.parametrize(
    "one",
    [
        call(torch.ldexp, HALF, torch.ones(2, 3).long()),
        call(F.conv_transpose1d, torch.ones(2, 1, 2), torch.ones(1, 2, 1), padding=1),
    ],
    ids=lambda one: one[0],
)
def test_what_was_once_wrong(one: Call) -> None:
    assert not mismatches(one)


@pytest.mark.parametrize(("pattern", "reason", "example"), REVIEWED, ids=range(len(REVIEWED)))
def test_what_was_reviewed_still_differs(pattern: str, reason: str, example: Call) -> None:
    assert reason
    found = mismatches(example)
    assert any(re.match(pattern, mismatch, re.DOTALL) for mismatch in found), found
