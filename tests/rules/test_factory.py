"""Factories: sizes, dtypes and strides from numbers alone, on whatever device is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

import nnprof
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

FACTORIES: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (torch.zeros, ((2, 3),)),
    (torch.ones, ((),)),
    (torch.zeros, ((2, -3),)),
    (torch.full, ((2,), True)),
    (torch.full, ((2,), 3)),
    (torch.full, ((2,), 3.5)),
    (torch.full, ((2,), 1j)),
    (torch.scalar_tensor, (3,)),
    (torch.arange, (5,)),
    (torch.arange, (2.5,)),
    (torch.arange, (1, 7, 2)),
    (torch.arange, (1, 0.1, -0.25)),
    (torch.arange, (1, 0)),
    (torch.arange, (1, 5, 0)),
    (torch.linspace, (0, 1, 5)),
    (torch.linspace, (0, 1j, 5)),
    (torch.linspace, (0, 1, -1)),
    (torch.linspace, (torch.tensor(0.0), 1, 3)),
    (torch.linspace, (torch.zeros(1), 1, 3)),
    (torch.logspace, (0, torch.tensor(2.0), 3)),
    (torch.eye, (3,)),
    (torch.eye, (3, 5)),
    (torch.eye, (-1,)),
    (torch.hann_window, (7,)),
    (torch.hann_window, (7, False)),
    (torch.kaiser_window, (7, True, 4.0)),
    (torch.hann_window, (-1,)),
    *((torch.tril_indices, (4, 3, offset)) for offset in (-2, 0, 5)),
    *((torch.triu_indices, (4, 3, offset)) for offset in (-2, 0, 5)),
    (torch.tril_indices, (-1, 3)),
    (torch.empty_strided, ((2, 3), (1, 4))),
    (torch.empty_strided, ((2, 3), (1,))),
    (torch.empty_permuted, ((2, 3, 4), (1, 2, 0))),
    (torch.empty_permuted, ((2, 3, 4), (1, 1, 0))),
    (torch.empty_permuted, ((2, 3), (0, 1, 2))),
]


@pytest.mark.parametrize(("function", "args"), FACTORIES)
def test_from_numbers(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    name = function.__name__
    for dtype in (None, torch.float64, torch.int32):
        assert not compare(name, function, (args, {} if dtype is None else {"dtype": dtype}))


def test_default_dtype() -> None:
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        for function, args in FACTORIES:
            assert not compare(function.__name__, function, (args, {}))
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("dtype", [None, torch.int64])
def test_like_another(dtype: torch.dtype | None) -> None:
    image = torch.zeros(2, 3, 4, 5)
    others = [image, image.to(memory_format=torch.channels_last), image.transpose(0, 2),
              image[..., ::2], image[:, :1].expand(2, 3, 4, 5)]  # fmt: skip
    kwargs = {} if dtype is None else {"dtype": dtype}
    for other in others:
        for function in (torch.zeros_like, torch.ones_like, torch.empty_like):
            name = function.__name__
            assert not compare(name, function, ((other,), kwargs))
            for format in (torch.contiguous_format, torch.channels_last):
                assert not compare(name, function, ((other,), {**kwargs, "memory_format": format}))
        assert not compare("full_like", torch.full_like, ((other, 2.5), kwargs))
        assert not compare("new", torch.Tensor.new_zeros, ((other, (2, 3)), kwargs))
        assert not compare("new", torch.Tensor.new_full, ((other, (2, 3), 1), kwargs))
        assert not compare("new", torch.Tensor.new_empty_strided, ((other, (2, 3), (1, 2)), kwargs))


def test_fills() -> None:
    for x in (torch.ones(2, 3), torch.ones(2, 3, dtype=torch.int64), torch.ones(3, 2).t()):
        assert not compare("zero_", torch.Tensor.zero_, ((x,), {}))
        assert not compare("fill_", torch.Tensor.fill_, ((x, 2), {}))
        assert not compare("fill_", torch.Tensor.fill_, ((x, torch.tensor(2)), {}))
        assert not compare("fill_", torch.Tensor.fill_, ((x, torch.ones(2)), {}))


def test_triangles() -> None:
    for x in (torch.ones(3, 4), torch.ones(2, 4, 3).transpose(1, 2), torch.ones(3)):
        for function in (torch.tril, torch.triu):
            for diagonal in (-1, 0, 2):
                assert not compare(function.__name__, function, ((x, diagonal), {}))


def test_no_device_is_needed() -> None:
    with nnprof.trace():
        for device in ("cuda", "cuda:3"):
            assert torch.zeros(2, 3, device=device).shape == (2, 3)
            assert torch.arange(4, device=device).tolist() == [0, 1, 2, 3]
            assert torch.empty_like(torch.zeros(100, 100), device=device).shape == (100, 100)


def test_costs() -> None:
    x = meta(4, 3)
    cases: dict[str, tuple[Callable[[], Any], dict[str, int], int, int]] = {
        "empty": (lambda: torch.empty(4, 3), {}, 0, 0),
        "empty_like": (lambda: torch.empty_like(x), {}, 0, 0),
        "zeros": (lambda: torch.zeros(4, 3), {}, 0, 48),
        "zeros_like": (lambda: torch.zeros_like(x), {}, 0, 48),
        "new_ones": (lambda: x.new_ones(2), {}, 0, 8),
        "fill_": (lambda: x.fill_(1), {}, 0, 48),
        "arange of integers": (lambda: torch.arange(5), {"int_ops": 10}, 0, 40),
        "arange of floats": (lambda: torch.arange(5.0), {"add": 5, "multiply": 5}, 0, 20),
        # rows of 1, 2, 3 and 3 elements at and below the diagonal; 3, 2 and 1 above and at it
        "tril": (lambda: x.tril(), {}, 9 * 4, 48),
        "triu": (lambda: x.triu(), {}, 6 * 4, 48),
    }
    for name, (function, kinds, read, written) in cases.items():
        cost = cost_of(function)
        assert cost.kinds == kinds, name
        assert (cost.bytes_read, cost.bytes_written) == (read, written), name


@pytest.mark.parametrize("dtype", [torch.bool, torch.complex64], ids=str)
def test_no_steps_of_truth_values_or_complex_numbers(dtype: torch.dtype) -> None:
    assert not compare("arange", torch.arange, ((0, 3), {"dtype": dtype}))
    with pytest.raises(NotImplementedError), nnprof.trace():
        torch.arange(0, 3, dtype=dtype)
