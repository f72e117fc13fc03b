"""torch.autocast("cuda") as a program writes it, in a trace where there is no CUDA."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

import nnprof

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


class Mixed(nn.Module):
    def __init__(self, enabled: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.enabled = enabled

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16, self.enabled):
            return self.linear(x)


@pytest.mark.parametrize(("enabled", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_casts_where_it_is_on(enabled: bool, dtype: torch.dtype) -> None:
    with torch.device("meta"):
        model, x = Mixed(enabled), torch.empty(4, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with nnprof.trace(model):
            assert model(x).dtype == dtype


def test_is_as_before_outside() -> None:
    assert not torch.is_autocast_enabled("cuda")
    with pytest.warns(UserWarning, match="CUDA is not available"):
        torch.autocast("cuda")


def test_a_cast_tensor_lives_until_its_kernel_is_done() -> None:
    """exp casts its input to float32: at its end both are there."""
    x = torch.empty(1 << 18, dtype=torch.bfloat16, device="meta")

    def function(x: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            return torch.exp(x)

    memory = nnprof.measure(function, inputs=x).memory
    given, cast = 2 << 18, 4 << 18
    assert memory.peak == given + 2 * cast
