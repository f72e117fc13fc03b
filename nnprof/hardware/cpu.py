"""A CPU by its cores, clock and instruction set: this machine's, or one that is described."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnprof.errors import InputError
from nnprof.hardware.rates import SIMD
from nnprof.hardware.resolve import named
from nnprof.hardware.spec import Hardware

__all__ = ["Facts", "described", "facts", "model_name", "of_this_machine", "peaks"]

# Which DDR is fitted, and in how many channels, no ordinary user can read: a guess, and said so.
GUESSED_BANDWIDTH_OF_CORE = 12e9
GUESSED_BANDWIDTH_OF_SOCKET = 200e9
_BANDWIDTH_NOTE = (
    "the bandwidth is a guess (12 GB/s a core, at most 200 GB/s a socket), as it cannot be read: "
    "calibrate"
)

_DEFAULT_CACHE = 32 * 2**20
_DEFAULT_CLOCK = 2.5e9
_ZEN4 = 25  # AMD's family of Zen 3 and Zen 4; of the two only Zen 4 has AVX-512


def peaks(simd: str, cores: int, clock_hz: float) -> tuple[dict[str, float], dict[str, float]]:
    """FLOP/s by precision of `cores`: of matrix products, and of ordinary arithmetic."""
    rates = SIMD[simd]
    vector = {name: cores * clock_hz * rate for name, rate in rates.vector.items()}
    return vector | {n: cores * clock_hz * rate for n, rate in rates.matrix.items()}, vector


# A CPU that is described.


def described(options: str) -> Hardware:
    """x86.toml with other numbers: "cores=16,ghz=3.0,simd=avx512,gb_per_s=300,cache_mib=64,gib=64".

    Without `gb_per_s` the bandwidth is guessed by the cores.
    """
    base = named("x86")
    given = _parse(options)
    cores = int(given.get("cores", base.compute_units))
    clock_hz = float(given["ghz"]) * 1e9 if "ghz" in given else base.clock_hz
    simd = str(given.get("simd", "avx2"))
    bandwidth = float(given["gb_per_s"]) * 1e9 if "gb_per_s" in given else _guess(cores, 1)
    flops, vector = peaks(simd, cores, clock_hz)
    return replace(
        base,
        name=f"x86:cores={cores},ghz={clock_hz / 1e9:g},simd={simd}",
        title=f"x86 CPU, {cores} cores of {clock_hz / 1e9:g} GHz with {simd}",
        compute_units=cores,
        clock_hz=clock_hz,
        cache_bytes=round(float(given["cache_mib"]) * 2**20)
        if "cache_mib" in given
        else base.cache_bytes,
        memory_bytes=round(float(given["gib"]) * 2**30) if "gib" in given else base.memory_bytes,
        bandwidth=bandwidth,
        flops=flops,
        vector_flops=vector,
        source="derived",
        sources=("peaks: cores x clock x FLOP per clock of the instruction set", "the rest: given"),
        notes=() if "gb_per_s" in given else (_BANDWIDTH_NOTE,),
        aliases=(),
    )


def _parse(options: str) -> dict[str, str | float]:
    known = ("cores", "ghz", "simd", "gb_per_s", "cache_mib", "gib")
    given: dict[str, str | float] = {}
    for option in options.split(","):
        key, _, value = (part.strip().lower() for part in option.partition("="))
        if key not in known:
            raise InputError(f"x86:{options}: {key!r} is none of {', '.join(known)}")
        if key == "simd":
            given[key] = _simd_called(value)
            continue
        try:
            number = int(value) if key == "cores" else float(value)
        except ValueError:
            number = 0
        if not 0 < number < float("inf"):
            raise InputError(f"x86:{options}: {key}={value!r} is no positive number")
        given[key] = number
    return given


def _simd_called(name: str) -> str:
    simd = name.replace("_", "-")
    if simd not in SIMD:
        raise InputError(f"no instruction set is called {name!r}: take {', '.join(SIMD)}")
    return simd


def _guess(cores: int, sockets: int) -> float:
    return min(cores * GUESSED_BANDWIDTH_OF_CORE, sockets * GUESSED_BANDWIDTH_OF_SOCKET)


# The CPU that is here.


@dataclass(frozen=True)
class Facts:
    """What the machine says of its CPU."""

    model: str
    machine: str  # "x86_64", "aarch64"...
    simd: str
    cores: int
    sockets: int
    clock_hz: float
    clock_from: str
    cache_bytes: int | None
    cache_cpus: int  # CPUs that share one such cache
    memory_bytes: int


def of_this_machine(threads: int) -> Hardware:
    """The CPU as `threads` of PyTorch can use it: peaks derived, bandwidth guessed."""
    seen = facts()
    cores = min(threads, seen.cores)
    flops, vector = peaks(seen.simd, cores, seen.clock_hz)
    notes = [_BANDWIDTH_NOTE, f"the clock is from {seen.clock_from}"]
    if threads < seen.cores:
        notes.append(f"{threads} of {seen.cores} cores, as torch.get_num_threads() says")
    if seen.simd == "neon":
        notes.append("the width of the ARM core's units is a guess: calibrate")
    if seen.cache_bytes is None:
        notes.append("the last cache is a guess: /sys does not tell")
    caches = -(-threads // seen.cache_cpus)
    return Hardware(
        name="-".join(re.findall(r"\w+", seen.model.lower())) or "cpu",
        title=f"{seen.model or 'CPU'}, {cores} cores with {seen.simd}",
        kind="cpu",
        architecture="x86" if seen.machine in ("x86_64", "amd64") else "arm",
        compute_units=cores,
        clock_hz=seen.clock_hz,
        cache_bytes=caches * (seen.cache_bytes or _DEFAULT_CACHE),
        memory_bytes=seen.memory_bytes,
        bandwidth=_guess(cores, seen.sockets),
        flops=flops,
        vector_flops=vector,
        source="derived",
        sources=(
            "units: torch.get_num_threads(), torch.cpu.get_capabilities()",
            f"clock: {seen.clock_from}",
            "peaks: cores x clock x FLOP per clock of the instruction set",
            "cache, memory: /sys, /proc/meminfo",
            "bandwidth: guess",
        ),
        notes=tuple(notes),
    )


def model_name() -> str:
    """As the maker calls it; what the machine calls itself where it does not tell."""
    return (
        _field(_read("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()
    )


def facts() -> Facts:
    """Asks torch, /proc and /sys; what they do not say is guessed on the low side."""
    import torch

    able: dict[str, Any] = dict(torch.cpu.get_capabilities())
    listed = _read("/proc/cpuinfo")
    clock_hz, clock_from = _clock(listed)
    cache_bytes, cache_cpus = _last_cache()
    return Facts(
        model=_field(listed, "model name") or str(able.get("cpu_name") or ""),
        machine=platform.machine().lower(),
        simd=_simd(able, _field(listed, "vendor_id"), int(_field(listed, "cpu family") or 0)),
        cores=int(able.get("num_physical_cores") or os.cpu_count() or 1),
        sockets=int(able.get("num_sockets") or 1),
        clock_hz=clock_hz,
        clock_from=clock_from,
        cache_bytes=cache_bytes,
        cache_cpus=cache_cpus,
        memory_bytes=_memory(),
    )


def _simd(able: dict[str, Any], vendor: str, family: int) -> str:
    if able.get("amx_bf16"):
        return "amx"
    if able.get("avx512_f"):
        if vendor == "AuthenticAMD" and family == _ZEN4:
            return "zen4"
        return "avx512-bf16" if able.get("avx512_bf16") else "avx512"
    if able.get("avx2"):
        return "avx2"
    return "neon" if platform.machine().lower() in ("aarch64", "arm64") else "sse"


def _clock(listed: str) -> tuple[float, str]:
    # /proc/cpuinfo shows what the clock is now: idle cores are slow, a VM shows the nominal one.
    most = _read("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").strip()
    if most.isdigit():
        return int(most) * 1e3, "cpufreq (the most that one core reaches)"
    seen = [float(mhz) for mhz in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", listed, re.MULTILINE)]
    if seen:
        return max(seen) * 1e6, "/proc/cpuinfo (the highest now)"
    return _DEFAULT_CLOCK, "a guess (neither cpufreq nor /proc/cpuinfo tells)"


def _last_cache() -> tuple[int | None, int]:
    """Bytes of cpu0's last cache, and how many CPUs share it."""
    found: tuple[int, int, int] | None = None
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, size = _read(folder / "level").strip(), _read(folder / "size").strip()
        matched = re.fullmatch(r"(\d+)([KM])", size)
        if not level.isdigit() or matched is None:
            continue
        size_bytes = int(matched[1]) * {"K": 2**10, "M": 2**20}[matched[2]]
        cpus = _count(_read(folder / "shared_cpu_list"))
        found = max(found or (0, 0, 0), (int(level), size_bytes, cpus))
    return (found[1], found[2]) if found else (None, os.cpu_count() or 1)


def _count(cpu_list: str) -> int:
    """How many CPUs "0-3,8" are; at least one."""
    total = 0
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", cpu_list):
        total += int(last or first) - int(first) + 1
    return max(total, 1)


def _memory() -> int:
    matched = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return int(matched[1]) * 1024 if matched else 8 * 2**30


def _field(listed: str, name: str) -> str:
    matched = re.search(rf"^{name}\s*:\s*(.*)$", listed, re.MULTILINE)
    return matched[1].strip() if matched else ""


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
