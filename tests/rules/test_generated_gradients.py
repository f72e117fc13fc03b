"""MACs of generated gradients equal the multiplications of loops that compute them.

The loops work on numbers, and what they compute is held against PyTorch's gradients first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor

from tests.rules.costs import cost_of, macs
from tests.rules.geometries import few, flags, geometries, small

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

aten = torch.ops.aten
Array = Any  # of numpy


class Products:
    """Counts the multiplications."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, a: float, b: float) -> float:
        self.count += 1
        return a * b


def numbers(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().double().numpy()


def close(ours: Array, theirs: Tensor) -> bool:
    return bool(np.allclose(ours, numbers(theirs), atol=1e-4))


def on_meta(*tensors: Tensor) -> list[Tensor]:
    return [tensor.detach().to("meta") for tensor in tensors]


# Convolutions -------------------------------------------------------------------------------------


class Gradients:
    """Of a convolution, window by window; a transposed one is a convolution with the roles of
    input and output exchanged."""

    def __init__(self, case: dict[str, Any], small_side: Tensor, large_side: Tensor) -> None:
        self.case = case
        self.small = numbers(small_side)  # what has an element for each window
        padding = [(0, 0), (0, 0), *((pad, pad + 3) for pad in case["padding"])]
        self.large = np.pad(numbers(large_side), padding)
        self.sizes = large_side.shape[2:]

    def uncut(self, padded: Array) -> Array:
        cut = [
            slice(pad, pad + size)
            for pad, size in zip(self.case["padding"], self.sizes, strict=True)
        ]
        return padded[(slice(None), slice(None), *cut)]

    def terms(self, weight: Array) -> Any:
        """Each pair of a window and a place in it: indices to the small side, the weight, the
        large side."""
        filters, of_group, *kernel = weight.shape
        groups = self.case["groups"]
        for image, out, *window in np.ndindex(*self.small.shape):
            group = out // (filters // groups)
            for channel, *tap in np.ndindex(of_group, *kernel):
                at = [
                    w * step + t * spread
                    for w, t, step, spread in zip(
                        window, tap, self.case["stride"], self.case["dilation"], strict=True
                    )
                ]
                yield (
                    (image, out, *window),
                    (out, channel, *tap),
                    (image, group * of_group + channel, *at),
                )


def of_convolution(case: dict[str, Any], grad: Tensor, x: Tensor, weight: Tensor) -> list[Products]:
    given = numbers(weight)
    gradients = Gradients(case, grad, x)
    of_input, of_weight = Products(), Products()
    grad_x, grad_weight = np.zeros_like(gradients.large), np.zeros_like(given)
    for out, place, at in gradients.terms(given):
        grad_x[at] += of_input(given[place], gradients.small[out])
        grad_weight[place] += of_weight(gradients.large[at], gradients.small[out])
    options = [case["stride"], case["padding"], case["dilation"], False, [0] * len(case["sizes"])]
    real = aten.convolution_backward(grad, x, weight, None, *options, case["groups"], [1, 1, 0])
    assert close(gradients.uncut(grad_x), real[0])
    assert close(grad_weight, real[1])
    return [of_input, of_weight]


def of_transposed(case: dict[str, Any], grad: Tensor, x: Tensor, weight: Tensor) -> list[Products]:
    given = numbers(weight)
    gradients = Gradients(case, x, grad)
    of_input, of_weight = Products(), Products()
    grad_x, grad_weight = np.zeros(x.shape), np.zeros_like(given)
    for out, place, at in gradients.terms(given):
        grad_x[out] += of_input(given[place], gradients.large[at])
        grad_weight[place] += of_weight(gradients.small[out], gradients.large[at])
    options = [case["stride"], case["padding"], case["dilation"], True, [0] * len(case["sizes"])]
    real = aten.convolution_backward(grad, x, weight, None, *options, case["groups"], [1, 1, 0])
    assert close(grad_x, real[0])
    assert close(grad_weight, real[1])
    return [of_input, of_weight]


@given(geometries(), flags, flags, flags, flags)
@few
def test_convolutions(
    case: dict[str, Any], transposed: bool, of_x: bool, of_weight: bool, of_bias: bool
) -> None:
    inputs, outputs, groups = case["inputs"], case["outputs"], case["groups"]
    shape = (inputs, outputs // groups) if transposed else (outputs, inputs // groups)
    x = torch.randn(case["batch"], inputs, *case["sizes"])
    weight = torch.randn(*shape, *case["kernel"])
    sides = case["stride"], case["padding"], case["dilation"], transposed, [0] * len(case["sizes"])
    out = aten.convolution(x, weight, None, *sides, groups)
    grad = torch.randn(out.shape)
    loops = of_transposed if transposed else of_convolution
    counted = loops(case, grad, x, weight)
    mask = [of_x, of_weight, of_bias]
    tensors = on_meta(grad, x, weight)
    cost = cost_of(aten.convolution_backward, *tensors, [outputs], *sides, groups, mask)
    assert cost.macs == sum(loop.count for loop, asked in zip(counted, mask, strict=False) if asked)
    assert cost.kinds == ({"add": grad.numel()} if of_bias else {})
    forward = macs(aten.convolution, *tensors[1:], None, *sides, groups)
    assert [loop.count for loop in counted] == [forward, forward]
    read = [grad] * any(mask) + [weight] * of_x + [x] * of_weight
    assert cost.bytes_read == 4 * sum(tensor.numel() for tensor in read)


# Attention ----------------------------------------------------------------------------------------


def of_attention(
    tensors: list[Tensor], grad: Tensor, scale: float, last_seen: Callable[[int], int]
) -> list[int]:
    """Products in all, and those that the mask leaves to do."""
    query, key, value = (numbers(tensor) for tensor in tensors)
    d_out = numbers(grad)
    every, needed = Products(), 0
    found = [np.zeros_like(array) for array in (query, key, value)]
    group = query.shape[1] // key.shape[1]
    for image, head in np.ndindex(*query.shape[:2]):
        q, k, v = query[image, head], key[image, head // group], value[image, head // group]
        dq, dk, dv = (
            found[0][image, head],
            found[1][image, head // group],
            found[2][image][head // group],
        )
        for i, row in enumerate(q):
            before = every.count
            seen = [j for j in range(len(k)) if j <= last_seen(i)]
            if not seen:
                every.count += 5 * len(row) * len(k)
                continue
            skipped = len(k) - len(seen)
            scores = np.array([sum(map(every, row, k[j])) * scale for j in seen])
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            d_weights = np.array([sum(map(every, d_out[image, head, i], v[j])) for j in seen])
            d_scores = weights * (d_weights - (weights * d_weights).sum()) * scale
            for j, weight, d_score in zip(seen, weights, d_scores, strict=True):
                dv[j] += [every(weight, g) for g in d_out[image, head, i]]
                dq[i] += [every(d_score, element) for element in k[j]]
                dk[j] += [every(d_score, element) for element in row]
            of_row = every.count - before
            needed += of_row
            every.count += of_row // len(seen) * skipped  # all rows are counted whole
    for array, tensor in zip(found, tensors, strict=True):
        assert tensor.grad is not None
        assert close(array, tensor.grad)
    return [every.count, needed]


@given(st.data())
@few
def test_attention(data: st.DataObject) -> None:
    batch, shared, repeated, queries, keys, width = (data.draw(small) for _ in range(6))
    causal, from_end = data.draw(flags), data.draw(flags)
    heads = shared * repeated
    shapes = (batch, heads, queries, width), *[(batch, shared, keys, width)] * 2
    tensors = [torch.randn(shape, requires_grad=True) for shape in shapes]
    shift = keys - queries if from_end else 0
    options: Any = {"is_causal": causal, "enable_gqa": True}
    if causal and from_end:  # which SDPA's own flag does not mean
        mask = torch.ones(queries, keys, dtype=torch.bool).tril(shift)
        options = {"attn_mask": mask, "enable_gqa": True}
    with torch.enable_grad():
        out = F.scaled_dot_product_attention(tensors[0], tensors[1], tensors[2], **options)
    grad = torch.randn(out.shape)
    torch.autograd.backward(out, grad)
    every, needed = of_attention(
        tensors, grad, width**-0.5, lambda i: i + shift if causal else keys
    )
    given = on_meta(grad, *tensors, out, torch.empty(batch, heads, queries))
    cpu = aten._scaled_dot_product_flash_attention_for_cpu_backward
    seeds = on_meta(torch.empty(2), torch.empty(0))
    flash = (*given, None, None, queries, keys, 0.0, causal, *seeds)
    efficient = (*given[:4], None, *given[4:], *seeds, 0.0, [True] * 3 + [False], causal)
    cudnn = (*given, *seeds, None, None, None, queries, keys, 0.0, causal)
    for function, arguments in (
        (cpu, (*given, 0.0, causal)),
        (aten._scaled_dot_product_flash_attention_backward, flash),
        (aten._scaled_dot_product_efficient_attention_backward, efficient),
        (aten._scaled_dot_product_cudnn_attention_backward, cudnn),
    ):
        cost = cost_of(function, *arguments)
        assert cost.macs == every
        # Flash attention's own kernel aligns the mask to the last query and key, not to the first
        # ones (https://github.com/pytorch/pytorch/pull/111007): SDPA does not pick it there.
        meant = from_end == (function is aten._scaled_dot_product_flash_attention_backward)
        if meant or not causal or queries == keys:
            assert cost.flops_skipped == 2 * (every - needed)
    assert 2 * every == 5 * macs(
        F.scaled_dot_product_attention, *on_meta(*tensors), enable_gqa=True
    )
