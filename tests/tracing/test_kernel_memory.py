"""What single kernels take while they run, on a CPU, against PyTorch's own allocations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import nnprof
from tests.tracing.training.real import bytes_of, one_thread, real_memory

if TYPE_CHECKING:
    from collections.abc import Callable

#: torch's copy of a transposed matrix goes through blocks of 60 x 60 numbers.
TRANSPOSED = 60 * 60 * 4


def peaks(call: Callable[..., Any], given: tuple[Tensor, ...]) -> tuple[int, int]:
    """Bytes beyond what is given, traced and real."""
    model = nn.Linear(1, 1)  # which says that all of it is on the CPU
    with one_thread():
        call(*given)  # what is made once for the process is no part of it
        real = real_memory(lambda: call(*given)).peak
        with nnprof.trace(model) as running:
            running.mark_inputs(list(given))
            call(*given)
    there = sum(map(bytes_of, [*model.parameters(), *given]))
    return int(running.result.memory()["peak"]) - there, real


X, OTHER = torch.randn(300, 64), torch.randn(500, 64)
LONG = torch.randint(0, 64, (500, 64))
INT = LONG.int()
MASK = torch.arange(300) % 3 == 0
BOUNDARIES = torch.linspace(0, 1, 50)
FEW = LONG[:300].int()

EXACT: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "gather": (lambda x, i: x.gather(0, i), (X, LONG)),
    "gather by int32": (lambda x, i: x.gather(0, i), (X, INT)),
    "scatter by int32": (lambda x, i, y: x.scatter(0, i, y), (X, FEW, X.clone())),
    "scatter in place by int32": (lambda x, i, y: x.scatter_(0, i, y), (X.clone(), FEW, X)),
    "scatter a number by int32": (lambda x, i: x.scatter_(0, i, 1.0), (X.clone(), FEW)),
    "scatter_add by int32": (lambda x, i, y: x.scatter_add(0, i, y), (X, FEW, X.clone())),
    "scatter_reduce by int32": (
        lambda x, i, y: x.scatter_reduce_(0, i, y, "amax"),
        (X.clone(), FEW, X),
    ),
    "index": (lambda x, i: x[i], (X, LONG[:, 0].contiguous())),
    "index by int32": (lambda x, i: x[i], (X, INT[:, 0].contiguous())),
    "index by two": (lambda x, i, j: x[i, j], (X, INT[:, 0].clone(), INT[:, 1].clone())),
    "index by two of other shapes": (
        lambda x, i, j: x[i, j],
        (X, INT[:, :1].clone(), INT[0].clone()),
    ),
    "index by a mask of rows": (lambda x, m: x[m], (X, MASK)),
    "index by a mask of numbers": (lambda x, m: x[m], (X, MASK[:, None].repeat(1, 64))),
    "index by a mask and a column": (lambda x, m, j: x[m, j], (X, MASK, LONG[0, :1].clone())),
    "put by int32": (
        lambda x, i, y: x.index_put_((i,), y),
        (X.clone(), INT[:, 0].contiguous(), OTHER),
    ),
    "add by int32": (
        lambda x, i, y: x.index_put_((i,), y, accumulate=True),
        (X.clone(), INT[:, 0].contiguous(), OTHER),
    ),
    "masked_select": (lambda x, m: x.masked_select(m[:, None]), (X, MASK)),
    "gradient of an embedding": (
        lambda g, i: torch.ops.aten.embedding_dense_backward(g, i, 64, -1, False),
        (OTHER, LONG[:, 0].contiguous()),
    ),
    "of its sum": (
        lambda g, i: torch.ops.aten.embedding_dense_backward(g.expand(500, 64), i, 64, -1, False),
        (torch.ones(1), LONG[:, 0].contiguous()),
    ),
    "bucketize": (torch.bucketize, (X, BOUNDARIES)),
    "search of another type": (torch.searchsorted, (BOUNDARIES, X.double())),
}


@pytest.mark.parametrize("name", EXACT)
def test_to_the_byte(name: str) -> None:
    traced, real = peaks(*EXACT[name])
    assert traced == real


WITHIN_A_COPY: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "bucketize": (lambda x, b: torch.bucketize(x.t(), b), (X, BOUNDARIES)),
    "search": (lambda b, x: torch.searchsorted(b, x.t()), (BOUNDARIES, X)),
    "search in rows": (
        lambda b, x: torch.searchsorted(b.t(), x),
        (torch.rand(80, 300).sort(0).values, X),
    ),
    "gradient of an embedding": (
        lambda g, i: torch.ops.aten.embedding_dense_backward(g.t(), i, 64, -1, False),
        (torch.randn(64, 500), LONG[:, 0].contiguous()),
    ),
}


@pytest.mark.filterwarnings("ignore:torch.searchsorted.*non-contiguous")
@pytest.mark.parametrize("name", WITHIN_A_COPY)
def test_of_what_is_transposed(name: str) -> None:
    traced, real = peaks(*WITHIN_A_COPY[name])
    assert real - TRANSPOSED == traced
