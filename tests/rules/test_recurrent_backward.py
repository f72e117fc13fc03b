"""cuDNN's recurrent layers and the gradients of cells: sizes, and costs by loops over steps."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

import nnprof
from tests.helpers import oracles
from tests.rules.costs import CallCost, cost_of, meta
from tests.rules.scalars import Number, Tally

aten = torch.ops.aten
MODES = {"relu": 0, "tanh": 1, "lstm": 2, "gru": 3}
MODULES: dict[str, Any] = {"relu": nn.RNN, "tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def tanh(x: Number) -> Number:
    x.tally["tanh"] += 1
    return x


def slope_of_sigmoid(grad: Number, s: Number) -> Number:
    return grad * s * (1 - s)


def slope_of_tanh(grad: Number, t: Number) -> Number:
    return grad * (1 - t * t)


def element(kind: str, tally: Tally) -> None:
    """The gradients of an element's gates and state, by what comes back from output and step."""
    from_output, from_next = tally.row(2)
    dh = from_output + from_next
    if kind == "relu":
        dh.choose(0)
    elif kind == "tanh":
        slope_of_tanh(dh, *tally.row(1))
    elif kind == "lstm":
        i, f, g, o, before, after, dc = tally.row(7)
        t = tanh(after)
        dc = dc + slope_of_tanh(dh * o, t)
        slope_of_sigmoid(dh * t, o)
        slope_of_sigmoid(dc * g, i)
        slope_of_sigmoid(dc * before, f)
        slope_of_tanh(dc * i, g)
        dc * f
    else:
        r, z, n, h, n_state = tally.row(5)
        slope_of_sigmoid(dh * (h - n), z)
        dn = slope_of_tanh(dh * (1 - z), n)
        slope_of_sigmoid(dn * n_state, r)
        dn * r
        dh * z


class Case:
    """Two layers in both directions: 5 steps of 2 sequences of 3 elements, with a state of 4."""

    def __init__(self, kind: str, projection: int = 0) -> None:
        options: dict[str, Any] = {"proj_size": projection} if projection else {}
        if kind == "relu":
            options["nonlinearity"] = "relu"
        self.module = MODULES[kind](3, 4, 2, bidirectional=True, device="meta", **options)
        self.weights = [weight.detach() for weight in self.module.parameters()]
        self.kind, self.output = kind, projection or 4
        self.state = meta(4, 2, self.output)
        self.cell = meta(4, 2, 4) if kind == "lstm" else None
        self.flat = meta(sum(weight.numel() for weight in self.weights))
        self.given = (self.weights, len(self.weights) // 4, self.flat, self.state, self.cell)
        self.options: tuple[Any, ...]
        self.options = (MODES[kind], 4, projection, 2, False, 0.0, True, True, [], None)
        self.macs = oracles.recurrent(
            "rnn" if kind in ("relu", "tanh") else kind,
            [2] * 5, 3, 4, layers=2, directions=2, projection=projection,
        )  # fmt: skip

    def forward(self) -> CallCost:
        return cost_of(aten._cudnn_rnn, meta(5, 2, 3), *self.given, *self.options)

    def backward(self, mask: list[bool]) -> tuple[CallCost, Any]:
        x, out = meta(5, 2, 3), meta(5, 2, 2 * self.output)
        gradients = (out, meta(*out.shape), None, None)
        reserve = meta(0, dtype=torch.uint8)
        made: Any = None

        def call() -> None:
            nonlocal made
            made = aten._cudnn_rnn_backward(
                x, *self.given, *gradients, *self.options, reserve, mask
            )

        return cost_of(call), made


CASES = [("relu", 0), ("tanh", 0), ("gru", 0), ("lstm", 0), ("lstm", 2)]


@pytest.mark.parametrize(("kind", "projection"), CASES)
def test_layers(kind: str, projection: int) -> None:
    case = Case(kind, projection)
    whole = cost_of(case.module, meta(5, 2, 3))
    cost = case.forward()
    assert (cost.macs, cost.kinds) == (case.macs, whole.kinds)
    # The weights once, not their flat copy again; no cell state but an LSTM's.
    states = case.state.numel() + (case.cell.numel() if case.cell is not None else 0)
    assert cost.bytes_read == 4 * (30 + case.flat.numel() + states)
    assert cost.bytes_written == 4 * (5 * 2 * 2 * case.output + states)


@pytest.mark.parametrize(("kind", "projection"), CASES)
def test_gradients_of_layers(kind: str, projection: int) -> None:
    case, tally = Case(kind, projection), Tally()
    for _step, _sequence, _layer, _hidden in itertools.product(*map(range, (5, 2, 2 * 2, 4))):
        element(kind, tally)
    cost, made = case.backward([True] * 4)
    kinds = tally.kinds
    without, fewer = case.backward([True, True, True, False])
    assert without.kinds == kinds
    biases = sum(weight.numel() for weight in case.weights if weight.dim() == 1)
    assert cost.kinds == kinds | {"add": kinds["add"] + 10 * biases}
    assert (cost.macs, without.macs) == (2 * case.macs, case.macs)
    assert [tuple(tensor.shape) for tensor in made[3]] == [
        tuple(weight.shape) for weight in case.weights
    ]
    assert fewer[3] == []
    assert (made[0].shape, made[1].shape) == ((5, 2, 3), case.state.shape)
    assert (made[2] is None) == (case.cell is None)


def test_a_batch_that_comes_first_is_a_view_of_steps() -> None:
    case = Case("gru")
    options = (*case.options[:4], True, *case.options[5:])
    with torch.no_grad(), nnprof.trace():
        out = aten._cudnn_rnn(meta(2, 5, 3), *case.given, *options)[0]
    assert (out.shape, out.stride()) == ((2, 5, 8), (8, 16, 1))


def test_gradients_of_cells() -> None:
    states = [meta(2, 4) for _ in range(4)]
    lstm = cost_of(aten._thnn_fused_lstm_cell_backward_impl, *states, meta(2, 16), False)
    gru = cost_of(aten._thnn_fused_gru_cell_backward, states[0], meta(2, 20), False)
    for kind, cost in (("lstm", lstm), ("gru", gru)):
        tally = Tally()
        for _element in range(8):
            element(kind, tally)
        assert cost.kinds == tally.kinds


def test_no_gradient_of_a_cell_makes_none() -> None:
    function, state = aten._thnn_fused_lstm_cell_backward_impl, meta(2, 4)
    with torch.no_grad(), nnprof.trace():
        assert function(None, None, state, state, meta(2, 16), True) == (None, None, None)


def bad_calls() -> list[tuple[Any, ...]]:
    case, x = Case("lstm"), meta(5, 2, 3)
    weights, stride, flat, hx, cx = case.given
    return [
        (x, weights[:-1], stride, flat, hx, cx, *case.options),
        (x, weights, stride, flat, hx, None, *case.options),
        (x, weights, stride, flat, hx[:1], cx, *case.options),
        (x[0], weights, stride, flat, hx, cx, *case.options),
        (x, weights, stride, flat, hx, cx, 7, *case.options[1:]),
        (x.double(), weights, stride, flat, hx, cx, *case.options),
    ]


@pytest.mark.parametrize("arguments", bad_calls())
def test_what_cudnn_refuses(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(RuntimeError):
        cost_of(aten._cudnn_rnn, *arguments)


def test_evaluation_has_no_gradients() -> None:
    case = Case("gru")
    case.options = (*case.options[:6], False, *case.options[7:])
    with pytest.raises(RuntimeError, match="training mode"):
        case.backward([True] * 4)
