"""Calls of what moves elements: indices, views, copies, resampling; and of what makes tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis.strategies as st
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.rules.calls import DTYPES, FLOATS, Call, call, flags, geometry, images, indices, small
from tests.rules.layouts import shapes, tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

# Indices ------------------------------------------------------------------------------------------


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
