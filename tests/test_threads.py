"""Measures in several threads at once, and in one another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nnprof

THREADS = 8


def mlp(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(32, width), nn.ReLU(), nn.BatchNorm1d(width), nn.Linear(width, 10)
    )


def counted(model: nn.Module, batch: int = 4) -> tuple[Any, ...]:
    profile = nnprof.measure(model, (batch, 32))
    layers = [(layer.path, layer.calls, layer.macs, layer.bytes) for layer in profile.layers]
    return profile.params, profile.macs, profile.flops, profile.bytes, layers


def at_once(*calls: Any) -> list[Any]:
    """The results of ``calls``, each in a thread of its own, started together."""
    barrier = threading.Barrier(len(calls))

    def run(call: Any) -> Any:
        barrier.wait(timeout=30)
        return [call() for _ in range(5)]

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(timeout=60) for future in [pool.submit(run, call) for call in calls]]


def test_different_models() -> None:
    models = [mlp(16 + 8 * i) for i in range(THREADS)]
    expected = [counted(model) for model in models]
    results = at_once(*(lambda model=model: counted(model) for model in models))
    assert results == [[one] * 5 for one in expected]


def test_one_model() -> None:
    model = mlp(64)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = [counted(model, batch) for batch in range(2, 2 + THREADS)]
    results = at_once(*(lambda b=b: counted(model, b) for b in range(2, 2 + THREADS)))
    assert results == [[one] * 5 for one in expected]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_models_that_share_layers() -> None:
    shared = nn.Linear(32, 32)
    models = [nn.Sequential(shared, nn.Linear(32, 8 + i)) for i in range(THREADS)]
    expected = [counted(model) for model in models]
    results = at_once(*(lambda model=model: counted(model) for model in models))
    assert results == [[one] * 5 for one in expected]


class Waits(nn.Module):
    """Stops in the middle of its forward until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(32, 32)
        self.inside = threading.Event()
        self.go_on = threading.Event()

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        self.inside.set()
        assert self.go_on.wait(timeout=30)
        return x * 2


def test_other_threads_compute_meanwhile() -> None:
    model = Waits()
    with ThreadPoolExecutor(1) as pool:
        measured = pool.submit(nnprof.measure, model, (4, 32))
        try:
            assert model.inside.wait(timeout=30)
            linear, x = nn.Linear(32, 32), torch.randn(4, 32)
            out = linear(x)
            assert out.device.type == "cpu"
            torch.testing.assert_close(out, x @ linear.weight.T + linear.bias)
        finally:
            model.go_on.set()
        profile = measured.result(timeout=30)
    assert [layer.path for layer in profile.layers] == ["", "linear"]
    assert profile.macs == 4 * 32 * 32


def test_a_measure_in_a_measure_is_an_error() -> None:
    class Nested(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            nnprof.measure(nn.Linear(32, 2), (1, 32))
            return x

    with pytest.raises(nnprof.NnprofError, match=r"(?i)inside|already|nested|running"):
        nnprof.measure(Nested(), (4, 32))
    # Which leaves nothing behind.
    assert nnprof.measure(nn.Linear(32, 2), (1, 32)).macs == 64


def test_a_trace_in_a_trace_is_an_error_and_ends_only_itself() -> None:
    with nnprof.trace() as trace:
        x = torch.empty(100, 32, device="meta")
        with pytest.raises(nnprof.NnprofError), nnprof.trace():
            pass
        torch.nn.functional.linear(x, torch.empty(2, 32, device="meta"))
    assert trace.profile().macs == 100 * 64


def test_a_measure_in_another_thread_of_a_trace_is_none() -> None:
    with nnprof.trace() as trace, ThreadPoolExecutor(1) as pool:
        inner = pool.submit(counted, mlp(16)).result(timeout=30)
    assert inner == counted(mlp(16))
    assert trace.profile().macs == 0
