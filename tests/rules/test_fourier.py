"""Fourier transforms: outputs as PyTorch's, counts those of a radix-2 algorithm run by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare


def radix_2(x: list[complex], flops: list[int]) -> list[complex]:
    """The textbook algorithm. A complex product is 4 multiplications and 2 additions, a sum 2."""
    n = len(x)
    if n == 1:
        return x
    even, odd = radix_2(x[::2], flops), radix_2(x[1::2], flops)
    twiddles = [complex(math.cos(a), math.sin(a)) for a in (-2 * math.pi * k / n for k in range(n))]
    turned = [twiddle * value for twiddle, value in zip(twiddles, odd, strict=False)]
    flops[0] += 2 * len(turned) + 2 * n  # additions
    flops[1] += 4 * len(turned)  # multiplications
    pairs = list(zip(even, turned, strict=True))
    return [a + b for a, b in pairs] + [a - b for a, b in pairs]


@pytest.mark.parametrize("points", [2, 8, 64])
def test_a_complex_transform(points: int) -> None:
    x, flops = torch.randn(points, dtype=torch.complex64), [0, 0]
    spectrum = radix_2(x.tolist(), flops)
    torch.testing.assert_close(torch.tensor(spectrum), torch.fft.fft(x))
    cost = cost_of(torch.fft.fft, meta(3, points, dtype=torch.complex64))
    assert cost.kinds == {"add": 3 * flops[0], "multiply": 3 * flops[1]}
    assert (cost.bytes_read, cost.bytes_written) == (3 * points * 8, 3 * points * 8)
    assert cost.macs == 0


def test_a_real_transform_is_half() -> None:
    whole = cost_of(torch.fft.fft, meta(2, 16, dtype=torch.complex64)).kinds
    forward = cost_of(torch.fft.rfft, meta(2, 16)).kinds
    assert forward == {kind: count // 2 for kind, count in whole.items()}
    scaled = cost_of(torch.fft.irfft, meta(2, 9, dtype=torch.complex64)).kinds
    assert scaled["add"] == forward["add"]
    assert scaled["multiply"] == forward["multiply"] + 2 * 16  # by 1 / 16


def test_two_dimensions_are_one_after_the_other() -> None:
    x = meta(4, 8, dtype=torch.complex64)
    rows, columns = cost_of(torch.fft.fft, x, dim=1).kinds, cost_of(torch.fft.fft, x, dim=0).kinds
    assert cost_of(torch.fft.fft2, x).kinds == {kind: rows[kind] + columns[kind] for kind in rows}


def layouts() -> list[Tensor]:
    x = torch.randn(3, 4, 6, 5, dtype=torch.complex64)
    return [x, x.transpose(1, 3), x.permute(2, 0, 3, 1), x[:, ::2, :, :1].expand(3, 2, 6, 5)]


@pytest.mark.parametrize("dim", [(-1,), (0,), (1, 2), (2, 1), (0, 2, 3), (3, 0, 1)])
@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn", "hfftn", "ihfftn"])
def test_layouts(name: str, dim: tuple[int, ...]) -> None:
    function = getattr(torch.fft, name)
    for complex_x in layouts():
        x = complex_x.real if name in ("rfftn", "ihfftn") else complex_x
        assert not compare(name, function, ((x,), {"dim": dim}))
        assert not compare(name, function, ((x,), {"dim": dim, "norm": "ortho"}))


def test_stft_and_back() -> None:
    x, window = torch.randn(2, 400), torch.hann_window(64)

    def through(x: Tensor, window: Tensor) -> Any:
        spectrum = torch.stft(x, 64, 16, window=window, return_complex=True)
        return torch.istft(spectrum, 64, 16, window=window)

    assert not compare("stft", through, ((x, window), {}))
    frames = 1 + 400 // 16
    cost = cost_of(torch.stft, meta(2, 400), 64, 16, window=meta(64), return_complex=True)
    windowed, stages = 2 * frames * 64, 6
    assert cost.kinds == {
        "add": windowed * stages * 3 // 2,
        "multiply": windowed * stages + windowed,
    }


def test_refuses_half_precision() -> None:
    assert not compare("rfft", torch.fft.rfft, ((torch.randn(8).half(),), {}))
