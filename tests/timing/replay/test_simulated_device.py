"""The events' way of measuring, on a device whose every duration is known: simulated_device.cpp."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from nnprof import _core
from tests.timing.replay.zoo import result_of

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICE = "privateuseone:0"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if not (shutil.which("ninja") and shutil.which("c++")):
        pytest.skip("building the simulated device takes ninja and a C++ compiler")
    from torch.utils.cpp_extension import load

    load(
        "nnprof_simulated_device",
        [str(Path(__file__).with_name("simulated_device.cpp"))],
        extra_cflags=["-O0"],
        is_python_module=False,
        build_directory=str(tmp_path_factory.mktemp("simulated_device")),
    )
    return torch.ops.nnprof_simulated


@pytest.fixture
def simulated(built: Any) -> Iterator[Any]:
    built.reset()
    yield built
    built.reset()


class Model(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(torch.tanh(x).relu_() @ x)


@pytest.fixture(scope="module")
def result() -> _core.TraceResult:
    with torch.no_grad():
        return result_of(Model(), shape=(32, 32))


def replayed(result: _core.TraceResult, **options: Any) -> dict[str, Any]:
    defaults = {"time_budget": 10.0, "memory_limit": None, "warm": True, "flush_bytes": 64 << 20}
    weights = [1.0] * _core.signature_count(result)
    given = defaults | {"progress": None, "weights": weights} | options
    return _core.replay(result, DEVICE, **given)


def seconds_by_op(result: _core.TraceResult, columns: dict[str, Any]) -> dict[str, float]:
    ops = result.ops()
    return {op: columns["seconds"][n] for n, op in zip(ops["signature"], ops["op"], strict=True)}


def test_known_durations_are_found(simulated: Any, result: _core.TraceResult) -> None:
    durations = {"tanh": 3e-6, "relu_": 45e-6, "matmul": 2.5e-3, "sigmoid": 0.4e-3}
    for op, seconds in durations.items():
        simulated.set_duration(f"aten::{'mm' if op == 'matmul' else op}", seconds)
    columns = replayed(result)
    assert columns["status"] == ["measured"] * 4
    found = seconds_by_op(result, columns)
    assert found == {f"aten::{op}": pytest.approx(s, rel=1e-6) for op, s in durations.items()}
    assert columns["discarded"] == [0] * 4
    assert columns["samples"] == [10] * 4  # all alike: no more are needed
    assert all(host > 0 for host in columns["host_s"])


def test_a_slow_host_takes_a_longer_delay(simulated: Any, result: _core.TraceResult) -> None:
    """Samples of a device that had to wait are thrown away, until it does not wait any more."""
    simulated.set_duration("aten::tanh", 3e-6)
    columns = replayed(result)
    usual = simulated.calls("aten::fill_")
    simulated.reset()
    simulated.set_duration("aten::tanh", 3e-6)
    simulated.set_host_a_call(40e-6)  # a fill takes the device 67 us
    columns = replayed(result)
    assert sum(columns["discarded"]) > 0
    assert simulated.calls("aten::fill_") > usual
    assert seconds_by_op(result, columns)["aten::tanh"] == pytest.approx(3e-6, rel=1e-6)


def test_a_device_that_never_lags_is_not_measured(
    simulated: Any, result: _core.TraceResult
) -> None:
    simulated.set_host_a_call(1e-3)  # longer than any fill
    columns = replayed(result)
    assert set(columns["status"]) == {"not replayable"}
    assert columns["seconds"] == [None] * 4
    assert "never lagged" in columns["notes"][0]
    assert min(columns["discarded"]) > 0


def test_the_flush_buffer_counts_as_memory(simulated: Any, result: _core.TraceResult) -> None:
    assert replayed(result, flush_bytes=32 << 20)["peak_bytes"] >= 32 << 20
