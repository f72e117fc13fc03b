"""When something goes wrong half way: what was measured is kept, the rest says why it is not there,
and the process is as before."""

from __future__ import annotations

import resource
import signal
import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnprof import _core
from nnprof.errors import InputError
from nnprof.results.time_records import Measurements
from nnprof.timing.replay import replay
from tests.timing.replay.zoo import result_of, traced

STATUSES = {
    *("measured", "scaled", "view", "not replayable"),
    *("failed", "no memory", "no time", "interrupted"),
}


@pytest.fixture(scope="module")
def resnet() -> _core.TraceResult:
    return traced("resnet18")


def measure(result: _core.TraceResult, **options: Any) -> Measurements:
    """A replay on the CPU, after which the process is as before."""
    generator = torch.get_rng_state()
    try:
        return replay(result, "cpu", **options)
    finally:
        assert torch.equal(torch.get_rng_state(), generator)
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not _core.tracing()


def check(measured: Measurements, result: _core.TraceResult) -> None:
    """Each signature has a status, and a time if and only if that says so."""
    count = _core.signature_count(result)
    intervals = (measured.low_s, measured.high_s)
    columns = (measured.seconds, measured.fastest_s)
    every = (*columns, *intervals, measured.status, measured.notes)
    assert {len(column) for column in every} == {count}
    for number, status in enumerate(measured.status):
        assert status in STATUSES
        timed = status in ("measured", "scaled")
        assert all((column[number] is not None) == timed for column in columns)
        assert (measured.samples[number] > 0) == timed
        assert all((one[number] is not None) == (measured.samples[number] > 6) for one in intervals)
    assert Measurements.from_dict(measured.to_dict()) == measured


def test_what_is_measured(resnet: _core.TraceResult) -> None:
    measured = measure(resnet, time_budget=3)
    check(measured, resnet)
    assert set(measured.status) <= {"measured", "view", "no time"}
    assert "measured" in measured.status
    assert measured.conditions["threads"] == torch.get_num_threads()
    assert not measured.interrupted
    assert measured.host_s == [None] * len(measured.status)
    for low, median, high in zip(measured.low_s, measured.seconds, measured.high_s, strict=True):
        assert low is None or low <= median <= high  # type: ignore[operator]


def test_out_of_time(resnet: _core.TraceResult) -> None:
    start = time.perf_counter()
    measured = measure(resnet, time_budget=0.05)
    check(measured, resnet)
    assert time.perf_counter() - start < 5
    assert "no time" in measured.status


def test_the_most_expensive_come_first(resnet: _core.TraceResult) -> None:
    expected = [1e-6] * _core.signature_count(resnet)
    expected[-1] = 0.02  # the classifier
    measured = measure(resnet, expected_s=expected, time_budget=0.1)
    assert measured.status[-1] == "measured"


def test_what_takes_longer_than_the_budget_is_not_begun(resnet: _core.TraceResult) -> None:
    expected = [1e-6] * _core.signature_count(resnet)
    expected[-1] = 1.0  # the classifier, made three times at least
    measured = measure(resnet, expected_s=expected, time_budget=1)
    assert measured.status[-1] == "no time"
    assert "longer than what is left" in measured.notes[-1]
    assert "measured" in measured.status


@pytest.mark.parametrize("limit", [1, 100_000])
def test_out_of_memory(resnet: _core.TraceResult, limit: int) -> None:
    measured = measure(resnet, time_budget=2, memory_limit=limit)
    check(measured, resnet)
    assert "no memory" in measured.status
    assert measured.peak_bytes <= limit
    assert ("measured" in measured.status) == (limit > 1)
    notes = dict(zip(measured.status, measured.notes, strict=True))
    assert "MiB" in notes["no memory"]


def test_a_part_of_the_batch() -> None:
    result = result_of(nn.Linear(64, 64), shape=(4096, 64))
    whole = measure(result, time_budget=1)
    # Both: 1 MiB of rows and as much of results.
    part = measure(result, time_budget=1, memory_limit=1 << 20)
    check(part, result)
    assert (whole.status, part.status) == (["measured"], ["scaled"])
    assert "one of 4 parts" in part.notes[0]
    assert part.peak_bytes <= 1 << 20


@torch.library.custom_op("nnprof_replay_test::raises", mutates_args=())
def raises(x: Tensor) -> Tensor:
    raise ValueError("no luck with this one")


@raises.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("nnprof_replay_test::interrupts", mutates_args=())
def interrupts(x: Tensor) -> Tensor:
    raise KeyboardInterrupt


@interrupts.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def around(operator: Any) -> _core.TraceResult:
    class Around(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(operator(torch.tanh(x)))

    return result_of(Around(), shape=(4, 64))


def test_an_operator_that_raises() -> None:
    result = around(raises)
    measured = measure(result, time_budget=1)
    check(measured, result)
    assert measured.status == ["measured", "failed", "measured"]
    assert "no luck with this one" in measured.notes[1]


def test_an_operator_that_is_interrupted() -> None:
    result = around(interrupts)
    measured = measure(result, time_budget=1, expected_s=[3e-3, 2e-3, 1e-3])
    assert measured.interrupted
    assert measured.status[0] == "measured"
    assert measured.status[2] == "interrupted"


def test_interrupted_by_the_display(resnet: _core.TraceResult) -> None:
    seen = []

    def progress(done: int, of: int, op: str) -> None:
        seen.append((done, of, op))
        if done == 3:
            raise KeyboardInterrupt

    measured = measure(resnet, time_budget=5, progress=progress)
    check(measured, resnet)
    assert measured.interrupted
    assert measured.status.count("measured") == 3
    assert "interrupted" in measured.status
    assert "no time" not in measured.status
    assert [done for done, _, _ in seen] == [1, 2, 3]
    assert seen[0][2].startswith("aten::")


def test_interrupted_by_a_signal(resnet: _core.TraceResult) -> None:
    def progress(done: int, *_: Any) -> None:
        if done == 1:
            signal.setitimer(signal.ITIMER_REAL, 0.001)

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        start = time.perf_counter()
        measured = measure(resnet, time_budget=60, progress=progress)
    finally:
        signal.signal(signal.SIGALRM, before)
    check(measured, resnet)
    assert measured.interrupted
    assert time.perf_counter() - start < 10


def test_what_a_display_raises_is_raised(resnet: _core.TraceResult) -> None:
    def progress(*_: Any) -> None:
        raise ZeroDivisionError("a bug of the display")

    with pytest.raises(ZeroDivisionError, match="a bug of the display"):
        measure(resnet, time_budget=5, progress=progress)


def test_wrong_arguments(resnet: _core.TraceResult) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no cuda device is there to measure on: pass device="):
            replay(resnet, "cuda")
    with pytest.raises(InputError, match="is no device"):
        replay(resnet, "abacus")
    with pytest.raises(InputError, match="expected_s has 1 entries"):
        measure(resnet, expected_s=[1.0])
    with pytest.raises(InputError, match="time_budget"):
        measure(resnet, time_budget=0)
    with pytest.raises(InputError, match="memory_limit"):
        measure(resnet, memory_limit=0)


def test_memory_is_given_back() -> None:
    result = result_of(nn.Linear(2048, 2048), shape=(1, 2048))  # 16 MiB, in many copies

    def resident_kib() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    measure(result, time_budget=0.5)
    before = resident_kib()
    for _ in range(4):
        measure(result, time_budget=0.5)
    assert resident_kib() - before < 100 << 10


def test_inside_of_autocast_and_inference_mode() -> None:
    """Neither is what was recorded: a replay does not see them."""
    result = result_of(nn.Linear(64, 64), shape=(4, 64))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert replay(result, "cpu", time_budget=0.5).status == ["measured"]
        (output,) = _core.replayed_outputs(result, 0, "cpu")
    assert output["dtype"] == "float32"


@torch.library.custom_op("nnprof_replay_test::halves", mutates_args=())
def halves(x: Tensor) -> Tensor:
    return x.flatten()[::2].clone()


@halves.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def test_an_output_of_another_size() -> None:
    """As of operators whose output depends on values that nobody knows."""
    result = around(halves)
    measured = measure(result, time_budget=20)  # the first call of a Python kernel takes long
    assert measured.status == ["measured", "not replayable", "measured"]
    assert "another size than recorded" in measured.notes[1]
