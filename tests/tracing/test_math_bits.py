"""Conjugate and negative views: who needs the elements gets a clone, and is recorded itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

import nnprof
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS: list[Callable[[Tensor], Tensor]] = [
    lambda z: z.conj() + z,
    lambda z: z + z.conj(),
    lambda z: z.mH @ z,
    lambda z: z.conj().sum(0),
    lambda z: z.conj().add_(1),
    lambda z: z.conj().t().contiguous(),
    lambda z: torch.mul(z, 2, out=torch.empty_like(z).conj()),
    lambda z: torch.view_as_real(z.conj()),
    lambda z: torch.view_as_real(z.conj().resolve_conj()),
    lambda z: torch.conj_physical(z),
    lambda z: z.conj().imag,
    lambda z: z.conj().imag.exp(),
    lambda z: torch.cat([z.conj(), z]),
]


@pytest.mark.parametrize("n", [3, 100])  # small ones' values are known
@pytest.mark.parametrize("number", range(len(CALLS)))
def test_outputs(number: int, n: int) -> None:
    assert not compare("conjugate", CALLS[number], ((torch.ones(n, n, dtype=torch.cfloat),), {}))


def test_the_sum_is_a_complex_one() -> None:
    z = meta(30, 40, dtype=torch.complex64)
    with nnprof.trace() as trace:
        _ = z.conj() + z
    profile = trace.profile()
    assert profile.flops_by_kind["add"] == 2 * 1200
    assert dict(profile.coverage.ruled) == {
        "aten::_conj": 1,
        "aten::clone": 1,
        "aten::add.Tensor": 1,
    }
    # z is cloned, then the clone and z are added.
    assert (profile.bytes_read, profile.bytes_written) == (3 * 1200 * 8, 2 * 1200 * 8)


def test_products_take_conjugates_as_they_are() -> None:
    z = meta(30, 40, dtype=torch.complex64)
    cost = cost_of(lambda: z.mH @ z)
    assert cost.macs == 40 * 40 * 30
    assert cost.bytes_read == 1200 * 8 * 2  # the view and the tensor


def test_a_negative_view_is_cloned_too() -> None:
    cost = cost_of(lambda z: z.conj().imag.exp(), meta(30, 40, dtype=torch.complex64))
    assert cost.kinds == {"exp": 1200}


def test_conj_physical() -> None:
    z = meta(30, 40, dtype=torch.complex64)
    assert cost_of(torch.conj_physical, z).kinds == {"add": 1200}
    assert cost_of(torch.conj_physical, meta(3)).bytes_read == 0
