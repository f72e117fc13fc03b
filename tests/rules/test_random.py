"""Random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

import nnprof
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

FACTORIES: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (torch.rand, ((2, 3),)),
    (torch.randn, ((2, 3),)),
    (torch.randint, (5, (2, 3))),
    (torch.randint, (2, 5, (2, 3))),
    (torch.randint, (5, 2, (2, 3))),
    (torch.randperm, (6,)),
    (torch.randperm, (-1,)),
    (torch.normal, (0.0, 1.0, (2, 3))),
    (torch.normal, (0.0, -1.0, (2, 3))),
    (torch.rand_like, (torch.ones(3, 2).t(),)),
    (torch.randn_like, (torch.ones(3, 2).t(),)),
    (torch.randint_like, (torch.ones(3, 2).t(), 5)),
]
DRAWS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (torch.normal, (torch.ones(3, 2).t(), 1.0)),
    (torch.normal, (1.0, torch.ones(3, 2).t())),
    (torch.normal, (torch.ones(3, 1), torch.ones(2))),
    (torch.bernoulli, (torch.ones(3, 2).t() / 2,)),
    (torch.poisson, (torch.ones(3, 2).t(),)),
    (torch.multinomial, (torch.ones(4), 2)),
    (torch.multinomial, (torch.ones(3, 4), 2)),
    (torch.multinomial, (torch.ones(3, 4), 9, True)),
    (torch.multinomial, (torch.ones(3, 4), 9)),
    (torch.multinomial, (torch.ones(3, 4), 0)),
    (torch.multinomial, (torch.ones(1, 3, 4), 1)),
]
IN_PLACE: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (torch.Tensor.uniform_, (0, 2)),
    (torch.Tensor.uniform_, (2, 0)),
    (torch.Tensor.normal_, (0, 2)),
    (torch.Tensor.normal_, (0, -2)),
    (torch.Tensor.exponential_, (2,)),
    (torch.Tensor.exponential_, (-2,)),
    (torch.Tensor.log_normal_, (0, 1)),
    (torch.Tensor.cauchy_, (0, 1)),
    (torch.Tensor.geometric_, (0.5,)),
    (torch.Tensor.geometric_, (1.5,)),
    (torch.Tensor.random_, ()),
    (torch.Tensor.random_, (4,)),
    (torch.Tensor.random_, (4, 2)),
    (torch.Tensor.bernoulli_, (0.5,)),
    (torch.Tensor.bernoulli_, (1.5,)),
]


@pytest.mark.parametrize(("function", "args"), FACTORIES)
def test_factories(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    for dtype in (None, torch.float64, torch.int32):
        kwargs = {} if dtype is None else {"dtype": dtype}
        assert not compare(function.__name__, function, (args, kwargs))


@pytest.mark.parametrize(("function", "args"), DRAWS)
def test_draws(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    assert not compare(function.__name__, function, (args, {}))


@pytest.mark.parametrize(("function", "args"), IN_PLACE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_in_place(function: Callable[..., Any], args: tuple[Any, ...], dtype: torch.dtype) -> None:
    x = torch.ones(2, 3, dtype=dtype)
    assert not compare(function.__name__, function, ((x, *args), {}))


def test_probabilities_broadcast() -> None:
    for p in (torch.ones(3), torch.ones(2, 1), torch.ones(2), torch.ones(4, 1, 1)):
        assert not compare("bernoulli_", torch.Tensor.bernoulli_, ((torch.ones(2, 3), p), {}))


def test_generators_are_left_alone() -> None:
    before = torch.random.get_rng_state()
    with nnprof.trace():
        torch.rand(3), torch.randn(3), torch.randint(5, (3,)), torch.randperm(4)
        meta(2, 2).uniform_()
    assert torch.equal(before, torch.random.get_rng_state())


def test_samples_are_of_their_own_row() -> None:
    weights = meta(4, 3)
    with nnprof.trace():
        chosen = torch.multinomial(weights, 2)
        assert chosen.shape == (4, 2)
        assert int(chosen.max()) < 3


NORMAL = {"add": 6, "multiply": 24, "sqrt": 6, "exp": 6, "trigonometric": 6}  # Box-Muller
COSTS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, int], tuple[int, int]]] = [
    (torch.rand, (2, 3), {"add": 6, "multiply": 6}, (0, 24)),
    (torch.randn, (2, 3), NORMAL, (0, 24)),
    (torch.randn_like, (meta(2, 3),), NORMAL, (0, 24)),
    (torch.Tensor.normal_, (meta(2, 3),), NORMAL, (0, 24)),
    (torch.randint, (9, (2, 3)), {"int_ops": 6}, (0, 48)),
    (torch.bernoulli, (meta(2, 3),), {"compare": 6}, (24, 24)),
    # 2 rows of 8: noise (a logarithm) divides, and the largest one of each row is found
    (torch.multinomial, (meta(2, 8), 1), {"exp": 16, "division": 16, "compare": 16}, (64, 16)),
    # running sums, then 3 comparisons for each of 2 x 5 samples
    (torch.multinomial, (meta(2, 8), 5, True), {"add": 16, "division": 16, "compare": 30},
     (64, 80)),
]  # fmt: skip


@pytest.mark.parametrize(("function", "args", "kinds", "bytes_"), COSTS)
def test_costs(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kinds: dict[str, int],
    bytes_: tuple[int, int],
) -> None:
    cost = cost_of(function, *args)
    assert cost.kinds == kinds
    assert (cost.bytes_read, cost.bytes_written) == bytes_


@pytest.mark.parametrize("name", ["Gamma", "Beta", "Dirichlet", "Chi2", "StudentT"])
def test_draws_of_gammas_can_be_trained(name: str) -> None:
    """`_standard_gamma_grad` and `_dirichlet_grad` have no kernel for meta."""
    made = getattr(torch.distributions, name)

    def drawn(h: Tensor) -> Tensor:
        both = name in ("Gamma", "Beta")
        sample: Tensor = made(h.exp(), h.exp()).rsample() if both else made(h.exp()).rsample()
        return sample

    weight = torch.randn(8, 8, requires_grad=True)
    profile = nnprof.measure(lambda x: drawn(x @ weight), (4, 8), backward=True)
    assert profile.phase("backward").macs == 4 * 8 * 8
    assert not profile.coverage.generic


def test_gradients_of_draws() -> None:
    for x in (torch.rand(3, 4) + 0.1, torch.rand(4, 3).t() + 0.1):
        assert not compare("gamma", torch._standard_gamma_grad, ((x, x), {}))
        assert not compare("dirichlet", torch._dirichlet_grad, ((x / 8, x, x + 1), {}))
