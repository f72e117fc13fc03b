"""Made-up times for made-up traces: of a device that nobody sells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nnprof.hardware import Hardware
from nnprof.results.time_records import EndToEnd, Estimates, Measurements, Timeline
from nnprof.results.times import Times

if TYPE_CHECKING:
    from nnprof.results.profile import Profile
    from nnprof.results.records import TraceData

GPU = Hardware(
    name="toy",
    title="Toy 9000",
    kind="gpu",
    architecture="hopper",
    compute_units=10,
    clock_hz=1e9,
    cache_bytes=1 << 20,
    memory_bytes=1 << 30,
    bandwidth=1e11,
    flops={"fp32": 1e12},
    vector_flops={"fp32": 1e12},
)
#: What the estimates are off by, by signature and repeating.
FACTORS = (1.1, 0.8, 1.0, 1.5, 0.95)


def estimates(data: TraceData, hardware: Hardware = GPU) -> Estimates:
    """A roofline of the made-up device."""
    ops = data.ops()
    numbers = [int(number) for number in ops["signature"]]
    first = [numbers.index(number) for number in range(max(numbers) + 1)]
    flops = [float(ops["flops"][call]) for call in first]
    moved = [float(ops["bytes_read"][call] + ops["bytes_written"][call]) for call in first]
    compute, memory = [count / 1e12 for count in flops], [count / 1e11 for count in moved]
    seconds = [max(pair) for pair in zip(compute, memory, strict=True)]
    device = sum(seconds[number] for number in numbers)
    products = [ops["macs"][call] > 0 for call in first]
    return Estimates(
        hardware=hardware,
        op_class=["matmul" if product else "elementwise" for product in products],
        bound=["compute" if c > m else "memory" for c, m in zip(compute, memory, strict=True)],
        seconds=seconds,
        compute_s=compute,
        memory_s=memory,
        host_s=[4e-6] * len(first),
        flops=flops,
        bytes=moved,
        peak=[1e12] * len(first),
        error=[0.12 if product else 0.1 for product in products],
        timeline=Timeline(device, 4e-6 * len(numbers), device + 3e-6),
    )


def measurements(guesses: Estimates, status: dict[int, str] | None = None) -> Measurements:
    """Each measured, but for the signatures in `status`; "scaled" has a time, others do not."""
    count = len(guesses.seconds)
    status = status or {}
    every = [status.get(n, "measured") for n in range(count)]
    timed = [one in ("measured", "scaled") for one in every]
    seconds = [
        guess / FACTORS[n % len(FACTORS)] if timed[n] else None
        for n, guess in enumerate(guesses.seconds)
    ]
    warm = [
        0.7 * time if time and bound == "memory" else None
        for time, bound in zip(seconds, guesses.bound, strict=True)
    ]
    notes = {"failed": "RuntimeError: no kernel", "scaled": "one of 4 parts was timed"}
    return Measurements(
        device="cuda:0",
        conditions={
            "device_name": "Toy 9000",
            "torch": "2.13.0",
            "date": "2026-01-02T03:04:05",
            "lost_share": 0.004,
            "other_processors": 0.1,
        },
        seconds=seconds,
        low_s=[0.98 * time if time else None for time in seconds],
        high_s=[1.03 * time if time else None for time in seconds],
        fastest_s=[0.97 * time if time else None for time in seconds],
        warm_s=warm,
        host_s=[4e-6 if time else None for time in seconds],
        samples=[10 if time else 0 for time in seconds],
        discarded=[0] * count,
        status=every,
        notes=[notes.get(one, "") for one in every],
        interrupted="interrupted" in every,
        took_s=1.5,
        peak_bytes=1 << 20,
    )


REAL = EndToEnd(
    device="cuda:0",
    eager_s=1.4e-3,
    low_s=1.39e-3,
    high_s=1.45e-3,
    samples=25,
    discarded=2,
    graph_s=1.25e-3,
    busy_s=1.21e-3,
    peak_bytes=123_456_789,
    notes=("weights are random",),
)


def with_times(
    profile: Profile,
    status: dict[int, str] | None = None,
    *,
    measured: bool = True,
    end_to_end: EndToEnd | None = REAL,
    hardware: Hardware = GPU,
    **changed: Any,
) -> Profile:
    """The profile with times; `changed` replaces fields of the measurements."""
    data = profile.data
    guesses = estimates(data, hardware)
    found = replace(measurements(guesses, status), **changed) if measured else None
    line = None
    if found is not None and any(found.seconds):
        seconds = [a or b for a, b in zip(found.seconds, guesses.seconds, strict=True)]
        device = sum(seconds[int(number)] for number in data.ops()["signature"])
        line = Timeline(device, guesses.timeline.host_s, device + 3e-6)
    times = Times(data, guesses, found, end_to_end if measured else None, line)
    return profile.replaced(times=times)
