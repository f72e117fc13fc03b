"""PyTorch's own composites ask for values and devices: they work on shapes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import nnprof
from nnprof.errors import DataDependentError
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

X, SQUARE = torch.rand(20, 30), torch.eye(30)


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (torch.quantile, (X, 0.5, 1)),
        (torch.quantile, (X, torch.tensor([0.5, 0.2]))),
        (torch.nanquantile, (X, 0.5, 0, True)),
        (torch.linalg.matrix_rank, (SQUARE,)),
        (torch.linalg.matrix_rank, (SQUARE, 0.1)),
        (torch.linalg.matrix_rank, (SQUARE, None, True)),
        (torch.cov, (X,)),
    ],
)
def test_devices_are_not_compared(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    assert not compare(str(function), function, (args, {}))


def test_a_window_of_the_model_fits_shape_only_audio() -> None:
    audio, window = meta(4000), torch.hann_window(512)
    with nnprof.trace() as trace:
        spectrum = torch.stft(audio, 512, window=window, return_complex=True)
        again = torch.istft(spectrum, 512, window=window)
    assert spectrum.shape == (257, 32)
    assert again.shape == (3968,)
    assert any("aten::istft" in text for text in trace.profile().assumptions)


class Compares(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if torch.equal(x, 2 * x) else x


def test_equal_is_a_question_about_values() -> None:
    with pytest.raises(DataDependentError, match=r"whether tensors are equal.*assume="):
        nnprof.measure(Compares(), (30, 30))
    for answer in (0, 1):
        ruled = nnprof.measure(Compares(), (30, 30), assume=answer).coverage.ruled
        assert ruled["aten::equal"] == 1
        assert ruled.get("aten::add.Tensor", 0) == answer


def test_equal() -> None:
    ids = torch.arange(6)
    for other in (ids.clone(), ids + 1, ids[:3], ids.int()):
        assert not compare("equal", torch.equal, ((ids, other), {}))
    assert not compare("equal", torch.equal, ((X, X[:1]), {}))
    assert cost_of(torch.equal, ids, ids.clone()).kinds == {"int_ops": 6}
