"""Factorisations and solvers: outputs as PyTorch's, counts against algorithms run by hand."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from tests.helpers.oracles import count
from tests.helpers.versions import TORCH
from tests.rules.costs import cost_of, macs, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

N = 30  # large enough for the leading terms to be most of it


def flops(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    cost = cost_of(function, *args, **kwargs)
    assert cost.macs == 0
    return sum(cost.kinds.values())


# Algorithms, with their operations counted one by one ---------------------------------------------


def lu(m: int, n: int) -> int:
    """Gaussian elimination."""
    total = 0
    for k in range(min(m, n)):
        total += m - k - 1  # the column divided by the pivot
        total += 2 * (m - k - 1) * (n - k - 1)  # a product and a difference of what is left
    return total


def cholesky(n: int) -> int:
    total = 0
    for j in range(n):
        total += 1 + 2 * j  # the root of what the squares leave
        total += (n - j - 1) * (1 + 2 * j)
    return total


def householder_qr(m: int, n: int) -> int:
    """Each reflector: its norm, then applied to every column right of it."""
    total = 0
    for k in range(min(m, n)):
        length = m - k
        total += 2 * length + (n - k - 1) * 4 * length
    return total


def back_substitution(n: int, columns: int) -> int:
    return columns * sum(2 * i + 1 for i in range(n))


def close(got: int, expected: int) -> bool:
    """Leading terms: what is left is of the order of the square."""
    return abs(got - expected) < 0.15 * expected


def test_lu() -> None:
    for m, n in itertools.product((N, 2 * N), repeat=2):
        assert close(flops(torch.linalg.lu_factor, meta(m, n)), lu(m, n))
        assert close(flops(torch.linalg.lu, meta(3, m, n)), 3 * lu(m, n))
    for function in (torch.linalg.det, torch.linalg.slogdet):
        assert close(flops(function, meta(N, N)), lu(N, N))


def test_solve_is_lu_and_two_substitutions() -> None:
    expected = lu(N, N) + 2 * back_substitution(N, 4)
    assert close(flops(torch.linalg.solve, meta(N, N), meta(N, 4)), expected)
    inverse = lu(N, N) + 2 * back_substitution(N, N)
    assert close(flops(torch.linalg.inv, meta(2, N, N)), 2 * inverse)


def test_cholesky() -> None:
    assert close(flops(torch.linalg.cholesky, meta(N, N)), cholesky(N))
    if TORCH < (2, 14):  # which has it no more
        assert close(flops(torch.cholesky, meta(N, N)), cholesky(N))
    solved = flops(torch.cholesky_solve, meta(N, 4), meta(N, N))
    assert close(solved, 2 * back_substitution(N, 4))


def test_triangular() -> None:
    triangular = meta(N, N), meta(N, 5)
    assert close(
        flops(torch.linalg.solve_triangular, *triangular, upper=True), back_substitution(N, 5)
    )
    assert close(flops(torch.triangular_solve, meta(N, 5), meta(N, N)), back_substitution(N, 5))


def test_qr() -> None:
    for m, n in ((N, N), (3 * N, N), (N, 3 * N)):
        assert close(flops(torch.geqrf, meta(m, n)), householder_qr(m, n))
        assert close(flops(torch.linalg.qr, meta(m, n), mode="r"), householder_qr(m, n))
    # The reduced Q of a square matrix takes as much again.
    assert close(flops(torch.linalg.qr, meta(N, N)), 2 * householder_qr(N, N))


def test_published_counts() -> None:
    """Golub and Van Loan, Matrix Computations, 4th edition: 7.5.6, 8.3.5 and 8.6.4."""
    square = meta(N, N)
    assert flops(torch.linalg.eigvals, square) == 10 * N**3
    assert flops(torch.linalg.eig, square) == 25 * N**3
    assert flops(torch.linalg.eigvalsh, square) == 4 * N**3 // 3
    assert flops(torch.linalg.eigh, square) == 9 * N**3
    assert flops(torch.linalg.svdvals, square) == 4 * N**3 - 4 * N**3 // 3
    tall = meta(2 * N, N)
    assert flops(torch.linalg.svd, tall, full_matrices=False) == 28 * N**3 + 8 * N**3
    assert flops(torch.linalg.svd, tall) == 16 * N**3 + 16 * N**3 + 9 * N**3


def test_complex_is_four_times() -> None:
    for function in (torch.linalg.inv, torch.linalg.eigh, torch.linalg.qr):
        real = flops(function, meta(N, N))
        assert flops(function, meta(N, N, dtype=torch.complex64)) == 4 * real


def test_matrix_exp_is_five_products() -> None:
    assert macs(torch.linalg.matrix_exp, meta(2, 4, 4)) == 5 * count(2, 4, 4, 4)


def test_cross() -> None:
    cost = cost_of(torch.linalg.cross, meta(5, 3), meta(5, 3))
    assert cost.kinds == {"add": 15, "multiply": 30}


# Outputs ------------------------------------------------------------------------------------------

DEFINITE = torch.eye(4) * 5 + torch.rand(2, 4, 4)
MATRICES: dict[str, Callable[[Tensor], Any]] = {
    "eig": torch.linalg.eig,
    "eigvals": torch.linalg.eigvals,
    "cholesky_inverse": torch.cholesky_inverse,
    "geqrf": torch.geqrf,
    "householder": lambda a: torch.linalg.householder_product(*torch.geqrf(a)),
    "ormqr": lambda a: torch.ormqr(*torch.geqrf(a), a, left=False),
    "matrix_exp": torch.linalg.matrix_exp,
    "solve_triangular": lambda a: torch.linalg.solve_triangular(a, a[0], upper=True),
    "inv": torch.linalg.inv,
    "lu": torch.linalg.lu,
    "qr": torch.linalg.qr,
}


@pytest.mark.parametrize("name", MATRICES)
def test_layouts(name: str) -> None:
    symmetric = DEFINITE @ DEFINITE.mT
    for a in (
        symmetric,
        symmetric.mT,
        symmetric.double(),
        torch.stack([symmetric, symmetric], -1)[..., 0],
    ):
        assert not compare(name, MATRICES[name], ((a,), {}))


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("bad", [torch.rand(4), torch.rand(4, 4).long(), torch.rand(4, 4).half()])
def test_refuses(name: str, bad: Tensor) -> None:
    assert not compare(name, MATRICES[name], ((bad,), {}))
