"""Calibrations, of devices whose times are those of the model with other constants."""

from __future__ import annotations

import json
import random
import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

import nnprof
from nnprof.base.contention import Disturbance
from nnprof.cli import main
from nnprof.errors import DisturbedError, InputError, MissingExtraError
from nnprof.hardware import Hardware, calibration_path, find, for_device, identity
from nnprof.hardware.fit import errors
from nnprof.hardware.probes import Group, Probes, groups
from nnprof.results.time_records import Measurements
from nnprof.timing.calibrate import calibrate, save
from nnprof.timing.estimate import estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from nnprof import _core

pytest.importorskip("scipy")

#: How the device that is measured differs from what is thought of a CPU.
TRUE = {
    "launch_s": 2.0,
    "bandwidth.elementwise": 0.6,
    "vector_share": 0.5,
    "bandwidth.matmul": 0.7,
    "bandwidth.softmax": 0.8,
    "launches.convolution": 0.7,
    "convolution": 0.6,
    "depthwise": 0.5,
    "attention.cpu.share_64": 0.7,
    "kind.tanh": 1.5,
}


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Calibrations go to a folder of the test, and one thread measures."""
    monkeypatch.setenv("NNPROF_CACHE_DIR", str(tmp_path))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeing(disturbance: Disturbance) -> Callable[[], AbstractContextManager[Disturbance]]:
    return lambda: nullcontext(disturbance)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs beside the tests."""
    monkeypatch.setattr("nnprof.timing.calibrate.observed", seeing(Disturbance()))


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch, _quiet: None) -> None:
    """Others have the processors for a third of the time."""
    seen = seeing(Disturbance(lost=0.33, others=1.5))
    monkeypatch.setattr("nnprof.timing.calibrate.observed", seen)


def true_device() -> Hardware:
    start = for_device("cpu", calibrated=False)
    known = start.model_constants()
    return replace(start, constants={n: known[n] * factor for n, factor in TRUE.items()})


class Measured:
    """Stands in for `timing.replay.replay`: each call takes what `hardware` is estimated to."""

    def __init__(self, hardware: Hardware, **changed: Any) -> None:
        self.hardware = hardware
        self.changed = changed
        self.result: _core.TraceResult | None = None
        self.options: dict[str, Any] = {}

    def __call__(self, result: _core.TraceResult, device: Any, **options: Any) -> Measurements:
        self.result, self.options = result, options
        seconds: list[float | None] = [
            one or None for one in estimate(result, self.hardware).seconds
        ]
        values: dict[str, Any] = {
            "device": str(device),
            "conditions": {"torch": "2.13", "threads": 1, "seed": 0, "deterministic": False},
            "seconds": seconds,
            "low_s": seconds,
            "high_s": seconds,
            "fastest_s": seconds,
            "warm_s": [None] * len(seconds),
            "host_s": [None] * len(seconds),
            "samples": [10] * len(seconds),
            "discarded": [0] * len(seconds),
            "status": ["measured" if one else "view" for one in seconds],
            "notes": [""] * len(seconds),
            "interrupted": False,
            "took_s": 1.5,
            "peak_bytes": 1,
        }
        return Measurements(**values | self.changed)


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Measured]:
    def use(hardware: Hardware, **changed: Any) -> Measured:
        fake = Measured(hardware, **changed)
        monkeypatch.setattr("nnprof.timing.replay.replay", fake)
        return fake

    return use


def test_a_fitted_device_predicts_what_was_measured(measuring: Callable[..., Measured]) -> None:
    start, true = for_device("cpu", calibrated=False), true_device()
    fake = measuring(true)
    fitted = calibrate("cpu", time_budget=7)
    assert fake.options["time_budget"] == 7
    assert fake.result is not None
    took, before, after = (
        [seconds for seconds in estimate(fake.result, one).seconds if seconds]
        for one in (true, start, fitted)
    )
    assert errors(before, took).mape > 0.25
    assert errors(after, took).mape < 0.05
    for name, residual in fitted.residuals.items():
        assert residual["mape"] < 0.1, name
        assert residual["n"] >= 3
    assert set(fitted.residuals) >= {
        *("matmul", "convolution", "attention", "elementwise", "softmax", "layer_norm"),
        *("normalization", "reduction", "pooling", "copy", "gather"),
    }


def test_it_predicts_models_that_it_never_saw(measuring: Callable[..., Measured]) -> None:
    from nnprof.base.packages import import_torchvision

    model = import_torchvision().models.resnet18().eval()
    true = true_device()
    measuring(true)
    fitted = calibrate("cpu")
    wanted, found, before = (
        nnprof.measure(model, (4, 3, 224, 224), hardware=one).estimated_s
        for one in (true, fitted, for_device("cpu", calibrated=False))
    )
    assert found == pytest.approx(wanted, rel=0.1)
    assert before != pytest.approx(wanted, rel=0.2)


def test_what_it_says_of_itself(measuring: Callable[..., Measured]) -> None:
    measuring(true_device())
    fitted = calibrate("cpu")
    assert fitted.source == "measured"
    assert fitted.name == for_device("cpu", calibrated=False).name
    assert fitted.calibration.items() >= {**identity("cpu"), "took_s": 1.5}.items()
    # The error of an estimate is now what remained here.
    profile = nnprof.measure(torch.nn.Linear(64, 64), (64, 64), hardware=fitted)
    assert profile.times is not None
    (one,) = profile.times.by_signature
    assert one.error == pytest.approx(fitted.residuals["matmul"]["mape"])


def test_a_saved_one_is_what_the_device_is_from_then_on(
    measuring: Callable[..., Measured], tmp_path: Path
) -> None:
    measuring(true_device())
    fitted = calibrate("cpu")
    path = save(fitted, "cpu")
    assert path == calibration_path(fitted, "cpu")
    assert tmp_path in path.parents
    assert for_device("cpu") == fitted
    assert find("cpu") == fitted
    assert find(path) == fitted
    assert for_device("cpu", calibrated=False).source == "derived"
    profile = nnprof.measure(torch.nn.ReLU(), (4,), hardware="cpu")
    assert profile.hardware == fitted
    torch.set_num_threads(2)  # what was measured with one thread is not of two
    assert for_device("cpu").source == "derived"


def test_calibrating_again_starts_anew(measuring: Callable[..., Measured]) -> None:
    measuring(true_device())
    first = calibrate("cpu")
    save(first, "cpu")
    assert calibrate("cpu").constants == first.constants


@pytest.mark.usefixtures("busy")
def test_what_a_busy_machine_says_is_not_kept(
    measuring: Callable[..., Measured], tmp_path: Path
) -> None:
    measuring(true_device())
    with pytest.raises(DisturbedError, match=r"not kept: .* for 0\.33 s of every second"):
        calibrate("cpu")
    assert main(["hardware", "calibrate", "cpu"]) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_fits_badly_is_not_kept_and_the_old_one_stays(
    measuring: Callable[..., Measured],
) -> None:
    measuring(true_device())
    save(first := calibrate("cpu"), "cpu")

    class Scattered(Measured):
        def __call__(self, result: _core.TraceResult, device: Any, **options: Any) -> Measurements:
            found = super().__call__(result, device, **options)
            draw = random.Random(0)
            wild = [one and one * draw.choice((0.3, 3)) for one in found.seconds]
            return replace(found, seconds=wild, low_s=wild)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nnprof.timing.replay.replay", Scattered(true_device()))
        with pytest.raises(DisturbedError, match=r"off by .* in the mean, more than 25%"):
            calibrate("cpu")
    assert for_device("cpu") == first


def test_calibrations_are_listed_and_forgotten(
    measuring: Callable[..., Measured], capsys: pytest.CaptureFixture[str]
) -> None:
    measuring(true_device(), conditions={"date": "2026-01-02T03:04:05"})
    path = save(calibrate("cpu"), "cpu")
    assert main(["hardware", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()[-1]
    assert listed.startswith(path.stem)
    assert "2026-01-02" in listed
    assert listed.endswith("%")
    assert main(["hardware", "forget", "another"]) != 0
    assert path.stem in capsys.readouterr().err
    assert main(["hardware", "forget", path.stem]) == 0
    assert not path.exists()
    assert for_device("cpu").source == "derived"


def test_a_calibration_that_cannot_be_read_is_listed_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "calibrations"
    folder.mkdir()
    (folder / "broken.json").write_text("{")
    assert main(["hardware", "list"]) == 0
    assert "cannot be read" in capsys.readouterr().out


def test_interrupted(measuring: Callable[..., Measured], tmp_path: Path) -> None:
    measuring(true_device(), interrupted=True)
    with pytest.raises(KeyboardInterrupt):
        calibrate("cpu")
    assert list(tmp_path.iterdir()) == []


def test_nothing_measured_is_no_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing(Measured):
        def __call__(self, result: _core.TraceResult, device: Any, **options: Any) -> Measurements:
            found = super().__call__(result, device, **options)
            count = len(found.seconds)
            return replace(
                found,
                seconds=[None] * count,
                status=["no memory"] * count,
                notes=["all is taken"] * count,
            )

    monkeypatch.setattr("nnprof.timing.replay.replay", Nothing(true_device()))
    with pytest.raises(
        InputError,
        match=r"too little could be measured, 0 of \d+ calls: give more time.*all is taken",
    ):
        calibrate("cpu")


def test_little_measured_leaves_the_rest_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only products were timed, nothing else is fitted."""

    class Products(Measured):
        def __call__(self, result: _core.TraceResult, device: Any, **options: Any) -> Measurements:
            found = super().__call__(result, device, **options)
            classes = estimate(result, self.hardware).op_class
            kept = [
                one if of == "matmul" else None
                for one, of in zip(found.seconds, classes, strict=True)
            ]
            return replace(found, seconds=kept)

    monkeypatch.setattr("nnprof.timing.replay.replay", Products(true_device()))
    fitted, start = calibrate("cpu"), for_device("cpu", calibrated=False)
    assert set(fitted.residuals) == {"matmul"}
    changed = {
        name
        for name, value in fitted.model_constants().items()
        if value != start.model_constants()[name]
    }
    assert "vector_share" in changed
    assert not any("softmax" in name or "attention" in name for name in changed)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no cuda device is there"):
        calibrate("cuda")


def test_without_scipy_nothing_is_measured_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute's measuring must not be lost to a missing package."""
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("measured")

    monkeypatch.setattr("nnprof.timing.replay.replay", never)
    with pytest.raises(MissingExtraError, match="pip install scipy"):
        calibrate("cpu")


# What is timed.


@pytest.mark.parametrize("name", ["x86", "h100", "a100", "v100-sxm", "t4", "rtx-4090", "mi300x"])
def test_every_probe_makes_one_call_and_every_constant_is_known(name: str) -> None:
    hardware = find(name)
    probed = groups(hardware)
    probes = [probe for group in probed for probe in group.probes]
    assert len(probes) > 100
    assert {constant for group in probed for constant in group.constants} <= set(
        hardware.model_constants()
    )
    with torch.no_grad(), nnprof.trace(model := Probes(probes)) as running:
        model()
    seconds, names = estimate(running.result, hardware).seconds, running.result.signatures()["op"]
    calls = running.result.call_index()["signature"].tolist()
    # Zeros are the indices of lookups.
    made = [number for number in calls if seconds[number] and names[number] != "aten::zeros"]
    assert len(made) == len(probes)


@pytest.mark.parametrize("name", ["x86", "h100", "t4"])
def test_the_times_tell_of_the_constants_that_are_fitted(name: str) -> None:
    """A constant that no probe of its group depends on would be fitted to nothing."""
    hardware = find(name)
    for group in groups(hardware):
        with torch.no_grad(), nnprof.trace(model := Probes(list(group.probes))) as running:
            model()
        before = estimate(running.result, hardware).seconds
        for constant in group.constants:
            value = hardware.model_constants()[constant]
            if not value:
                continue
            other = replace(hardware, constants={**hardware.constants, constant: 0.7 * value})
            assert estimate(running.result, other).seconds != before, (group.name, constant)


def test_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For real, of small additions: what it finds is not tested, only that it is something."""

    def small(hardware: Hardware) -> list[Group]:
        additions = groups(hardware)[0]
        probes = [one for one in additions.probes if one.shapes[0][0] < 20_000]
        return [replace(additions, probes=tuple(probes))]

    monkeypatch.setattr("nnprof.timing.calibrate.groups", small)
    file = tmp_path / "mine.json"
    assert main(["hardware", "calibrate", "cpu", "--time-budget", "4", "--output", str(file)]) == 0
    captured = capsys.readouterr()
    assert f"written to {file}" in captured.out
    assert "elementwise" in captured.out
    assert captured.err == ""
    found = find(file)
    assert (found.source, found.kind) == ("measured", "cpu")
    assert set(found.residuals) == {"elementwise"}
    assert all(0 < value < float("inf") for value in found.constants.values())
    assert found.calibration.items() >= identity("cpu").items()
    assert json.loads(file.read_text())["source"] == "measured"
    profile = nnprof.measure(torch.nn.Linear(64, 64), (64, 64), hardware=file)
    assert profile.estimated_s
    assert for_device("cpu").source == "derived"  # it was written elsewhere


def test_too_little_time_is_said() -> None:
    """Of all probes, for real."""
    with pytest.raises(InputError, match=r"too little could be measured, \d+ of \d+ calls"):
        calibrate("cpu", time_budget=0.01)
