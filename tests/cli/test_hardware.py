"""`nnprof hardware`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nnprof.hardware import find, names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNPROF_CACHE_DIR", str(tmp_path))


def test_lists_every_device(run: Callable[..., Any]) -> None:
    result = run("hardware", "list")
    assert result.code == 0
    lines = result.out.splitlines()
    assert " ".join(lines[0].split()) == "Name Device Units bf16 fp16 fp32 GiB GB/s Source"
    assert [line.split()[0] for line in lines[2:]] == names()
    row = next(line for line in lines if line.startswith("h100-sxm"))
    assert row.split()[-7:] == ["132", "989.4", "989.4", "66.9", "80", "3350", "datasheet"]


@pytest.mark.parametrize("name", names())
def test_shows_every_device(name: str, run: Callable[..., Any]) -> None:
    result = run("hardware", "show", name)
    hardware = find(name)
    assert result.code == 0
    assert result.out.startswith(hardware.title)
    for text in (*hardware.sources, *hardware.notes, *hardware.match, *hardware.aliases):
        assert text in result.out
    for constant in hardware.model_constants():
        assert f"  {constant} " in result.out
    assert f"{hardware.source}, not calibrated" in result.out


def test_shows_units(run: Callable[..., Any]) -> None:
    lines = [line.split(maxsplit=1) for line in run("hardware", "show", "H100").out.splitlines()]
    shown = {line[0]: line[1] for line in lines if len(line) == 2}
    assert shown["units"] == "132 units at 1980 MHz"
    assert shown["memory"] == "80 GiB at 3350 GB/s"
    assert shown["cache"] == "50 MiB"
    assert shown["bf16"] == "989.4 TFLOP/s"
    assert shown["int8"] == "1979 TOP/s"


def test_shows_a_file_and_what_was_calibrated(run: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    replace(
        find("h100"),
        source="measured",
        constants={"launch_s": 2e-6},
        residuals={"matmul": {"mape": 0.06, "p90": 0.17, "n": 48.0}},
        calibration={"device": "NVIDIA H100 80GB HBM3", "uuid": "GPU-1234"},
    ).save(file)
    out = run("hardware", "show", file).out
    assert "2e-06 (its own)" in out
    assert "matmul  mape 0.06, p90 0.17, n 48" in out
    assert "uuid    GPU-1234" in out
    assert "not calibrated" not in out


def test_shows_this_cpu(run: Callable[..., Any]) -> None:
    result = run("hardware", "show", "cpu")
    assert result.code == 0
    assert "cores at" in result.out
    assert "FLOP/s" in result.out
    assert "the bandwidth is a guess" in result.out


def test_a_wrong_name_is_the_users(run: Callable[..., Any]) -> None:
    result = run("hardware", "show", "h10")
    assert result.code == 1
    assert "nnprof: error: no hardware is called 'h10': did you mean h100-sxm" in result.err
    assert run("hardware", "show").code == 2


def test_calibrate_looks_at_the_file_first(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnprof.timing.calibrate.calibrate", None)
    result = run("hardware", "calibrate", "cpu", "--output", "gone/mine.json")
    assert (result.code, "cannot write gone/mine.json" in result.err) == (1, True)
