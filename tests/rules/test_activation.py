"""Activation functions and their derivatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

aten = torch.ops.aten
ACTIVATIONS = (
    F.relu, F.relu6, F.gelu, F.silu, F.mish, F.elu, F.selu, F.celu, F.leaky_relu, F.rrelu,
    F.hardtanh, F.hardsigmoid, F.hardswish, F.softplus, F.softshrink, F.hardshrink, F.glu,
    F.logsigmoid, F.tanhshrink, F.softsign, torch.sigmoid, torch.tanh,
)  # fmt: skip
IN_PLACE = (F.relu, F.relu6, F.silu, F.mish, F.elu, F.celu, F.leaky_relu, F.rrelu, F.hardtanh,
            F.hardsigmoid, F.hardswish)  # fmt: skip
#: Every derivative that takes the gradient, a tensor and these.
DERIVATIVES: list[tuple[Any, tuple[Any, ...]]] = [
    (aten.threshold_backward, (0,)),
    (aten.hardtanh_backward, (-1, 1)),
    (aten.leaky_relu_backward, (0.1, False)),
    (aten.hardshrink_backward, (0.5,)),
    (aten.softshrink_backward, (0.5,)),
    (aten.hardsigmoid_backward, ()),
    (aten.hardswish_backward, ()),
    (aten.sigmoid_backward, ()),
    (aten.silu_backward, ()),
    (aten.tanh_backward, ()),
    (aten.gelu_backward, ()),
    (aten.softplus_backward, (1, 20)),
    (aten.mish_backward, ()),
    (aten.logit_backward, ()),
]


def inputs() -> list[torch.Tensor]:
    image = torch.randn(2, 4, 3, 2)
    return [
        image,
        image.to(memory_format=torch.channels_last),
        image[0].transpose(0, 2),
        image.to(torch.bfloat16),
        torch.ones(2, 4, dtype=torch.int64),
    ]


@pytest.mark.parametrize("function", ACTIVATIONS, ids=lambda f: f.__name__)
def test_outputs(function: Callable[..., Any]) -> None:
    for x in inputs():
        # The CPU's kernel of this one makes it contiguous, CUDA's does not.
        if function is F.logsigmoid and not x.is_contiguous():
            continue
        assert not compare(function.__name__, function, ((x,), {}))


@pytest.mark.parametrize("function", IN_PLACE, ids=lambda f: f.__name__)
def test_in_place(function: Callable[..., Any]) -> None:
    assert not compare(function.__name__, function, ((torch.randn(2, 3),), {"inplace": True}))


def test_arguments() -> None:
    x = torch.randn(2, 4, 3, 2)
    for dim in (0, 1, -1, 2, 7):  # the size of the third one is odd
        assert not compare("glu", F.glu, ((x, dim), {}))
    for weight in (torch.ones(1), torch.ones(4), torch.ones(3), torch.ones(4).double()):
        assert not compare("prelu", F.prelu, ((x, weight), {}))
    assert not compare("prelu", F.prelu, ((x, torch.ones(2, 2)), {}))
    assert not compare("gelu", F.gelu, ((x,), {"approximate": "tanh"}))
    assert not compare("gelu", F.gelu, ((x,), {"approximate": "sine"}))
    assert not compare("softshrink", F.softshrink, ((x, -1.0), {}))
    assert not compare("celu", F.celu, ((x, 0.0), {}))
    assert not compare("rrelu", F.rrelu, ((x, 0.1, 0.3, True), {}))
    assert not compare("rrelu", F.rrelu, ((x, 0.3, 0.1), {}))
    assert not compare("relu", F.relu, ((x > 0,), {}))


def test_derivatives() -> None:
    for x in inputs()[:4]:
        for function, arguments in DERIVATIVES:
            assert not compare(str(function), function, ((x, x, *arguments), {}))
        assert not compare("elu", aten.elu_backward, ((x, 1.0, 1.0, 1.0, False, x), {}))
    x = inputs()[0]
    assert not compare("glu", aten.glu_backward, ((x[:, :2], x, 1), {}))
    weight = torch.ones(4, 1, 1)
    assert not compare("prelu", aten._prelu_kernel_backward, ((x, x, weight), {}))


# Of an element each, written out in the rules' own comments and here counted from the definition.
SIGMOID = {"add": 1, "division": 1, "exp": 1}  # 1 / (1 + exp(-x))
COSTS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, int]]] = [
    (F.relu, (), {"compare": 1}),
    (F.relu6, (), {"compare": 2}),
    (F.leaky_relu, (), {"compare": 1, "multiply": 1}),
    (torch.sigmoid, (), SIGMOID),
    (F.silu, (), {**SIGMOID, "multiply": 1}),
    (torch.tanh, (), {"tanh": 1}),
    (F.gelu, (), {"multiply": 3, "add": 1, "erf": 1}),
    (lambda x: F.gelu(x, approximate="tanh"), (), {"multiply": 6, "add": 2, "tanh": 1}),
    (F.hardswish, (), {"add": 1, "compare": 2, "multiply": 1, "division": 1}),
    (F.softplus, (), {"multiply": 1, "exp": 2, "division": 1, "compare": 1}),
    (F.mish, (), {"exp": 2, "tanh": 1, "multiply": 1}),
    (F.logsigmoid, (), {"compare": 1, "exp": 2, "add": 1}),
    (F.elu, (), {"compare": 1, "exp": 1, "multiply": 2}),
    (F.prelu, (meta(4),), {"compare": 1, "multiply": 1}),
    (lambda x: aten.silu_backward(x, x), (), {"add": 3, "multiply": 3, "division": 1, "exp": 1}),
    (lambda x: aten.threshold_backward(x, x, 0), (), {"compare": 1}),
]


@pytest.mark.parametrize(("function", "args", "kinds"), COSTS)
def test_flops(function: Callable[..., Any], args: tuple[Any, ...], kinds: dict[str, int]) -> None:
    expected = {kind: 24 * count for kind, count in kinds.items()}
    assert cost_of(function, meta(2, 4, 3), *args).kinds == expected


def test_halves_of_glu() -> None:
    cost = cost_of(F.glu, meta(2, 6))  # 6 outputs
    assert cost.kinds == {"add": 6, "division": 6, "exp": 6, "multiply": 6}
    assert (cost.bytes_read, cost.bytes_written) == (48, 24)
    backward = cost_of(aten.glu_backward, meta(2, 3), meta(2, 6), 1)
    assert backward.kinds == {"add": 12, "multiply": 24, "division": 6, "exp": 6}
    assert (backward.bytes_read, backward.bytes_written) == (24 + 48, 48)


def test_slopes_drawn_at_random() -> None:
    x = meta(2, 3)
    in_use = cost_of(F.rrelu, x)
    assert in_use.kinds == {"compare": 6, "multiply": 6}
    assert in_use.bytes_written == 24
    training = cost_of(F.rrelu, x, training=True)
    assert training.kinds == {"compare": 6, "multiply": 12, "add": 6}
    assert training.bytes_written == 24 + 24  # and the slopes
