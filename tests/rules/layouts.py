"""Tensors as programs hand them over: permuted, sliced out of larger ones, expanded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import torch
from torch import Tensor

from tests.helpers.trees import mapped
from tests.rules.differential import strided

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tests.rules.differential import Arguments

__all__ = ["arguments_laid_out", "laid_out", "shapes", "tensors", "transposed_ones"]

KINDS = ("permuted", "sliced", "offset", "expanded", "plain")


def shapes(
    low: int = 0, high: int = 4, smallest: int = 1, largest: int = 4
) -> st.SearchStrategy[tuple[int, ...]]:
    """Sizes of ``low`` to ``high`` dimensions."""
    sizes = st.integers(smallest, largest)
    return st.lists(sizes, min_size=low, max_size=high).map(tuple)


def transposed_ones(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Ones of ``shape`` with its first two dimensions swapped, where it has them."""
    x = torch.ones(tuple(shape), dtype=dtype)
    return x.transpose(0, 1) if x.dim() > 1 else x


def zeros_like(tensor: Tensor, size: Sequence[int]) -> Tensor:
    if not tensor.is_quantized:
        return torch.zeros(size, dtype=tensor.dtype)
    scale = tensor.q_scale(), tensor.q_zero_point()
    return torch.quantize_per_tensor(torch.zeros(size), *scale, tensor.dtype)


def laid_out(draw: random.Random, tensor: Tensor, kinds: Sequence[str] = KINDS) -> Tensor:
    """A tensor of the same shape, and of the same values unless it is expanded."""
    if tensor.dim() == 0:
        return tensor
    kind = draw.choice(kinds)
    dims = range(tensor.dim())
    if kind == "permuted":
        order = draw.sample(dims, len(dims))
        stored = tensor.permute(order).contiguous()
        return stored.permute([order.index(dim) for dim in dims])
    dim = draw.choice(dims)
    if kind == "sliced":  # every other element of a dimension, or its middle
        step = draw.choice([2, 1])
        size = list(tensor.shape)
        size[dim] = step * size[dim] + 1
        part = zeros_like(tensor, size).narrow(dim, 1, size[dim] - 1)
        part = part[(slice(None),) * dim + (slice(None, None, step),)]
        return part.copy_(tensor)
    if kind == "offset":
        start = draw.randint(1, 3)
        storage = zeros_like(tensor, [start + tensor.numel()])
        return storage[start:].view(tensor.shape).copy_(tensor)
    if kind == "expanded" and tensor.shape[dim] > 0:
        return tensor.narrow(dim, 0, 1).contiguous().expand(tensor.shape)
    return tensor.clone(memory_format=torch.contiguous_format)


@st.composite
def tensors(draw: st.DrawFn, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of this shape in any layout, with values in [0, 1), or integers from 0 on."""
    count = math.prod(shape)
    if dtype.is_floating_point or dtype.is_complex:
        values = (torch.arange(count, dtype=torch.float64) / max(count, 1)).to(dtype)
    else:
        values = torch.arange(count).remainder(7).to(dtype)
    return laid_out(draw(st.randoms(use_true_random=False)), values.view(tuple(shape)))


def arguments_laid_out(draw: random.Random, operator: Any, arguments: Arguments) -> Arguments:
    """The arguments of an operator with each tensor laid out otherwise.

    What is written to is never expanded: some of PyTorch's kernels then write past its storage.
    """

    def other(value: Any, kinds: Sequence[str]) -> Any:
        if not strided(value) or value.is_conj() or value.is_neg():
            return value
        if value.is_quantized and value.qscheme() != torch.per_tensor_affine:
            return value  # its scales go with a dimension
        return laid_out(draw, value, kinds)

    def others(tree: Any, number: int) -> Any:
        alias = operator._schema.arguments[number].alias_info
        written = alias is not None and alias.is_write
        kinds = [kind for kind in KINDS if not (written and kind == "expanded")]
        return mapped(lambda leaf: other(leaf, kinds), tree)

    args, kwargs = arguments
    names = [argument.name for argument in operator._schema.arguments]
    return (
        tuple(others(value, number) for number, value in enumerate(args)),
        {name: others(value, names.index(name)) for name, value in kwargs.items()},
    )
