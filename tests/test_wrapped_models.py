"""Wrappers are looked through: the same numbers at the same paths as the bare model's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nnprof

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHAPE = (4, 3, 16, 16)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def numbers(model: Any, **options: Any) -> tuple[Any, ...]:
    """Totals, and every layer with its costs."""
    profile = nnprof.measure(model, SHAPE, **options)
    layers = [(x.path, x.type, x.calls, x.macs, x.flops, x.bytes) for x in profile.layers]
    return profile.params, profile.macs, profile.flops, profile.bytes, layers


def total(model: Any) -> tuple[int, ...]:
    profile = nnprof.measure(model, SHAPE)
    return profile.params, profile.macs, profile.flops, profile.bytes


@pytest.fixture(autouse=True)
def _compiled_anew() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def frames_compiled() -> int:
    from torch._dynamo.utils import counters

    return sum(counters["frames"].values())


def test_data_parallel() -> None:
    model = Net()
    expected = numbers(model)
    assert numbers(nn.DataParallel(model)) == expected
    assert numbers(model) == expected


@pytest.fixture
def _process_group(tmp_path: Path) -> Iterator[None]:
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("_process_group")
def test_distributed_data_parallel() -> None:
    model = Net()
    expected = numbers(model)
    wrapped = nn.parallel.DistributedDataParallel(model)
    assert numbers(wrapped) == expected
    # And it still trains.
    wrapped(torch.randn(SHAPE)).sum().backward()
    assert model.conv.weight.grad is not None


def test_compiled() -> None:
    model = Net()
    expected = numbers(model)
    before = frames_compiled()
    assert numbers(torch.compile(model)) == expected
    assert numbers(torch.compile(nn.DataParallel[Any](torch.compile(model)))) == expected
    assert frames_compiled() == before


def test_compiled_in_place() -> None:
    expected = numbers(Net())
    model = Net()
    model.compile(backend="eager")
    assert numbers(model) == expected


def test_compiled_submodule() -> None:
    model = Net()
    expected = total(model)
    model.head = torch.compile(model.head, backend="eager")  # type: ignore[assignment]
    assert total(model) == expected
    model = Net()
    model.head.compile(backend="eager")
    assert total(model) == expected


def test_decorated_forward() -> None:
    class Decorated(Net):
        forward = torch.compile(Net.forward, backend="eager")

    assert total(Decorated()) == total(Net())


def test_decorated_function() -> None:
    @torch.compile(backend="eager")
    def activation(x: Tensor) -> Tensor:
        return F.silu(x) * 2

    class Calls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = activation(self.conv(x))
            return out

    class Plain(Calls):
        def forward(self, x: Tensor) -> Tensor:
            return F.silu(self.conv(x)) * 2

    assert total(Calls()) == total(Plain())


def test_a_function_that_was_compiled_before_is_compiled_no_second_time() -> None:
    model = Net().eval()
    compiled = torch.compile(model, backend="eager")
    x = torch.randn(SHAPE)
    with torch.no_grad():
        expected = compiled(x)
        before = frames_compiled()
        assert before > 0
        assert numbers(compiled) == numbers(model)
        torch.testing.assert_close(compiled(x), expected)
    assert frames_compiled() == before


def test_the_stance_of_dynamo_is_put_back() -> None:
    import torch._dynamo.eval_frame as eval_frame

    before = eval_frame._stance
    nnprof.measure(Net(), SHAPE)
    assert eval_frame._stance == before


def test_dynamo_is_not_loaded_for_a_model_that_needs_none() -> None:
    import subprocess
    import sys

    code = (
        "import sys, torch, nnprof;"
        "nnprof.measure(torch.nn.Linear(20, 2), (4, 20)).macs;"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("train", [True, False])
def test_scripted(train: bool) -> None:
    model = Net().train(train)
    expected = total(model)
    scripted = torch.jit.script(model)
    for _ in range(3):  # the profiling executor rewrites the graph after the first calls
        assert total(scripted) == expected


def test_scripted_submodule() -> None:
    model = Net()
    expected = total(model)
    model.head = torch.jit.script(model.head)  # type: ignore[assignment]
    assert total(model) == expected


def test_traced_by_jit() -> None:
    model = Net().eval()
    traced = torch.jit.trace(model, torch.randn(SHAPE))  # type: ignore[no-untyped-call]
    assert total(traced) == total(model)


def test_captured_by_fx() -> None:
    model = Net()
    assert total(torch.fx.symbolic_trace(model)) == total(model)


def test_exported() -> None:
    model = Net().eval()
    exported = torch.export.export(model, (torch.randn(SHAPE),)).module()
    assert nnprof.measure(exported, SHAPE).macs == nnprof.measure(model, SHAPE).macs


@pytest.mark.parametrize("wrap", [nn.utils.parametrizations.weight_norm])
def test_parametrized_weights(wrap: Any) -> None:
    model = Net()
    macs = nnprof.measure(model, SHAPE).macs
    wrap(model.conv)
    profile = nnprof.measure(model, SHAPE)
    assert profile.macs == macs
    assert profile.params == sum(p.numel() for p in model.parameters())


def test_functional_call() -> None:
    model = Net()
    weights = {name: torch.empty_like(p, device="meta") for name, p in model.named_parameters()}

    def call(x: Tensor) -> Any:
        return torch.func.functional_call(model, weights, (x,))

    assert nnprof.measure(call, SHAPE).macs == nnprof.measure(model, SHAPE).macs


def test_a_module_called_twice_and_one_never_called() -> None:
    class Reuses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(20, 20)
            self.unused = nn.Linear(20, 3)
            self.through_its_weight = nn.Linear(20, 20)

        def forward(self, x: Tensor) -> Tensor:
            x = self.layer(self.layer(x))
            return F.linear(x, self.through_its_weight.weight)

    model = Reuses()
    profile = nnprof.measure(model, (4, 20))
    assert profile["layer"].calls == 2
    assert profile["layer"].macs == 2 * 4 * 400
    assert profile.macs == 3 * 4 * 400
    assert profile.params == sum(p.numel() for p in model.parameters())
    assert profile.facts.never_called == ("unused",)
