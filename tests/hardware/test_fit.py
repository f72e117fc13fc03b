"""Fits of the time model's constants, against times that the model made with other constants."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import nnprof
from nnprof.errors import MissingExtraError
from nnprof.hardware import find
from nnprof.hardware.fit import errors, fit
from nnprof.timing.estimate import estimate

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnprof import _core
    from nnprof.hardware import Hardware

pytest.importorskip("scipy")

NAMES = ("launch_s", "bandwidth.elementwise", "bandwidth.matmul", "matrix_share")


@pytest.fixture(scope="module")
def calls() -> _core.TraceResult:
    """Products and additions over sizes that tell the constants apart."""

    def run() -> None:
        for power in range(6, 29):
            torch.add(meta(1 << power), meta(1 << power))
        for m, n, k in ((1, 4096, 4096), (1, 8192, 28672), (64, 64, 64), (128, 256, 8192)):
            F.linear(half(m, k), half(n, k))
        for side in range(512, 8193, 512):
            F.linear(half(side, side), half(side, side))

    with torch.no_grad(), nnprof.trace() as running:
        run()
    return running.result


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


def half(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, device="meta")


def timed(calls: _core.TraceResult) -> Callable[[Hardware], list[float]]:
    """What a device takes for those of the calls that take time."""

    def seconds(hardware: Hardware) -> list[float]:
        return [one for one in estimate(calls, hardware).seconds if one]

    return seconds


def changed(hardware: Hardware, factors: dict[str, float]) -> Hardware:
    known = hardware.model_constants()
    values = {name: known[name] * factor for name, factor in factors.items()}
    return replace(hardware, constants={**hardware.constants, **values})


factors = st.floats(0.5, 1.1)


@settings(max_examples=6)
@given(launch=st.floats(0.5, 4), elementwise=factors, matmul=factors, matrix=factors)
def test_recovers_the_constants_that_made_the_times(
    calls: _core.TraceResult, launch: float, elementwise: float, matmul: float, matrix: float
) -> None:
    start = find("h100")
    true = changed(start, dict(zip(NAMES, (launch, elementwise, matmul, matrix), strict=True)))
    noise = np.exp(np.random.default_rng(0).normal(0, 0.02, len(timed(calls)(true))))
    fitted = fit(start, NAMES, timed(calls), timed(calls)(true) * noise)
    for name in NAMES:
        found, wanted = (one.model_constants()[name] for one in (fitted, true))
        assert found == pytest.approx(wanted, rel=0.08), name
    assert errors(timed(calls)(fitted), timed(calls)(true)).mape < 0.03


def test_all_other_constants_stay(calls: _core.TraceResult) -> None:
    start = replace(find("h100"), constants={"split_s": 1e-6})
    times = [2 * seconds for seconds in timed(calls)(start)]
    fitted = fit(start, NAMES, timed(calls), times)
    before, after = start.model_constants(), fitted.model_constants()
    assert {name for name in before if before[name] != after[name]} <= set(NAMES)
    assert after["split_s"] == 1e-6
    assert replace(fitted, constants={}) == replace(start, constants={})
    assert start.constants == {"split_s": 1e-6}


def test_what_fits_already_stays(calls: _core.TraceResult) -> None:
    start = find("h100")
    fitted = fit(start, NAMES, timed(calls), timed(calls)(start))
    for name in NAMES:
        assert fitted.constants[name] == pytest.approx(start.model_constants()[name], rel=1e-3)


def test_outliers_do_not_bend_it(calls: _core.TraceResult) -> None:
    """A tenth of the times twenty times too long: as where another process had the machine."""
    start = find("h100")
    true = changed(start, {"launch_s": 2.0, "bandwidth.elementwise": 0.7})
    times = np.asarray(timed(calls)(true))
    times[::10] *= 20
    fitted = fit(start, NAMES, timed(calls), times.tolist())
    for name in NAMES:
        found, wanted = (one.model_constants()[name] for one in (fitted, true))
        assert found == pytest.approx(wanted, rel=0.15), name


def test_what_nothing_tells_of_stays_at_its_default(calls: _core.TraceResult) -> None:
    start = find("h100")
    names = (*NAMES, "bandwidth.softmax", "step_s")
    times = [1.5 * seconds for seconds in timed(calls)(start)]
    fitted = fit(start, names, timed(calls), times)
    for name in ("bandwidth.softmax", "step_s"):
        assert fitted.constants[name] == pytest.approx(start.model_constants()[name], rel=1e-6)
    assert fitted.constants["launch_s"] > 1.2 * start.model_constants()["launch_s"]


def test_noise_does_not_move_what_the_times_hardly_tell_of() -> None:
    """Of calls of 0.1 ms and more: a launch's 2.5 us are less than the noise."""

    def run() -> None:
        for power in (26, 27, 28):
            torch.relu(meta(1 << power))

    with nnprof.trace() as running:
        run()
    seconds, start = timed(running.result), find("h100")
    times = np.asarray(seconds(start)) * [1.04, 0.98, 1.0]
    fitted = fit(start, ("launch_s", "bandwidth.elementwise"), seconds, times.tolist())
    assert fitted.constants["launch_s"] == pytest.approx(2.5e-6, rel=0.3)
    assert fitted.constants["bandwidth.elementwise"] == pytest.approx(0.9, rel=0.05)


def test_constants_stay_positive_and_within_reason(calls: _core.TraceResult) -> None:
    """Times that no constants explain: a thousandth, and a thousand times as long."""
    start = find("h100")
    for factor in (1e-3, 1e3):
        times = [factor * seconds for seconds in timed(calls)(start)]
        fitted = fit(start, NAMES, timed(calls), times)
        for name in NAMES:
            assert 1 / 8.1 < fitted.constants[name] / start.model_constants()[name] < 8.1


def test_without_scipy_it_says_what_to_install(
    calls: _core.TraceResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingExtraError, match="pip install scipy"):
        fit(find("h100"), NAMES, timed(calls), timed(calls)(find("h100")))


def test_errors_by_hand() -> None:
    found = errors([1.1, 1.8, 3.0, 8.0], [1.0, 2.0, 3.0, 4.0])
    # Signed: 0.1, -0.1, 0, 1. Sizes in order: 0, 0.1, 0.1, 1.
    assert found.n == 4
    assert found.mape == pytest.approx(0.3)
    assert found.median == pytest.approx(0.1)
    assert found.p90 == pytest.approx(0.1 + 0.7 * 0.9)
    assert found.bias == pytest.approx(0.05)
    assert found.weighted == pytest.approx((0.1 + 0.2 + 0 + 4) / 10)
    assert found.to_dict() == {
        "mape": pytest.approx(0.3),
        "p90": pytest.approx(0.73),
        "n": 4.0,
        "bias": pytest.approx(0.05),
    }


def test_errors_of_one_time() -> None:
    found = errors([3.0], [2.0])
    assert (found.n, found.mape, found.median, found.p90, found.bias) == (1, 0.5, 0.5, 0.5, 0.5)
