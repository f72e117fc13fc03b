"""Names: short ones, drivers' ones, paths, and the ones that look like another device's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nnprof.errors import InputError
from nnprof.hardware import Hardware, find, names
from nnprof.hardware.resolve import by_driver_name

DRIVER_NAMES = {
    "NVIDIA H100 80GB HBM3": "h100-sxm",
    "NVIDIA H100 PCIe": "h100-pcie",
    "NVIDIA H200": "h200-sxm",
    "NVIDIA B200": "b200-sxm",
    "NVIDIA A100-SXM4-80GB": "a100-sxm-80",
    "NVIDIA A100-SXM4-40GB": "a100-sxm-40",
    "A100-SXM4-40GB": "a100-sxm-40",
    "NVIDIA A100 80GB PCIe": "a100-pcie-80",
    "NVIDIA A100-PCIE-40GB": "a100-pcie-40",
    "NVIDIA L40S": "l40s",
    "NVIDIA L4": "l4",
    "NVIDIA A10": "a10",
    "Tesla T4": "t4",
    "NVIDIA T4": "t4",
    "Tesla V100-SXM2-16GB": "v100-sxm-16",
    "Tesla V100-SXM2-32GB": "v100-sxm",
    "Tesla V100-PCIE-16GB": "v100-pcie-16",
    "Tesla V100-PCIE-32GB": "v100-pcie",
    "NVIDIA GeForce RTX 3090": "rtx-3090",
    "NVIDIA GeForce RTX 4090": "rtx-4090",
    "NVIDIA GeForce RTX 5090": "rtx-5090",
    "AMD Instinct MI300X": "mi300x",
    "AMD Instinct MI300X OAM": "mi300x",
}

SHORT = {
    "h100": "h100-sxm",
    "h200": "h200-sxm",
    "b200": "b200-sxm",
    "a100": "a100-sxm-80",
    "v100": "v100-sxm",
    "rtx4090": "rtx-4090",
    "RTX 4090": "rtx-4090",
    "H100_SXM": "h100-sxm",
}


@pytest.mark.parametrize(("called", "name"), [*DRIVER_NAMES.items(), *SHORT.items()])
def test_resolves(called: str, name: str) -> None:
    for spelled in (called, called.lower(), called.upper(), f" {called} "):
        assert find(spelled).name == name


def test_every_gpu_has_a_drivers_name_that_is_tested() -> None:
    assert {name for name in names() if find(name).kind == "gpu"} == set(DRIVER_NAMES.values())


@pytest.mark.parametrize(
    "other",
    [
        "NVIDIA A10G",  # half the matrix rate of an A10
        "NVIDIA A40",
        "NVIDIA A100-SXM-64GB",
        "NVIDIA H100 NVL",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA GH200 480GB",
        "NVIDIA H200 NVL",
        "NVIDIA H20",
        "NVIDIA L40",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "Tesla V100S-PCIE-32GB",
        "AMD Instinct MI300A",
        "NVIDIA",
        "",
    ],
)
def test_another_device_is_not_taken_for_a_known_one(other: str) -> None:
    assert by_driver_name(other) is None
    with pytest.raises(InputError, match="no hardware is called"):
        find(other)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("h10", "h100-sxm"),
        ("h300", "h200-sxm"),
        ("rtx-4080", "rtx-4090"),
        ("NVIDIA H100 NVL", "h100-sxm or h100-pcie"),
        ("quantum", ", ".join(names())),
    ],
)
def test_an_unknown_name_has_close_matches(wrong: str, near: str) -> None:
    with pytest.raises(InputError, match=near):
        find(wrong)


def test_paths(tmp_path: Path) -> None:
    h100 = find("h100")
    file = tmp_path / "mine.json"
    h100.save(file)
    assert find(file) == h100
    assert find(str(file)) == h100
    assert find(h100) is h100
    with pytest.raises(InputError, match=r"absent\.toml cannot be read: No such file"):
        find("absent.toml")
    with pytest.raises(InputError, match=r"ends in \.toml or \.json"):
        find(Path(__file__))


@pytest.mark.parametrize("wrong", [None, 3, b"h100"])
def test_what_is_no_name(wrong: Any) -> None:
    with pytest.raises(InputError, match="a name, a path or a Hardware"):
        find(wrong)


def test_a_described_cpu() -> None:
    cpu = find("x86:cores=16,ghz=3.0,simd=AVX512")
    assert (cpu.kind, cpu.compute_units, cpu.clock_hz) == ("cpu", 16, 3e9)
    assert cpu.flops == {"fp64": 16 * 3e9 * 32, "fp32": 16 * 3e9 * 64}
    assert any("guess" in note for note in cpu.notes)
    assert find(cpu.name) == cpu
    full = find("x86:cores=56,ghz=2,simd=amx,gb_per_s=307,cache_mib=105,gib=512")
    assert full.flops["bf16"] == 56 * 2e9 * 1024
    assert (full.bandwidth, full.cache_bytes, full.memory_bytes) == (307e9, 105 << 20, 512 << 30)
    assert not full.notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("cores=0", "'0' is no positive number"),
        ("cores=1.5", "'1.5' is no positive number"),
        ("ghz=nan", "'nan' is no positive number"),
        ("ghz=inf", "'inf' is no positive number"),
        ("simd=mmx", "no instruction set is called 'mmx': take sse"),
        ("sockets=2", "'sockets' is none of cores, ghz"),
        ("", "'' is none of"),
    ],
)
def test_a_badly_described_cpu(options: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find(f"x86:{options}")


def test_a_hardware_is_not_shared() -> None:
    first: Hardware = find("h100")
    dict.clear(first.flops)  # type: ignore[arg-type]
    assert find("h100").flops
