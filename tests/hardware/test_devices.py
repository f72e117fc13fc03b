"""The data files: every one is complete, plausible, and agrees with what its chip can do."""

from __future__ import annotations

import pytest

from nnprof.hardware import find, names
from nnprof.hardware.rates import ARCHITECTURES, SIMD

GPUS = [name for name in names() if find(name).kind == "gpu"]

# FLOP per clock and unit, from the vendors' papers: fp16 of the matrix units, fp32 and fp64 of the
# ordinary ones. Written here again, so that a slip in a data file or in rates.py shows.
FP16 = {
    "volta": 1024,
    "turing": 1024,
    "ampere": 2048,
    "ampere-pro": 1024,
    "ampere-geforce": 512,
    "ada": 1024,
    "ada-geforce": 512,
    "hopper": 4096,
    "blackwell": 8192,
    "blackwell-geforce": 512,
    "cdna3": 2048,
}
FP32 = {"volta": 128, "turing": 128, "ampere": 128}  # all others 256
FP64 = {"volta": 64, "ampere": 64, "hopper": 128, "blackwell": 128, "cdna3": 128}  # all others 4

# Where the matrix units' peak is quoted at another clock than the ordinary ones', in MHz.
MATRIX_CLOCK = {
    "h100-sxm": 1830,
    "h200-sxm": 1830,
    "h100-pcie": 1620,
    "b200-sxm": 1856,
    "l40s": 2490,
}

# Over fp16 with fp32 accumulate; what the list lacks, no device may have.
OVER_FP16 = {"tf32": 0.5, "bf16": 1, "fp8": 2, "int8": 2, "fp4": 4}
GEFORCE = OVER_FP16 | {"int8": 4, "fp4": 8}  # whose fp16 is halved, and integers are not
LACKING = {
    "volta": {"tf32", "bf16", "fp8", "fp4"},
    "turing": {"tf32", "bf16", "fp8", "fp4"},
    "ampere": {"fp8", "fp4"},
    "ampere-pro": {"fp8", "fp4"},
    "ampere-geforce": {"fp8", "fp4"},
    "ada": {"fp4"},
    "ada-geforce": {"fp4"},
    "hopper": {"fp4"},
    "cdna3": {"fp4"},
}


@pytest.mark.parametrize("name", names())
def test_is_complete_and_plausible(name: str) -> None:
    hardware = find(name)
    assert hardware.name == name
    assert hardware.source == ("datasheet" if hardware.kind == "gpu" else "derived")
    of_datasheet = [text for text in hardware.sources if not text.startswith("process:")]
    assert len(of_datasheet) == (4 if hardware.kind == "gpu" else 3)
    assert not hardware.residuals
    assert not hardware.calibration
    least, most = (38, 400) if hardware.kind == "gpu" else (1, 256)
    assert least <= hardware.compute_units <= most
    assert 1.0e9 <= hardware.clock_hz <= 6e9
    assert 4e6 <= hardware.cache_bytes <= 1e9
    assert 15e9 <= hardware.memory_bytes <= 400e9
    assert 1e11 <= hardware.bandwidth <= 1e13
    assert set(hardware.vector_flops) >= {"fp32", "fp64"}
    assert set(hardware.flops) >= set(hardware.vector_flops)
    assert all(1e11 <= peak <= 2e16 for peak in hardware.flops.values())
    assert all(hardware.flops[p] >= peak for p, peak in hardware.vector_flops.items())


@pytest.mark.parametrize("name", GPUS)
def test_peaks_are_units_times_clock_times_rate(name: str) -> None:
    hardware = find(name)
    per_clock = hardware.compute_units * hardware.clock_hz
    architecture = hardware.architecture
    fp32, fp64 = FP32.get(architecture, 256), FP64.get(architecture, 4)
    assert hardware.vector_flops["fp32"] == pytest.approx(per_clock * fp32, rel=0.02)
    assert hardware.vector_flops["fp64"] == pytest.approx(per_clock * fp64, rel=0.06)
    matrix_clock = MATRIX_CLOCK.get(name, hardware.clock_hz / 1e6) * 1e6
    fp16 = hardware.compute_units * matrix_clock * FP16[architecture]
    assert hardware.flops["fp16"] == pytest.approx(fp16, rel=0.01)
    # The matrix units never run faster than the clock that the file states.
    assert 0.92 <= matrix_clock / hardware.clock_hz <= 1


@pytest.mark.parametrize("name", GPUS)
def test_precisions_follow_from_fp16(name: str) -> None:
    hardware = find(name)
    architecture = hardware.architecture
    over = GEFORCE if architecture.endswith("-geforce") else OVER_FP16
    lacking = LACKING.get(architecture, set())
    for precision, ratio in over.items():
        if precision in lacking or architecture == "cdna3":
            continue
        expected = ratio / 4 if (architecture, precision) == ("volta", "int8") else ratio
        peak = hardware.flops[precision] / hardware.flops["fp16"]
        assert peak == pytest.approx(expected, rel=0.02), precision
    assert not lacking & set(hardware.flops)


@pytest.mark.parametrize("name", GPUS)
def test_rates_give_the_peaks_of_known_devices(name: str) -> None:
    """What derives unknown GPUs would have come within a tenth of every known one."""
    hardware = find(name)
    rates = ARCHITECTURES[hardware.architecture]
    per_clock = hardware.compute_units * hardware.clock_hz
    matrix = {p: r * rates.matrix_clock for p, r in rates.matrix.items()}
    derived = {p: per_clock * r for p, r in {**rates.vector, **matrix}.items()}
    assert set(derived) == set(hardware.flops)
    for precision, peak in hardware.flops.items():
        assert derived[precision] == pytest.approx(peak, rel=0.08), precision


@pytest.mark.parametrize(
    ("name", "bits", "gbps"),  # the bus, and what one of its pins transfers
    [
        ("rtx-3090", 384, 19.5),
        ("rtx-4090", 384, 21.0),
        ("rtx-5090", 512, 28.0),
        ("l4", 192, 12.5),
        ("l40s", 384, 18.0),
        ("a10", 384, 12.5),
        ("t4", 256, 10.0),
        ("a100-sxm-40", 5120, 2.43),
        ("h100-sxm", 5120, 5.23),
        ("v100-sxm", 4096, 1.754),
        ("mi300x", 8192, 5.2),
    ],
)
def test_bandwidth_is_the_bus_times_its_rate(name: str, bits: int, gbps: float) -> None:
    assert find(name).bandwidth == pytest.approx(bits / 8 * gbps * 1e9, rel=0.01)


def test_the_generic_cpu_is_what_its_cores_give() -> None:
    cpu = find("x86")
    for precision, rate in SIMD["avx2"].vector.items():
        assert cpu.flops[precision] == pytest.approx(cpu.compute_units * cpu.clock_hz * rate)
