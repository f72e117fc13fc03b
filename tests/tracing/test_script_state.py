"""Scripted modules hold their state in C++: it is put back, too."""

# TorchScript reads annotations itself: they must not be strings here.
from typing import Any, Optional

import pytest
import torch
from torch import Tensor, nn

import nnprof

ROWS, SIZE = 4, 40


def totals(profile: nnprof.Profile) -> tuple[int, ...]:
    return profile.macs, profile.flops, profile.bytes


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.calls


class Scripted(nn.Module):
    """Keeps state of all kinds that TorchScript knows."""

    state: Tensor
    last: Optional[Tensor]  # noqa: UP045  TorchScript knows no other way to write it
    history: list[Tensor]
    table: dict[str, list[int]]

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.part = nn.Linear(SIZE, SIZE), Part()
        self.register_buffer("state", torch.zeros(ROWS, SIZE))
        self.calls, self.scale, self.name = 0, 1.0, "new"
        self.last = None
        self.history = []
        self.table = {"sizes": [1]}
        self.pair = (0, [torch.zeros(2)])

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.scale *= 2.0
        self.name = self.name + "er"
        self.state = self.layer(x) + self.state
        self.last = self.state
        self.history.append(self.state)
        self.table["sizes"].append(x.size(0))
        self.table["more"] = [2]
        self.pair[1].append(x)
        return self.part(self.state) * self.scale


def held(model: Any) -> Any:
    simple = model.calls, model.scale, model.name, model.last, model.table, model.part.calls
    tensors = [model.state, *model.history, *model.pair[1]]
    return simple, [(t.device.type, t.tolist()) for t in tensors], model.training


@pytest.mark.parametrize("how", ["model", "function", "method", "in a module", "eval"])
def test_scripted_modules(how: str) -> None:
    x = torch.randn(ROWS, SIZE)
    model = torch.jit.script(Scripted())
    expected = torch.jit.script(Scripted())
    expected.load_state_dict(model.state_dict())
    expected(x)
    model(x)  # both hold something by now

    def evaluated(x: Tensor) -> Any:
        model.eval()
        return model(x)

    measured: Any = {
        "model": model,
        "function": lambda x: model(x),
        "method": model.forward,
        "in a module": nn.Sequential(model),
        "eval": evaluated,
    }[how]
    before = held(model)
    profiles = [totals(nnprof.measure(measured, (ROWS, SIZE))) for _ in range(3)]
    assert len(set(profiles)) == 1
    assert held(model) == before
    torch.testing.assert_close(model(x), expected(x), rtol=0, atol=0)


@pytest.mark.parametrize("load", [False, True])
def test_traced_and_loaded_modules(load: bool, tmp_path: Any) -> None:
    model = torch.jit.script(Scripted())
    if load:
        model.save(str(tmp_path / "model.pt"))
        model = torch.jit.load(str(tmp_path / "model.pt"))
    before = held(model)
    nnprof.measure(model, (ROWS, SIZE))
    assert held(model) == before
    model(torch.randn(ROWS, SIZE))
    assert model.calls == 1
