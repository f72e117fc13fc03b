"""The device that is here: its data file or its properties, and its calibration if there is one."""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nnprof.base.devices import as_device
from nnprof.errors import InputError
from nnprof.hardware import cpu, rates
from nnprof.hardware.resolve import by_driver_name
from nnprof.hardware.spec import Hardware, load

__all__ = [
    "CACHE_DIR",
    "calibration_path",
    "calibrations_folder",
    "derived",
    "for_device",
    "gpu_properties",
    "identity",
]

#: The environment variable that says where calibrations are kept.
CACHE_DIR = "NNPROF_CACHE_DIR"


def for_device(device: torch.device | str, calibrated: bool = True) -> Hardware:
    """What the device that is here can do.

    A GPU has a data file under its driver's name, or is derived from its properties. A CPU is
    derived, as `torch.get_num_threads()` threads can use it. With `calibrated`, what was measured
    on this very device replaces both; a file of it that cannot be used is warned about.

    Raises:
        InputError: there is no such device here, or nothing is known of its kind.
    """
    device = _checked(device)
    hardware = _from_datasheet(device)
    if not calibrated:
        return hardware
    return _calibrated(hardware, device) or hardware


def gpu_properties(device: torch.device) -> Any:
    """What torch says of a GPU: the only question asked of the driver, so that tests can answer."""
    return torch.cuda.get_device_properties(device)


def _checked(device: torch.device | str) -> torch.device:
    device = as_device(device)
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"nothing is known of {device.type!r} devices: pass hardware= by name")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"there is no {device} here: pass hardware= by name, such as 'h100'")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"there is no {device} here, only {torch.cuda.device_count()} of them")
    return device


# Datasheet or derived.

# How drivers name a slice of a GPU: its properties say how large it is.
_SLICE = re.compile(r"\s+MIG\s.*")

_DERIVED_NOTE = (
    "derived: there is no data file for this GPU; peaks and bandwidth follow from the driver's "
    "properties and may be some 10% off, or more under a power limit"
)
_AMD_NOTE = (
    "the bandwidth may be half of what it is, where AMD's driver states half the memory clock"
)


def _from_datasheet(device: torch.device) -> Hardware:
    if device.type == "cpu":
        return cpu.of_this_machine(torch.get_num_threads())
    properties = gpu_properties(device)
    known = by_driver_name(_SLICE.sub("", properties.name))
    if known is None:
        return derived(properties)
    units = int(properties.multi_processor_count)
    if units < known.compute_units:
        return _part(known, properties)
    # What the driver lets a program use is less than what the datasheet says.
    total = int(properties.total_memory)
    return replace(known, memory_bytes=total, process=dict(known.process) | {"total": total})


def _part(whole: Hardware, properties: Any) -> Hardware:
    """A slice of a known GPU (MIG), or a variant with fewer units: its share of the whole."""
    units, memory = int(properties.multi_processor_count), int(properties.total_memory)
    of_units, of_memory = units / whole.compute_units, min(1.0, memory / whole.memory_bytes)
    note = (
        f"derived: {units} of the {whole.compute_units} units of {whole.name}; bandwidth and cache "
        f"are taken as its {of_memory:.0%} of the memory"
    )
    return replace(
        whole,
        name=f"{whole.name}-{units}",
        title=str(properties.name),
        compute_units=units,
        cache_bytes=int(whole.cache_bytes * of_memory),
        memory_bytes=memory,
        process=dict(whole.process) | {"total": memory},
        bandwidth=whole.bandwidth * of_memory,
        flops={name: value * of_units for name, value in whole.flops.items()},
        vector_flops={name: value * of_units for name, value in whole.vector_flops.items()},
        source="derived",
        notes=(note, *whole.notes),
        aliases=(),
        match=(),
    )


def derived(properties: Any) -> Hardware:
    """A GPU without a data file: units x clock x what its architecture does in a clock.

    `properties` are those of `torch.cuda.get_device_properties`, whose clocks are in kHz.
    """
    title = str(properties.name)
    architecture, notes = _architecture(properties)
    clock_hz = _property(properties, "clock_rate") * 1e3
    memory_clock_hz = _property(properties, "memory_clock_rate") * 1e3
    bandwidth = 2 * memory_clock_hz * _property(properties, "memory_bus_width") / 8
    units = int(properties.multi_processor_count)
    rate = rates.ARCHITECTURES[architecture]
    vector = {name: units * clock_hz * flop for name, flop in rate.vector.items()}
    matrix = {
        name: units * clock_hz * rate.matrix_clock * flop for name, flop in rate.matrix.items()
    }
    return Hardware(
        name="-".join(re.findall(r"\w+", title.lower())),
        title=title,
        kind="gpu",
        architecture=architecture,
        compute_units=units,
        clock_hz=clock_hz,
        cache_bytes=int(_property(properties, "L2_cache_size")),
        memory_bytes=int(properties.total_memory),
        process={"total": int(properties.total_memory)},
        bandwidth=bandwidth,
        flops=vector | matrix,
        vector_flops=vector,
        source="derived",
        sources=(
            "units, clock, cache, memory: the driver's properties",
            f"peaks: units x clock x FLOP per clock of {architecture}",
            "bandwidth: 2 x memory clock x bus width",
        ),
        notes=(
            _DERIVED_NOTE,
            *notes,
        ),
    )


def _architecture(properties: Any) -> tuple[str, tuple[str, ...]]:
    amd = str(getattr(properties, "gcnArchName", "")).partition(":")[0]
    if amd.startswith("gfx"):
        if amd not in rates.AMD:
            raise InputError(
                f"nothing is known of {properties.name} ({amd}): pass hardware= as the path of a "
                ".toml with its numbers"
            )
        return rates.AMD[amd], (_AMD_NOTE,)
    capability = int(properties.major), int(properties.minor)
    older = [known for known in rates.NVIDIA if known <= capability]
    if not older:
        raise InputError(
            f"nothing is known of {properties.name} (compute capability {_dotted(capability)}): "
            "pass hardware= as the path of a .toml with its numbers"
        )
    geforce, other = rates.NVIDIA[max(older)]
    words = set(properties.name.lower().split())
    architecture = geforce if words & rates.GEFORCE else other
    if architecture == "turing-geforce" and "gtx" in words:
        architecture = "turing-gtx"  # sold without tensor cores
    if max(older) == capability:
        return architecture, ()
    note = f"compute capability {_dotted(capability)} is taken as {_dotted(max(older))}"
    return architecture, (note,)


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def _property(properties: Any, name: str) -> float:
    value = float(getattr(properties, name, 0) or 0)
    if value <= 0:
        raise InputError(
            f"{properties.name} has no data file, and its driver does not tell its {name}: pass "
            "hardware= as the path of a .toml with its numbers"
        )
    return value


# Calibrations.


def identity(device: torch.device | str) -> dict[str, str | float]:
    """What makes a measurement valid for this device only: its name, and its uuid or its threads.

    A calibration keeps it in `Hardware.calibration`.
    """
    device = _checked(device)
    if device.type == "cpu":
        return {"device": cpu.facts().model, "threads": torch.get_num_threads()}
    properties = gpu_properties(device)
    uuid = getattr(properties, "uuid", None)
    known: dict[str, str | float] = {"device": str(properties.name)}
    if uuid:
        known["uuid"] = str(uuid)
    return known


def calibration_path(hardware: Hardware, device: torch.device | str) -> Path:
    """Where the calibration of this device is kept, whether there is one or not.

    Under $NNPROF_CACHE_DIR, or the user's cache directory.
    """
    known = identity(device)
    of_device = f"{known['threads']}-threads" if "threads" in known else known.get("uuid", "")
    stem = "-".join(filter(None, (hardware.name, str(of_device))))
    stem = re.sub(r"[^\w.-]+", "-", stem)
    return calibrations_folder() / f"{stem}.json"


def calibrations_folder() -> Path:
    """Where all calibrations are kept."""
    return _cache() / "calibrations"


def _cache() -> Path:
    if folder := os.environ.get(CACHE_DIR):
        return Path(folder).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("nnprof", appauthor=False)


def _calibrated(hardware: Hardware, device: torch.device) -> Hardware | None:
    path = calibration_path(hardware, device)
    if not path.exists():
        return None
    try:
        measured = load(path)
    except InputError as error:
        _warn(f"the calibration cannot be used: {error}", hardware)
        return None
    for key, value in identity(device).items():
        if measured.calibration.get(key) != value:
            _warn(
                f"the calibration {path} is of another device: its {key} is "
                f"{measured.calibration.get(key)!r}, not {value!r}",
                hardware,
            )
            return None
    return measured


def _warn(text: str, hardware: Hardware) -> None:
    warnings.warn(f"{text}. Estimates go on with {hardware.source} numbers", stacklevel=4)
