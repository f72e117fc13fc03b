"""The gradients of convolutions: outputs as PyTorch's. Their costs: test_generated_gradients.py."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

import nnprof
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare
from tests.rules.memory_formats import dimensions, either, layouts

backward = torch.ops.aten.convolution_backward


def call(x: Tensor, weight: Tensor, grad: Tensor | None = None, **options: Any) -> tuple[Any, ...]:
    dims = x.dim() - 2
    options = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, "transposed": False} | options
    sides = [[options[name]] * dims for name in ("stride", "padding", "dilation")]
    rest = [*sides, options["transposed"], [0] * dims, options["groups"]]
    if grad is None:
        grad = torch.randn(torch.convolution(x, weight, None, *rest).shape)
    return (grad, x, weight, [grad.shape[1]], *rest, options.get("mask", [True] * 3))


@dimensions
@either
def test_options_and_layouts(dims: int, transposed: bool) -> None:
    images = layouts(torch.randn(2, 4, *(7, 6, 5)[:dims]))
    for groups, kernel in ((1, 3), (2, 2), (4, 1)):
        shape = (4, 8 // groups) if transposed else (8, 4 // groups)
        weights = layouts(torch.randn(*shape, *[kernel] * dims))
        for x, weight in itertools.product(images, weights):
            for stride, dilation in ((2, 1), (1, 2)):
                options: Any = {"stride": stride, "dilation": dilation, "groups": groups}
                arguments = call(x, weight, transposed=transposed, **options)
                assert not compare("backward", backward, (arguments, {}))
                for grad in layouts(arguments[0])[1:]:
                    assert not compare("backward", backward, ((grad, *arguments[1:]), {}))


def test_one_dimension_runs_as_two() -> None:
    x, weight = torch.randn(2, 7, 4).transpose(1, 2), torch.randn(6, 3, 4).transpose(1, 2)
    for a, b in itertools.product((x, x.contiguous()), (weight, weight.contiguous())):
        assert not compare("backward", backward, (call(a, b), {}))


def test_only_what_the_mask_asks_for_is_made() -> None:
    x, weight = torch.randn(2, 4, 5, 5), torch.randn(6, 4, 3, 3)
    for mask in itertools.product([False, True], repeat=3):
        if mask[2] and not mask[1]:
            continue  # oneDNN returns the weight's too, which it makes in one go with the bias'
        assert not compare("backward", backward, (call(x, weight, mask=list(mask)), {}))


X, WEIGHT = torch.randn(2, 4, 5, 5), torch.randn(6, 4, 3, 3)
GRAD = torch.randn(2, 6, 5, 5)


@pytest.mark.parametrize(
    "arguments",
    [
        call(X, WEIGHT, GRAD[..., :4]),
        call(X, WEIGHT, GRAD[:, :5]),
        call(X, WEIGHT, GRAD[0]),
        call(X, WEIGHT[:, :3], GRAD),
        call(X, WEIGHT, GRAD.double()),
        call(X.long(), WEIGHT.long(), GRAD.long()),
        call(X[:0], WEIGHT, GRAD[:0]),  # no images are fine
        (*call(X, WEIGHT)[:8], [1, 1], 1, [True] * 3),  # output padding
        call(X.bfloat16(), WEIGHT.bfloat16(), GRAD.bfloat16()),
    ],
)
def test_raises_where_pytorch_does(arguments: tuple[Any, ...]) -> None:
    assert not compare("backward", backward, (arguments, {}))


def test_a_wrong_gradient_is_named() -> None:
    arguments = call(meta(2, 4, 5, 5), meta(6, 4, 3, 3), meta(2, 6, 5, 4))
    with pytest.raises(nnprof.NnprofError, match=r"grad_output of size \[2, 6, 5, 5\]"):
        cost_of(backward, *arguments)


def test_complex_gradients_have_complex_products() -> None:
    x, weight = (t.to(torch.complex64) for t in (meta(1, 2, 4), meta(3, 2, 2)))
    grad = meta(1, 3, 3, dtype=torch.complex64)
    with torch.no_grad(), nnprof.trace() as trace:
        backward(*call(x, weight, grad, padding=0))
    profile = trace.profile()
    assert profile.flops_by_kind["contraction"] == 8 * profile.macs
