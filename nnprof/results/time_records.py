"""Times of one trace as they are kept and stored: estimates, measurements, the real forward.

Seconds are of signatures here; `times.py` makes them those of calls, layers and the whole.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from nnprof.hardware import Hardware
from nnprof.results.records import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EndToEnd", "Estimates", "Measurements", "Timeline"]


@dataclass(frozen=True)
class Timeline:
    """Host and device side by side, in seconds."""

    device_s: float  #: the device computes
    host_s: float  #: the host queues (or, on a CPU, spends outside of the kernels)
    wall_s: float  #: until the last result is there

    @property
    def verdict(self) -> str:
        """ "device-bound", "host-bound", or "mixed" where neither waits much for the other."""
        if self.device_s > 1.2 * self.host_s:
            return "device-bound"
        return "host-bound" if self.device_s < 0.8 * self.host_s else "mixed"

    @property
    def idle_s(self) -> float:
        """Seconds that the device waits for the host."""
        return max(self.wall_s - self.device_s, 0.0)


@dataclass(frozen=True)
class Estimates:
    """What the time model says of each signature of a trace; lists are indexed by signature."""

    hardware: Hardware
    op_class: list[str]
    bound: list[str]  #: "compute", "memory", "launch", "" where nothing is done
    seconds: list[float]
    compute_s: list[float]  #: were there no memory to wait for
    memory_s: list[float]  #: were there nothing to compute
    host_s: list[float]  #: the host's part of a call
    flops: list[float]  #: executed: without what a causal kernel skips
    bytes: list[float]
    peak: list[float]  #: FLOP/s at most, in the precision of the call
    error: list[float]  #: share of `seconds` that it is off by, typically
    timeline: Timeline

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        return asdict(self) | {"hardware": self.hardware.to_dict()}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Estimates:
        """The inverse of `to_dict`."""
        values = dict(stored)
        values["hardware"] = Hardware.from_dict(values["hardware"])
        values["timeline"] = Timeline(**values["timeline"])
        return cls(**values)


@dataclass(frozen=True)
class Measurements:
    """What each unique call of a trace took on a device. Lists are indexed by signature number.

    Seconds are those of one call, and None where nothing was measured; `status` tells why:
    "measured"; "scaled" (a part of the batch was timed, the rest did not fit in memory); "view"
    (takes no time); "not replayable"; "failed" (the operator raised: the note is its message);
    "no memory"; "no time" (the budget was spent before); "interrupted".
    """

    device: str
    #: What the numbers depend on: the device's name, threads, versions, flags, the seed, the date.
    conditions: dict[str, Any]
    #: The median, with weights that are not in the cache, as in a model that is larger than it.
    seconds: list[float | None]
    #: An interval that holds the true median with a probability of 97.5 %; None below 7 samples.
    low_s: list[float | None]
    high_s: list[float | None]
    fastest_s: list[float | None]
    #: With weights in the cache; only of calls that memory limits.
    warm_s: list[float | None]
    #: What the host takes to queue a call; None on the CPU, where it is part of the call.
    host_s: list[float | None]
    samples: list[int]
    #: Samples thrown away, because someone else had the processor or the device ran ahead of the
    #: host.
    discarded: list[int]
    status: list[str]
    notes: list[str]
    interrupted: bool
    took_s: float
    #: The most that arguments, outputs and the flush buffer took at once.
    peak_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The measurements as JSON can hold them."""
        return plain(asdict(self))  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measurements:
        """Measurements from `to_dict` of others; names this version does not know are dropped."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


@dataclass(frozen=True)
class EndToEnd:
    """One forward of a deep copy on `device`. Times are seconds, and None where there is none."""

    device: str
    #: Median wall time of one eager forward: between two events on a device that has them.
    eager_s: float | None = None
    #: Confidence interval of that median, by ranks: 95 %; None below six samples.
    low_s: float | None = None
    high_s: float | None = None
    #: Runs that the median is of, and runs left out because other processes disturbed them.
    samples: int = 0
    discarded: int = 0
    #: Other processes disturbed nearly every run: the times are of the least disturbed ones.
    disturbed: bool = False
    #: Median time of replaying the forward as one CUDA graph.
    graph_s: float | None = None
    #: Time in which at least one kernel or copy of one forward ran, as torch.profiler saw it. None
    #: on the CPU, where the profiler adds a microsecond or two to each operator it times.
    busy_s: float | None = None
    #: Most that was allocated at once, weights and inputs included, over what was before the copy.
    peak_bytes: int | None = None
    #: Why there are no times.
    reason: str | None = None
    #: What to know when reading the times.
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which `from_dict` takes back."""
        return asdict(self) | {"notes": list(self.notes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EndToEnd:
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in values.items() if name in known}
        return cls(**given | {"notes": tuple(given.get("notes", ()))})
