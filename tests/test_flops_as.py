"""Numbers by other tools' conventions, against what these tools print."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import nnprof
from nnprof.errors import InputError


def test_an_unknown_tool_names_the_known_ones() -> None:
    profile = nnprof.measure(nn.Linear(3, 4), (2, 3))
    with pytest.raises(InputError, match=r"no tool 'fvcor' is known.*torch.*fvcore.*deepspeed"):
        profile.flops_as("fvcor")


def test_torch_is_what_flop_counter_mode_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
    x = torch.randn(2, 3, 8, 8)
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert nnprof.measure(model, x.shape).flops_as("torch") == counter.get_total_flops()
