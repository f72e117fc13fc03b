"""Exponentials, trigonometry and special functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import special

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

UNARY = (
    torch.exp, torch.log1p, torch.logit, torch.sin, torch.acosh, torch.sinc, torch.erf,
    torch.erfinv, torch.lgamma, torch.digamma, torch.i0, torch.angle, special.entr, special.i1e,
    special.ndtri, special.log_ndtr, special.erfcx, special.bessel_j0, special.airy_ai,
)  # fmt: skip
BINARY = (
    torch.atan2, torch.logaddexp, torch.xlogy, torch.igamma, special.xlog1py, special.zeta,
    special.hermite_polynomial_h, special.chebyshev_polynomial_t,
)  # fmt: skip
WITH_NUMBERS = (torch.xlogy, special.xlog1py, special.zeta, special.hermite_polynomial_h)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_outputs(dtype: torch.dtype) -> None:
    x = torch.ones(2, 3, dtype=dtype).t()
    for unary in UNARY:
        assert not compare(unary.__name__, unary, ((x,), {}))
    for binary in BINARY:
        assert not compare(binary.__name__, binary, ((x, torch.ones(2, dtype=dtype)), {}))
    for binary in WITH_NUMBERS:
        assert not compare(binary.__name__, binary, ((x, 2), {}))
        assert not compare(binary.__name__, binary, ((2, x), {}))
    for n in (0, 1, 3):
        assert not compare("polygamma", torch.polygamma, ((n, x), {}))
    assert not compare("frexp", torch.frexp, ((x,), {}))


def test_complex_numbers() -> None:
    x, y = torch.ones(2, 3), torch.ones(3)
    for function in (torch.complex, torch.polar):
        assert not compare(function.__name__, function, ((x, y), {}))
        assert not compare(function.__name__, function, ((x, y.double()), {}))
    for unary in (torch.exp, torch.angle, torch.sin, torch.acos):
        assert not compare(unary.__name__, unary, ((torch.complex(x, y),), {}))


X = meta(2, 3)
COSTS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, int]]] = [
    (torch.exp, (X,), {"exp": 6}),
    (torch.log, (X,), {"exp": 6}),
    (torch.cos, (X,), {"trigonometric": 6}),
    (torch.erf, (X,), {"erf": 6}),
    (torch.lgamma, (X,), {"special": 6}),
    (torch.logit, (X,), {"add": 6, "division": 6, "exp": 6}),
    (torch.logit, (X, 0.1), {"add": 6, "division": 6, "exp": 6, "compare": 12}),
    (torch.logaddexp, (X, X), {"add": 12, "exp": 12, "compare": 6}),
    (torch.xlogy, (X, 2), {"multiply": 6, "exp": 6, "compare": 6}),
    (torch.mvlgamma, (X, 3), {"special": 18, "add": 18}),
    (torch.polar, (X, X), {"multiply": 12, "trigonometric": 12}),
    (torch.complex, (X, X), {}),
]


@pytest.mark.parametrize(("function", "args", "kinds"), COSTS)
def test_flops(function: Callable[..., Any], args: tuple[Any, ...], kinds: dict[str, int]) -> None:
    assert cost_of(function, *args).kinds == kinds
