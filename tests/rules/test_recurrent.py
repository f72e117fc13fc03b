"""Recurrent layers and cells: outputs as PyTorch's, costs as the same steps one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from tests.helpers import oracles
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

# PyTorch tells that a projected LSTM runs without oneDNN.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")

LAYERS: dict[str, Any] = {
    "lstm": nn.LSTM,
    "projected lstm": lambda *args, **kwargs: nn.LSTM(*args, proj_size=3, **kwargs),
    "gru": nn.GRU,
    "tanh": nn.RNN,
    "relu": lambda *args, **kwargs: nn.RNN(*args, nonlinearity="relu", **kwargs),
}
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "tanh": nn.RNNCell}
options = pytest.mark.parametrize(
    "option",
    [
        {},
        {"batch_first": True},
        {"num_layers": 2, "bias": False},
        {"num_layers": 2, "bidirectional": True, "batch_first": True},
    ],
    ids=str,
)


@options
@pytest.mark.parametrize("kind", LAYERS)
def test_outputs(kind: str, option: dict[str, Any]) -> None:
    layer = LAYERS[kind](4, 5, **option)
    for x in (torch.randn(2, 6, 4), torch.randn(6, 4)):
        assert not compare(kind, layer, ((x,), {}))
    assert not compare(kind, layer.bfloat16(), ((torch.randn(2, 6, 4).bfloat16(),), {}))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_packed(kind: str, bidirectional: bool) -> None:
    packed = pack_sequence([torch.randn(6, 4), torch.randn(4, 4), torch.randn(1, 4)])
    layer = LAYERS[kind](4, 5, num_layers=2, bidirectional=bidirectional)

    def run(data: Tensor) -> Any:
        output, state = layer(PackedSequence(data, packed.batch_sizes))
        return output.data, state

    assert not compare(kind, run, ((packed.data,), {}))
    expected = oracles.recurrent(
        {"tanh": "rnn", "relu": "rnn", "projected lstm": "lstm"}.get(kind, kind),
        packed.batch_sizes.tolist(),
        4,
        5,
        layers=2,
        directions=1 + bidirectional,
        projection=3 if "projected" in kind else 0,
    )
    assert cost_of(run, packed.data).macs == expected


@pytest.mark.parametrize("kind", CELLS)
def test_cell_outputs(kind: str) -> None:
    cell = CELLS[kind](4, 5)
    for x in (torch.randn(2, 4), torch.randn(4)):
        assert not compare(kind, cell, ((x,), {}))


def test_bad_sizes_raise() -> None:
    for layer in (nn.LSTM(4, 5), nn.GRU(4, 5), nn.RNN(4, 5)):
        assert not compare("layer", layer, ((torch.randn(6, 2, 3),), {}))
    for cell in (nn.LSTMCell(4, 5), nn.GRUCell(4, 5)):
        assert not compare("cell", cell, ((torch.randn(2, 3),), {}))


# One step written out, in operators that have rules of their own.


def gates(x: Tensor, h: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    w_ih, w_hh, b_ih, b_hh = weights
    return nn.functional.linear(x, w_ih, b_ih), nn.functional.linear(h, w_hh, b_hh)


def lstm_step(x: Tensor, h: Tensor, c: Tensor, *weights: Tensor) -> None:
    of_input, of_state = gates(x, h, list(weights))
    i, f, g, o = (of_input + of_state).chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    o.sigmoid() * c.tanh()


def gru_step(x: Tensor, h: Tensor, *weights: Tensor) -> None:
    of_input, of_state = gates(x, h, list(weights))
    (ri, zi, ni), (rs, zs, ns) = of_input.chunk(3, 1), of_state.chunk(3, 1)
    n = (ni + (ri + rs).sigmoid() * ns).tanh()
    (h - n) * (zi + zs).sigmoid() + n


def tanh_step(x: Tensor, h: Tensor, *weights: Tensor) -> None:
    of_input, of_state = gates(x, h, list(weights))
    (of_input + of_state).tanh()


def test_cells_cost_what_their_steps_do() -> None:
    x, h, c = meta(2, 4), meta(2, 5), meta(2, 5)
    for kind, step in (("lstm", lstm_step), ("gru", gru_step), ("tanh", tanh_step)):
        cell = CELLS[kind](4, 5, device="meta")
        state = (h, c) if kind == "lstm" else h
        states = (h, c) if kind == "lstm" else (h,)
        got, expected = cost_of(cell, x, state), cost_of(step, x, *states, *cell.parameters())
        assert (got.macs, got.kinds) == (expected.macs, expected.kinds), kind


@pytest.mark.parametrize("kind", CELLS)
def test_layers_cost_what_their_cells_do(kind: str) -> None:
    steps, batch, directions = 3, 2, 2
    layer = LAYERS[kind](4, 5, bidirectional=True, device="meta")
    cell = CELLS[kind](4, 5, device="meta")
    state = (meta(batch, 5), meta(batch, 5)) if kind == "lstm" else meta(batch, 5)
    states = meta(directions, batch, 5)
    whole = cost_of(layer, meta(steps, batch, 4), (states, states) if kind == "lstm" else states)
    one = cost_of(cell, meta(batch, 4), state)
    times = steps * directions
    assert whole.macs == one.macs * times
    assert whole.kinds == {name: count * times for name, count in one.kinds.items()}


def test_bytes() -> None:
    layer = nn.LSTM(4, 5, device="meta")
    state = meta(1, 2, 5), meta(1, 2, 5)
    cost = cost_of(layer, meta(3, 2, 4), state)
    weights = 20 * 4 + 20 * 5 + 20 + 20
    assert cost.bytes_read == 4 * (3 * 2 * 4 + 2 * 2 * 5 + weights)
    assert cost.bytes_written == 4 * (3 * 2 * 5 + 2 * 2 * 5)
