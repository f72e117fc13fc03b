"""Reading and writing a device's numbers, and the constants of the time model."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nnprof.errors import InputError
from nnprof.hardware import Hardware, find, load, names, time_model

if TYPE_CHECKING:
    from pathlib import Path

CARD = """
title = "A card"
kind = "gpu"
architecture = "hopper"
[units]
compute_units = 10
clock_mhz = 1000
source = "here"
[matrix_tflops]
bf16 = 2
source = "there"
[vector_tflops]
fp32 = 1
source = "there"
[memory]
gib = 8
gb_per_s = 500
cache_mib = 4
source = "elsewhere"
"""


def card(tmp_path: Path, old: str = "", new: str = "", more: str = "") -> Path:
    assert old in CARD
    file = tmp_path / "card.toml"
    file.write_text(CARD.replace(old, new) + more)
    return file


def test_units(tmp_path: Path) -> None:
    hardware = load(card(tmp_path))
    assert hardware.name == "card"
    assert hardware.clock_hz == 1e9
    assert hardware.flops == {"fp32": 1e12, "bf16": 2e12}
    assert hardware.vector_flops == {"fp32": 1e12}
    assert (hardware.memory_bytes, hardware.cache_bytes) == (8 << 30, 4 << 20)
    assert hardware.bandwidth == 500e9
    assert hardware.sources == (
        "units: here",
        "matrix peaks: there",
        "ordinary peaks: there",
        "memory: elsewhere",
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "A card"', "", "'title' is missing"),
        ('title = "A card"', "title = 3", "'title' must be a text, not 3"),
        ('"gpu"', '"tpu"', "'kind' must be 'gpu' or 'cpu', not 'tpu'"),
        ("clock_mhz = 1000", "clock_mhz = -1", "units: 'clock_mhz' must be a positive number"),
        ("clock_mhz = 1000", "clock_mhz = inf", "units: 'clock_mhz' must be a positive number"),
        ("clock_mhz", "clock_ghz", "units: 'clock_mhz' is missing"),
        ("compute_units = 10", "compute_units = 1.5", "'compute_units' must be a positive whole"),
        ("compute_units = 10", "compute_units = true", "'compute_units' must be a positive whole"),
        ("bf16", "bf61", "matrix_tflops: no precision is called 'bf61': did you mean 'bf16'"),
        ("bf16 = 2", 'bf16 = "2"', "matrix_tflops: 'bf16' must be a positive number, not '2'"),
        ("fp32 = 1\n", "fp64 = 1\n", "the ordinary units have no fp32 peak"),
        ('source = "elsewhere"', "", "memory: 'source' is missing"),
        ("gib = 8", "gib = 8\ngigs = 3", "memory: no key is called 'gigs'"),
        ("[units]", "alias = ['c']\n[units]", "no key is called 'alias': did you mean 'aliases'"),
        ("[units]", "notes = 'c'\n[units]", "'notes' must be a list of texts"),
        ("[units]", "[unit", "is no TOML"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    file = card(tmp_path, old, new)
    with pytest.raises(InputError) as raised:
        load(file)
    assert str(file) in str(raised.value)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "a table of values is expected, not list"),
        ("{", "is no JSON"),
        ("{}", "'name' is missing"),
    ],
)
def test_a_wrong_json(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "card.json"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        load(file)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "card.json"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        load(file)


@pytest.mark.parametrize("name", names())
def test_round_trips(name: str, tmp_path: Path) -> None:
    hardware = replace(
        find(name),
        source="measured",
        constants={"matrix_share": 0.8},
        residuals={"matmul": {"mape": 0.06, "p90": 0.17, "n": 48.0}},
        calibration={"device": "A card", "threads": 4},
    )
    assert Hardware.from_dict(json.loads(json.dumps(hardware.to_dict()))) == hardware
    hardware.save(tmp_path / "saved.json")
    assert load(tmp_path / "saved.json") == hardware
    assert pickle.loads(pickle.dumps(hardware)) == hardware


def test_is_saved_as_json_only(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"name the file \.json"):
        find("h100").save(tmp_path / "h100.toml")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("bandwidth", float("nan"), "'bandwidth' must be a positive number"),
        ("source", "rumour", "'source' must be 'datasheet' or 'derived' or 'measured'"),
        ("flops", {"fp17": 1.0}, "flops: no precision is called 'fp17'"),
        ("constants", {"matrix_shar": 1.0}, "did you mean 'matrix_share'"),
        ("constants", {"matrix_share": "1"}, "constants: 'matrix_share' must be a number"),
        ("residuals", {"matmul": 1.0}, "residuals: 'matmul' must be a table"),
        ("calibration", {"device": []}, "calibration: 'device' must be a text or a number"),
        ("colour", "green", "no key is called 'colour'"),
    ],
)
def test_a_wrong_value(key: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Hardware.from_dict(find("h100").to_dict() | {key: value})


def test_constants_of_the_device_win(tmp_path: Path) -> None:
    before = load(card(tmp_path)).model_constants()
    hardware = load(card(tmp_path, more="[constants]\nlaunch_s = 1e-6\n"))
    assert hardware.constants == {"launch_s": 1e-6}
    assert hardware.model_constants() == before | {"launch_s": 1e-6}


def test_a_constant_that_the_model_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no constant is called 'lunch_s': did you mean 'launch_s"):
        load(card(tmp_path, more="[constants]\nlunch_s = 1e-6\n"))


def test_constants_merge_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {
        "default": {"a": 1, "b": 1, "c": 1, "bandwidth": {"softmax": 1.0, "copy": 1}},
        "kind": {"gpu": {"b": 2, "c": 2, "bandwidth": {"copy": 2}}},
        "architecture": {"hopper": {"c": 3}},
    }
    monkeypatch.setattr(time_model, "_tables", lambda _: tables)
    assert time_model.constants("gpu", "hopper") == {
        "a": 1.0,
        "b": 2.0,
        "c": 3.0,
        "bandwidth.softmax": 1.0,
        "bandwidth.copy": 2.0,
    }
    assert time_model.constants("cpu", "x86")["b"] == 1
    assert replace(find("h100"), constants={"c": 4.0}).model_constants()["c"] == 4


@pytest.mark.parametrize("value", [True, "fast", [1]])
def test_a_constant_is_a_number(value: Any) -> None:
    with pytest.raises(InputError, match=r"constant 'a\.b' of the time model must be a number"):
        time_model.flatten({"a": {"b": value}})


def test_every_device_knows_its_constants() -> None:
    for name in names():
        assert all(isinstance(v, float) for v in find(name).model_constants().values())


def test_saving_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing") as caught:
        find("h100").save(tmp_path / "missing" / "h100.json")
    assert isinstance(caught.value, FileNotFoundError)
