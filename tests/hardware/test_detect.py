"""The device that is here: GPUs by properties that the tests make up, CPUs by the facts of one."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from nnprof.errors import InputError
from nnprof.hardware import calibration_path, cpu, detect, find, for_device, identity
from nnprof.hardware.rates import ARCHITECTURES, NVIDIA, SIMD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

H100: dict[str, Any] = {
    "name": "NVIDIA H100 80GB HBM3",
    "major": 9,
    "minor": 0,
    "multi_processor_count": 132,
    "total_memory": 85_000_000_000,
    "L2_cache_size": 52_428_800,
    "clock_rate": 1_980_000,
    "memory_clock_rate": 2_619_000,
    "memory_bus_width": 5120,
    "gcnArchName": "",
    "uuid": "GPU-1234",
}
A10G = H100 | {
    "name": "NVIDIA A10G",
    "major": 8,
    "minor": 6,
    "multi_processor_count": 80,
    "total_memory": 23_600_000_000,
    "L2_cache_size": 6_291_456,
    "clock_rate": 1_710_000,
    "memory_clock_rate": 6_251_000,
    "memory_bus_width": 384,
}
CPU = cpu.Facts(
    model="A CPU @ 2",
    machine="x86_64",
    simd="avx512",
    cores=8,
    sockets=1,
    clock_hz=2e9,
    clock_from="a test",
    cache_bytes=16 << 20,
    cache_cpus=4,
    memory_bytes=64 << 30,
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNPROF_CACHE_DIR", str(tmp_path))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this a machine with one GPU of such properties."""

    def make(**properties: Any) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        known = SimpleNamespace(**properties)
        monkeypatch.setattr(detect, "gpu_properties", lambda device: known)

    return make


@pytest.fixture
def one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "facts", lambda: CPU)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)


def test_a_known_gpu_has_the_datasheets_numbers(gpu: Callable[..., None]) -> None:
    gpu(**H100)
    known = for_device("cuda")
    sold, total = find("h100-sxm"), H100["total_memory"]
    process = {**sold.process, "total": total}
    assert known == replace(sold, memory_bytes=total, process=process)
    assert find("cuda") == find("cuda:0") == known


def test_an_unknown_gpu_is_derived_and_says_so(gpu: Callable[..., None]) -> None:
    gpu(**A10G)
    derived = for_device(torch.device("cuda", 0))
    assert (derived.name, derived.title) == ("nvidia-a10g", "NVIDIA A10G")
    assert (derived.source, derived.architecture) == ("derived", "ampere-geforce")
    assert derived.notes[0].startswith("derived: there is no data file for this GPU")
    assert derived.flops["fp32"] == pytest.approx(80 * 1.71e9 * 256)
    assert derived.flops["bf16"] == pytest.approx(80 * 1.71e9 * 512)
    assert derived.bandwidth == pytest.approx(600e9, rel=0.001)
    assert (derived.cache_bytes, derived.memory_bytes) == (6_291_456, 23_600_000_000)
    assert derived.model_constants()


@pytest.mark.parametrize(
    ("name", "clocks"),
    [
        ("h100-sxm", {"memory_clock_rate": 2_619_000, "memory_bus_width": 5120}),
        ("rtx-4090", {"memory_clock_rate": 10_501_000, "memory_bus_width": 384}),
        ("a100-sxm-40", {"memory_clock_rate": 1_215_000, "memory_bus_width": 5120}),
        ("t4", {"memory_clock_rate": 5_001_000, "memory_bus_width": 256}),
    ],
)
def test_deriving_a_known_gpu_gives_nearly_its_datasheet(name: str, clocks: dict[str, Any]) -> None:
    known = find(name)
    capability = {pair: key for key, names in NVIDIA.items() for pair in names}
    major, minor = capability[known.architecture]
    properties = H100 | clocks
    properties |= {
        "name": known.match[0],
        "major": major,
        "minor": minor,
        "multi_processor_count": known.compute_units,
        "clock_rate": known.clock_hz / 1e3,
    }
    derived = detect.derived(SimpleNamespace(**properties))
    assert derived.architecture == known.architecture
    assert derived.bandwidth == pytest.approx(known.bandwidth, rel=0.01)
    assert derived.flops == pytest.approx(dict(known.flops), rel=0.08)


@pytest.mark.parametrize(
    ("change", "architecture"),
    [
        ({"name": "NVIDIA GeForce RTX 3080"}, "ampere-geforce"),
        ({"name": "NVIDIA RTX A6000"}, "ampere-pro"),
        ({"name": "NVIDIA GeForce RTX 2080 Ti", "major": 7, "minor": 5}, "turing-geforce"),
        ({"name": "NVIDIA GeForce GTX 1660", "major": 7, "minor": 5}, "turing-gtx"),
        ({"name": "NVIDIA GH200 480GB", "major": 9, "minor": 0}, "hopper"),
        ({"name": "NVIDIA RTX PRO 6000", "major": 12, "minor": 0}, "blackwell-pro"),
        ({"name": "AMD Instinct MI250X", "gcnArchName": "gfx90a:sramecc+:xnack-"}, "cdna2"),
    ],
)
def test_architectures(change: dict[str, Any], architecture: str) -> None:
    assert detect.derived(SimpleNamespace(**A10G | change)).architecture == architecture


def test_every_architecture_that_may_be_derived_has_rates() -> None:
    assert {one for pair in NVIDIA.values() for one in pair} <= set(ARCHITECTURES)


def test_a_newer_gpu_is_taken_as_the_one_before_and_says_so() -> None:
    derived = detect.derived(
        SimpleNamespace(**H100 | {"name": "NVIDIA B300", "major": 10, "minor": 3})
    )
    assert derived.architecture == "blackwell"
    assert "compute capability 10.3 is taken as 10.0" in derived.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"clock_rate": 0},
            "NVIDIA A10G has no data file, and its driver does not tell its clock_",
        ),
        ({"memory_bus_width": None}, "does not tell its memory_bus_width"),
        ({"major": 5, "minor": 2}, r"nothing is known of NVIDIA A10G \(compute capability 5.2\)"),
        (
            {"gcnArchName": "gfx1100"},
            r"nothing is known of NVIDIA A10G \(gfx1100\): pass hardware=",
        ),
    ],
)
def test_what_cannot_be_derived(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        detect.derived(SimpleNamespace(**A10G | change))


def test_a_slice_of_a_gpu_is_its_share(gpu: Callable[..., None]) -> None:
    gpu(
        **H100
        | {
            "name": "NVIDIA H100 80GB HBM3 MIG 3g.40gb",
            "multi_processor_count": 66,
            "total_memory": 40 << 30,
        }
    )
    part, whole = for_device("cuda"), find("h100-sxm")
    assert (part.source, part.compute_units) == ("derived", 66)
    assert part.bandwidth == whole.bandwidth / 2
    assert part.flops["bf16"] == whole.flops["bf16"] / 2
    assert part.notes[0].startswith("derived: 66 of the 132 units of h100-sxm")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("meta", "nothing is known of 'meta' devices"),
        ("gpu", "'gpu' is no device: pass 'cpu' or 'cuda'"),
        (3.5, "3.5 is no device"),
    ],
)
def test_what_is_no_device(device: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        for_device(device)


def test_a_gpu_that_is_not_there(gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(**H100)
    with pytest.raises(InputError, match="there is no cuda:1 here, only 1"):
        for_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="there is no cuda here: pass hardware= by name"):
        for_device("cuda")


# The CPU.


@pytest.mark.usefixtures("one_cpu")
def test_a_cpu_is_its_usable_cores() -> None:
    here = for_device("cpu")
    assert (here.name, here.kind, here.architecture) == ("a-cpu-2", "cpu", "x86")
    assert here.compute_units == 6
    assert here.flops == {"fp64": 6 * 2e9 * 32, "fp32": 6 * 2e9 * 64}
    assert here.bandwidth == 6 * 12e9
    assert here.cache_bytes == 2 * (16 << 20)  # six threads reach two of them
    assert any(note.startswith("the bandwidth is a guess") for note in here.notes)
    assert "the clock is from a test" in here.notes
    assert "6 of 8 cores, as torch.get_num_threads() says" in here.notes


def test_this_cpu() -> None:
    here = for_device("cpu", calibrated=False)
    assert find("cpu").kind == "cpu"
    assert 1 <= here.compute_units <= torch.get_num_threads()
    assert 5e8 < here.clock_hz < 1e10
    assert here.memory_bytes > 1e8
    assert here.cache_bytes > 1e5
    assert here.flops["fp32"] > 1e9
    assert here.source == "derived"


@pytest.mark.parametrize(
    ("able", "vendor", "family", "simd"),
    [
        ({"avx2": True}, "GenuineIntel", 6, "avx2"),
        ({"avx2": True, "avx512_f": True}, "GenuineIntel", 6, "avx512"),
        ({"avx512_f": True, "avx512_bf16": True}, "GenuineIntel", 6, "avx512-bf16"),
        ({"avx512_f": True, "avx512_bf16": True}, "AuthenticAMD", 25, "zen4"),
        ({"avx512_f": True, "avx512_bf16": True}, "AuthenticAMD", 26, "avx512-bf16"),
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": True}, "GenuineIntel", 6, "amx"),
    ],
)
def test_instruction_sets(able: dict[str, bool], vendor: str, family: int, simd: str) -> None:
    assert cpu._simd(able, vendor, family) == simd
    assert simd in SIMD


def test_the_clock_says_where_it_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_read", lambda path: "3700000\n")
    assert cpu._clock("") == (3.7e9, "cpufreq (the most that one core reaches)")
    monkeypatch.setattr(cpu, "_read", lambda path: "")
    listed = "cpu MHz\t\t: 800.0\ncpu MHz\t\t: 2600.5\n"
    assert cpu._clock(listed) == (2600.5e6, "/proc/cpuinfo (the highest now)")
    assert cpu._clock("")[1].startswith("a guess")


def test_a_machine_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_read", lambda path: "")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    here = for_device("cpu")
    assert here.compute_units >= 1
    assert any("the last cache is a guess" in note for note in here.notes)


@pytest.mark.parametrize(("cpus", "count"), [("0", 1), ("0-3", 4), ("0-1,8-9\n", 4), ("", 1)])
def test_lists_of_cpus(cpus: str, count: int) -> None:
    assert cpu._count(cpus) == count


# Calibrations.


def calibrated(device: str, change: dict[str, Any] | None = None) -> Path:
    hardware = for_device(device, calibrated=False)
    path = calibration_path(hardware, device)
    path.parent.mkdir(parents=True, exist_ok=True)
    known = identity(device) | (change or {})
    replace(hardware, source="measured", bandwidth=1e9, calibration=known).save(path)
    return path


@pytest.mark.usefixtures("one_cpu")
def test_a_calibration_of_the_cpu_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    path = calibrated("cpu")
    assert path.name == "a-cpu-2-6-threads.json"
    assert (for_device("cpu").source, for_device("cpu").bandwidth) == ("measured", 1e9)
    assert find("cpu").source == "measured"
    assert for_device("cpu", calibrated=False).source == "derived"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert for_device("cpu").source == "derived"


def test_a_calibration_of_a_gpu_is_of_that_gpu(gpu: Callable[..., None]) -> None:
    gpu(**H100)
    assert calibrated("cuda").name == "h100-sxm-GPU-1234.json"
    assert for_device("cuda").source == "measured"
    gpu(**H100 | {"uuid": "GPU-5678"})
    assert for_device("cuda").source == "datasheet"


@pytest.mark.usefixtures("one_cpu")
def test_a_calibration_of_another_device_is_warned_about() -> None:
    path = calibrated("cpu", {"device": "Another CPU"})
    with pytest.warns(
        UserWarning, match="is of another device: its device is 'Another CPU'"
    ) as seen:
        assert for_device("cpu").source == "derived"
    assert str(path) in str(seen[0].message)


@pytest.mark.usefixtures("one_cpu")
def test_a_broken_calibration_is_warned_about() -> None:
    path = calibrated("cpu")
    path.write_text("{")
    with pytest.warns(UserWarning, match="cannot be used.*is no JSON.*go on with derived") as seen:
        assert for_device("cpu").source == "derived"
    assert str(path) in str(seen[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for_device("cpu", calibrated=False)


@pytest.mark.usefixtures("one_cpu")
def test_the_users_cache_directory_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NNPROF_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    path = calibration_path(for_device("cpu", calibrated=False), "cpu")
    assert "nnprof" in path.parts
    assert not path.parent.exists()


@pytest.mark.gpu
def test_the_gpu_that_is_here() -> None:
    here = for_device("cuda", calibrated=False)
    properties = torch.cuda.get_device_properties(0)
    assert here.compute_units == properties.multi_processor_count
    derived = detect.derived(properties)
    assert derived.flops["fp32"] == pytest.approx(here.flops["fp32"], rel=0.15)
