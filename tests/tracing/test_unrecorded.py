"""Calls that come before those in question run shape-only and are not counted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import nnprof
from nnprof.errors import InputError


class Remembering(nn.Module):
    """Keeps its first output, and adds it to all later ones."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.first: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)
        if self.first is None:
            self.first = x
            return x
        return x + self.first


def test_only_what_comes_after_is_counted() -> None:
    model = Remembering()
    with nnprof.trace(model) as running:
        with running.unrecorded():
            before = model(torch.empty(3, 4, device="meta"))
        model(before)
    profile = running.profile()
    assert profile.macs == 3 * 4 * 4
    assert profile.ops["op"].tolist() == ["aten::linear", "aten::add.Tensor"]
    assert profile["layer"].calls == 1
    assert model.first is None


def test_an_error_switches_recording_on_again() -> None:
    layer = nn.Linear(4, 4)
    with nnprof.trace(layer) as running:
        with pytest.raises(RuntimeError), running.unrecorded():
            layer(torch.empty(3, 5, device="meta"))
        layer(torch.empty(3, 4, device="meta"))
    assert running.profile().macs == 3 * 4 * 4


def test_there_is_nothing_to_leave_out_without_a_trace() -> None:
    with pytest.raises(InputError, match="inside the with block"), nnprof.trace().unrecorded():
        pass
