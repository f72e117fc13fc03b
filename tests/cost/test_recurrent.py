"""Recurrent layers: step after step, however long the device would need for all at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nnprof.hardware import find
from tests.cost.calls import meta, times

FP16 = torch.float16
Layer = type[nn.RNN | nn.GRU | nn.LSTM]


def took(
    kind: Layer, steps: int, on: str, batch: int = 4, size: int = 512, **options: Any
) -> float:
    layer = kind(size, size, dtype=FP16, device="meta", **options)
    shape = (batch, steps, size) if options.get("batch_first") else (steps, batch, size)
    (one,) = (o for o in times(layer, meta(*shape, dtype=FP16), on=on) if o.op_class == "recurrent")
    return one.estimated_s


@pytest.mark.parametrize("device", ["h100", "a100", "t4", "x86"])
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_time_grows_with_the_steps(device: str, kind: Layer) -> None:
    few, some, many = (took(kind, steps, device) for steps in (10, 100, 1000))
    assert few < some < many
    assert many == pytest.approx(10 * some, rel=0.25)


@pytest.mark.parametrize("device", ["h100", "a100"])
def test_steps_wait_for_each_other(device: str) -> None:
    """A hundred small steps take longer than the same work at once, as a hundred rows."""
    assert took(nn.LSTM, 100, device, batch=1) > 10 * took(nn.LSTM, 1, device, batch=100)


@pytest.mark.parametrize("device", ["h100", "a100", "x86"])
def test_layers_and_directions_add_up(device: str) -> None:
    one = took(nn.LSTM, 50, device)
    assert took(nn.LSTM, 50, device, num_layers=3) == pytest.approx(3 * one, rel=0.1)
    assert took(nn.LSTM, 50, device, bidirectional=True) == pytest.approx(2 * one, rel=0.1)


def test_gates_cost_what_they_multiply() -> None:
    """An LSTM has 4 matrices of a plain RNN's size, a GRU 3: seen where they fill the device."""
    big = {"batch": 4096, "size": 1024}
    plain = took(nn.RNN, 4, "t4", **big)
    assert took(nn.LSTM, 4, "t4", **big) == pytest.approx(4 * plain, rel=0.1)
    assert took(nn.GRU, 4, "t4", **big) == pytest.approx(3 * plain, rel=0.1)


def test_the_order_of_dimensions_does_not_matter() -> None:
    assert took(nn.LSTM, 100, "a100", batch_first=True) == took(nn.LSTM, 100, "a100")


@pytest.mark.parametrize("device", ["h100", "t4", "x86"])
def test_no_faster_than_the_peak(device: str) -> None:
    known = find(device)
    steps, batch, size = 8, 8192, 1024
    flops = 2 * steps * batch * 4 * 2 * size * size
    peak = known.flops.get("fp16", known.flops["fp32"])
    assert took(nn.LSTM, steps, device, batch=batch, size=size) > flops / peak


def test_a_cell_is_a_step() -> None:
    cell = nn.LSTMCell(512, 512, dtype=FP16, device="meta")
    (one,) = (
        o for o in times(cell, meta(4, 512, dtype=FP16), on="a100") if o.op_class == "recurrent"
    )
    assert one.estimated_s == pytest.approx(took(nn.LSTM, 1, "a100"), rel=0.5)
