"""Measures in several threads at once, and in one another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nnprof

THREADS, MANY = 8, 10


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
    models = [mlp(16 + 8 * i) for i in range(MANY)]
    expected = [counted(model) for model in models]
    results = at_once(*(lambda model=model: counted(model) for model in models))
    assert results == [[one] * 5 for one in expected]


def test_one_model() -> None:
    model = mlp(64)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = [counted(model, batch) for batch in range(2, 2 + MANY)]
    results = at_once(*(lambda b=b: counted(model, b) for b in range(2, 2 + MANY)))
    assert results == [[one] * 5 for one in expected]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])


class Mixture(nn.Module):
    """Routes rows to experts by indices that are guessed, with integers that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.router = nn.Linear(16, 4)
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids).flatten(0, 1)
        weights, chosen = self.router(x).softmax(-1).topk(2)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            rows, slots = torch.where(chosen == i)
            out.index_add_(0, rows, expert(x[rows]) * weights[rows, slots, None])
        return out


class Convolutions(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, groups=4),
            nn.Dropout(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        )


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, 2, batch_first=True, bidirectional=True)
        self.cell = nn.GRUCell(12, 4)

    def forward(self, x: Tensor) -> Tensor | None:
        state = None
        for row in self.lstm(x)[0].unbind(1):
            state = self.cell(row, state)
        return state


class Decoder(nn.Module):
    """Causal attention with a mask of its own and a cache that it keeps in itself."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 16)
        self.block = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.cache: list[Tensor] = []

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        self.cache.append(x)
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        out: Tensor = self.block(x, src_mask=mask, is_causal=True)
        return out


FAMILIES: list[tuple[nn.Module, Any, dict[str, Any]]] = [
    (Convolutions().train(), (2, 3, 12, 12), {}),
    (Convolutions().eval(), (1, 3, 16, 16), {"autocast": "bfloat16"}),
    (nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval(), (2, 7, 16), {}),
    (nn.TransformerEncoderLayer(16, 2, 32).train(), (2, 7, 16), {"autocast": "bfloat16"}),
    (Recurrent(), (2, 5, 8), {}),
    (Mixture(), (2, 6), {}),
    (Decoder(), (2, 9), {}),
    (mlp(24), (4, 32), {"dtype": "float32"}),
]


def everything(model: nn.Module, shape: Any, options: dict[str, Any]) -> dict[str, Any]:
    """All that a profile holds but the time it took."""
    profile = nnprof.measure(model, shape, **options)
    table = profile.ops
    calls = {name: list(table[name]) for name in ("op", "scope", "macs", "flops", "bytes", "dtype")}
    layers = [
        (x.path, x.type, x.calls, x.params, x.macs, x.flops, x.bytes, x.output_shapes)
        for x in profile.layers
    ]
    return {"calls": calls, "layers": layers, "assumptions": sorted(profile.assumptions)}


def test_models_of_all_families() -> None:
    expected = [everything(*family) for family in FAMILIES]
    assert len({str(one) for one in expected}) == THREADS
    results = at_once(*(lambda family=family: everything(*family) for family in FAMILIES))
    assert results == [[one] * 5 for one in expected]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family[0]).__name__)
def test_one_model_of_each_family_in_all_threads(family: Any) -> None:
    expected = everything(*family)
    results = at_once(*(lambda: everything(*family) for _ in range(THREADS)))
    assert results == [[expected] * 5] * THREADS


def test_errors_stay_in_their_threads() -> None:
    """Half of the threads measure what raises, on the model that the others measure."""
    model = mlp(16)
    expected = counted(model)

    def refused() -> str:
        with pytest.raises(nnprof.NnprofError) as caught:
            nnprof.measure(model, (4, 33))
        return str(caught.value)

    message = refused()
    calls = [refused, lambda: counted(model)] * (THREADS // 2)
    assert at_once(*calls) == [[message] * 5, [expected] * 5] * (THREADS // 2)


def test_real_forwards_compute_meanwhile() -> None:
    """Of the very modules that other threads trace: values, and buffers, are the real ones."""
    norm = nn.BatchNorm1d(32)
    models = [nn.Sequential(nn.Linear(32, 32), norm.eval()) for _ in range(THREADS // 2)]
    x = torch.randn(6, 32)
    expected = [model(x).detach() for model in models]

    def computed(model: nn.Module) -> Tensor:
        out: Tensor = model(x)
        return out.detach()

    calls: list[Any] = [lambda model=model: computed(model) for model in models]
    calls += [lambda model=model: counted(model) for model in models]
    results = at_once(*calls)
    for one, outputs in zip(expected, results, strict=False):
        for out in outputs:
            torch.testing.assert_close(out, one)


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
