"""Calls of what computes: elementwise functions, reductions, contractions, norms, losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.rules.calls import DTYPES, FLOATS, Call, call, flags, geometry, images, indices, small
from tests.rules.layouts import shapes, tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    # An output without elements is made by one backend of the CPU, and refused by another.
    padding = draw(st.integers(0, int(min(x.shape[-dims:]) > 2)))
    extra = draw(st.integers(0, 1))
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
    for returned in (False, True):
        yield call(maximum, x, **options, dilation=draw(geometry(dims)), return_indices=returned)
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
