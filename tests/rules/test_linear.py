"""matmul, linear and bilinear: outputs as PyTorch's, costs with the copies that folding makes."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import nnprof
from tests.helpers import oracles
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

SHAPES = [(4,), (3, 4), (2, 3, 4), (1, 3, 4), (5, 2, 3, 4), (2, 1, 3, 4), (2, 0, 4), ()]


@pytest.mark.parametrize(("a", "b"), list(itertools.product(SHAPES, SHAPES)))
def test_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = torch.randn(a), torch.randn(b)
    assert not compare("matmul", torch.matmul, ((x, y.mT if y.dim() > 1 else y), {}))
    assert not compare("matmul", torch.matmul, ((x, y), {}))  # depths differ
    if x.dim() > 1 and y.dim() > 1:
        swapped = x.transpose(0, 1).contiguous().transpose(0, 1)
        assert not compare("matmul", torch.matmul, ((swapped, y.mT), {}))


def test_matmul_of_other_dtypes() -> None:
    a, b = torch.randn(2, 3, 4), torch.randn(4, 5)
    assert not compare("matmul", torch.matmul, ((a, b.double()), {}))
    assert not compare("matmul", torch.matmul, ((a.bfloat16(), b.bfloat16()), {}))


X = torch.randn(2, 3, 4)


@pytest.mark.parametrize("x", [X, X[0], X[0, 0], X.transpose(0, 1), X[:, :0], X[:, :, :3]])
@pytest.mark.parametrize("outputs", [5, 1])
def test_linear(x: Tensor, outputs: int) -> None:
    weight = torch.randn(outputs, 4)
    for bias in (None, torch.randn(outputs), torch.randn(1, outputs), torch.randn(())):
        assert not compare("linear", F.linear, ((x, weight, bias), {}))
    for bias in (torch.randn(3), torch.randn(2, 3, outputs), torch.randn(outputs, 1)):
        assert not compare("linear", F.linear, ((x, weight, bias), {}))
    assert not compare("linear", F.linear, ((x, weight, torch.randn(outputs).double()), {}))
    assert not compare("linear", F.linear, ((x, weight.double()), {}))
    assert not compare("linear", F.linear, ((x, weight[0]), {}))
    assert not compare("linear", F.linear, ((x, weight[0], torch.randn(())), {}))


W = torch.randn(6, 4, 5)


@pytest.mark.parametrize(
    "args",
    [
        (torch.randn(2, 3, 4), torch.randn(2, 3, 5), W, torch.randn(6)),
        (torch.randn(4), torch.randn(5), W),
        (torch.randn(2, 4), torch.randn(3, 5), W),
        (torch.randn(2, 4), torch.randn(2, 1, 5), W),
        (torch.randn(2, 3), torch.randn(2, 5), W),
        (torch.randn(2, 4), torch.randn(2, 4), W),
        (torch.randn(2, 4), torch.randn(2, 5), W, torch.randn(5)),
        (torch.randn(2, 4), torch.randn(2, 5).double(), W),
    ],
)
def test_bilinear(args: tuple[Any, ...]) -> None:
    assert not compare("bilinear", F.bilinear, (args, {}))


@pytest.mark.parametrize("sums", [[2, 3], [2], [], [0, 1, 2, 3]])
def test_trilinear(sums: list[int]) -> None:
    args = (torch.randn(2, 4), W, torch.randn(2, 5), [1, 3], [0], [1, 2], sums)
    assert not compare("trilinear", torch._trilinear, (args, {}))
    operands = (meta(2, 4), meta(6, 4, 5), meta(2, 5), [1, 3], [0], [1, 2], sums)
    assert cost_of(torch._trilinear, *operands).macs == oracles.count(2, 6, 4, 5)


# Costs: the bytes of a product, and of the copies before and after it -----------------------------


def moved(*tensors: tuple[int, ...]) -> int:
    return 4 * sum(oracles.count(*shape) for shape in tensors)


def test_what_folds_is_not_copied() -> None:
    cost = cost_of(torch.matmul, meta(2, 3, 4), meta(4, 5))
    assert cost.bytes_read == moved((2, 3, 4), (4, 5))
    assert cost.bytes_written == moved((2, 3, 5))
    heads = meta(2, 5, 3, 4), meta(2, 5, 6, 4).mT
    cost = cost_of(torch.matmul, *heads)
    assert cost.macs == oracles.matmul((2, 5, 3, 4), (2, 5, 4, 6))
    assert cost.bytes_read == moved((2, 5, 3, 4), (2, 5, 4, 6))
    assert cost.bytes_written == moved((2, 5, 3, 6))


def test_heads_of_a_transposed_tensor_are_copied() -> None:
    heads = meta(2, 3, 5, 4).transpose(1, 2)  # batch and heads are not one dimension in memory
    cost = cost_of(torch.matmul, heads, meta(2, 5, 4, 6))
    assert cost.bytes_read == moved((2, 5, 3, 4), (2, 5, 3, 4), (2, 5, 4, 6))
    assert cost.bytes_written == moved((2, 5, 3, 4), (2, 5, 3, 6))


def test_broadcast_batches_are_copied() -> None:
    cost = cost_of(torch.matmul, meta(2, 1, 3, 4), meta(1, 5, 4, 6))
    copies = moved((2, 5, 3, 4), (2, 5, 4, 6))
    assert cost.bytes_read == moved((2, 1, 3, 4), (1, 5, 4, 6)) + copies
    assert cost.bytes_written == copies + moved((2, 5, 3, 6))


def test_a_parameter_on_the_left_turns_its_operand() -> None:
    class Left(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.matmul(self.weight, x)

    profile = nnprof.measure(Left(), (2, 4, 3))
    copies = moved((2, 3, 4), (2, 5, 3))  # x folded into a matrix, and the output turned back
    assert profile.bytes_read == moved((5, 4), (2, 4, 3)) + copies
    assert profile.bytes_written == copies + moved((2, 5, 3))
    plain = cost_of(torch.matmul, meta(5, 4), meta(2, 4, 3))
    assert plain.bytes_written == moved((2, 5, 3))


@pytest.mark.parametrize("bias", [False, True])
def test_linear_cost(bias: bool) -> None:
    vector = meta(5) if bias else None
    cost = cost_of(F.linear, meta(2, 3, 4), meta(5, 4), vector)
    assert cost.macs == oracles.linear((2, 3, 4), (5, 4))
    assert cost.kinds == ({"add": 30} if bias else {})
    assert cost.bytes_read == moved((2, 3, 4), (5, 4), *[(5,)] * bias)
    assert cost.bytes_written == moved((2, 3, 5))


def test_linear_of_what_is_not_contiguous() -> None:
    module = nn.Linear(4, 5)

    profile = nnprof.measure(module, inputs=meta(3, 2, 4).transpose(0, 1))
    # The input is folded by a copy, and the bias added by a second pass over the output.
    assert profile.bytes_read == moved((2, 3, 4), (2, 3, 4), (5, 4), (5,), (2, 3, 5))
    assert profile.bytes_written == moved((2, 3, 4), (2, 3, 5), (2, 3, 5))


def test_bilinear_cost() -> None:
    cost = cost_of(F.bilinear, meta(2, 3, 4), meta(2, 3, 5), meta(6, 4, 5), meta(6))
    assert cost.macs == oracles.bilinear((2, 3, 4), (2, 3, 5), (6, 4, 5))
    assert cost.kinds == {"add": oracles.count(2, 3, 6)}


class Clones(TorchDispatchMode):
    """Counts the elements that PyTorch's own decomposition copies."""

    elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.clone.default:
            self.elements += result.numel()
        return result


def strided(sizes: list[int], order: list[int]) -> Tensor:
    """A tensor of ``sizes`` whose dimensions lie in memory in ``order``."""
    dense = torch.empty([sizes[d] for d in order], device="meta")
    return dense.permute([order.index(d) for d in range(len(sizes))])


@st.composite
def operands(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    batches = draw(st.lists(st.integers(1, 3), max_size=3))
    shapes = []
    for matrix in ([2, 4], [4, 3]):
        kept = draw(st.integers(0, len(batches)))
        batch = [draw(st.sampled_from([1, n])) for n in batches[len(batches) - kept :]]
        shapes.append(batch + matrix)
    made = [strided(shape, draw(st.permutations(range(len(shape))))) for shape in shapes]
    return made[0], made[1]


@given(operands())
@settings(max_examples=60, deadline=None)
def test_copies_are_those_that_pytorch_makes(both: tuple[Tensor, Tensor]) -> None:
    a, b = both
    with torch.no_grad(), Clones() as clones:
        output = torch.matmul(a, b)
    cost = cost_of(torch.matmul, a, b)
    assert cost.bytes_written == 4 * (clones.elements + output.numel())
    assert cost.bytes_read == 4 * (clones.elements + a.numel() + b.numel())
