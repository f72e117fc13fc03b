"""Seconds, estimated and measured, of one trace: what a `Profile` knows of time.

Estimates and replays are of signatures (`time_records.py`); here they become those of calls, layers
and the whole.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from math import sqrt
from typing import TYPE_CHECKING, Any

from nnprof.base.contention import TRUSTED_SHARE
from nnprof.results.model_flops import signature_calls
from nnprof.results.time_records import EndToEnd, Estimates, Measurements, Timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nnprof.hardware import Hardware
    from nnprof.hardware.fit import Errors
    from nnprof.results.records import TraceData

__all__ = ["INTERVAL_SAMPLES", "LayerTimes", "SignatureTimes", "Times", "added"]

_MEASURED = ("measured", "scaled")
#: Samples from which on an interval holds the true median with 97.5 %: fewer have none.
INTERVAL_SAMPLES = 7
#: A sum has an interval where at most this share of it comes from calls that have none.
_SINGLE_SHARE = 0.05
#: Calls one by one over the real forward, between which both are believed. On a quiet CPU it is
#: 0.8 (operators as short as MobileNet's, between which Python takes its time) to 1.1.
_SMALLEST_REPLAYED, _LARGEST_REPLAYED = 0.7, 1.25
#: Of the estimated time, what may be missing in the sum that is held against the real forward.
_UNMEASURED_SHARE = 0.05


@dataclass(frozen=True)
class SignatureTimes:
    """The times of one unique call, in seconds a call; None where there are none."""

    signature: int
    op: str
    op_class: str
    calls: int
    estimated_s: float
    error: float  #: share of the estimate that it is off by, typically
    bound: str  #: "compute", "memory", "launch" or ""
    flops: float
    bytes: float
    peak: float  #: FLOP/s at most
    measured_s: float | None = None
    low_s: float | None = None  #: None of fewer than seven samples, too
    high_s: float | None = None
    warm_s: float | None = None
    samples: int = 0  #: that `measured_s` is the median of
    #: "measured", "scaled", "view", "not replayable", "failed", "no memory", "no time",
    #: "interrupted"; "" where nothing was to be measured.
    status: str = ""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Estimated over measured."""
        return self.estimated_s / self.measured_s if self.measured_s else None

    @property
    def total_s(self) -> float:
        """Of all calls: measured where it was, else estimated."""
        return self.calls * self.seconds

    @property
    def missed_s(self) -> float:
        """By which the estimate is off in all calls; 0 where nothing was measured."""
        if self.measured_s is None:
            return 0.0
        return self.calls * abs(self.estimated_s - self.measured_s)

    @property
    def operational_intensity(self) -> float | None:
        """FLOPs for each byte moved."""
        return self.flops / self.bytes if self.bytes else None

    @property
    def seconds(self) -> float:
        """Measured where it was, else estimated."""
        return self.estimated_s if self.measured_s is None else self.measured_s

    @property
    def peak_share(self) -> float | None:
        """FLOPs a second over what the device could do at most in this precision."""
        return self.flops / self.seconds / self.peak if self.seconds and self.peak else None


@dataclass(frozen=True)
class LayerTimes:
    """Seconds of all calls in a layer, children included, or of the whole."""

    estimated_s: float = 0.0
    error_s: float = 0.0  #: by which the estimate is off, typically
    measured_s: float | None = None  #: of those calls that were measured
    low_s: float | None = None  #: None, too, where calls without one make up much of the time
    high_s: float | None = None
    #: Share of the estimated time that was not measured; None where nothing was to be.
    unmeasured: float | None = None
    #: Statuses of calls that were not measured as they are ("scaled", "failed"...), longest first.
    flags: tuple[str, ...] = ()
    bound: str = ""  #: of the most of the time
    peak_share: float | None = None  #: of the device's peak, at the measured or estimated time

    @property
    def ratio(self) -> float | None:
        """Estimated over measured, of what was measured."""
        if not self.measured_s or self.unmeasured is None:
            return None
        return self.estimated_s * (1 - self.unmeasured) / self.measured_s

    @property
    def unmeasured_s(self) -> float | None:
        """Estimated seconds that were not measured."""
        return self.estimated_s * self.unmeasured if self.unmeasured is not None else None


class Times:
    """All that is known of time. `estimates` are of `hardware`; the rest of `device`, if any."""

    def __init__(
        self,
        data: TraceData,
        estimates: Estimates,
        measurements: Measurements | None = None,
        end_to_end: EndToEnd | None = None,
        measured_timeline: Timeline | None = None,
    ) -> None:
        self._data = data
        self.estimates = estimates
        self.measurements = measurements
        self.end_to_end = end_to_end
        #: Host and device side by side with the measured times, estimated ones where there is none.
        self.measured_timeline = measured_timeline

    @property
    def hardware(self) -> Hardware:
        """What the estimates are for."""
        return self.estimates.hardware

    @property
    def device(self) -> str | None:
        """Where it was measured."""
        return self.measurements.device if self.measurements is not None else None

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the measuring."""
        return self.measurements is not None and self.measurements.interrupted

    @cached_property
    def doubts(self) -> tuple[str, ...]:
        """Why the measured times cannot be trusted, the most telling first; empty where they can,
        and where nothing was measured."""
        return tuple(_doubts(self)) if self.measurements is not None else ()

    @cached_property
    def of_one_device(self) -> bool:
        """Whether the estimates are for the kind of device that was measured on: only then are
        ratios errors of the estimates."""
        from nnprof.hardware.resolve import by_driver_name

        if self.measurements is None:
            return True
        on_cpu = self.measurements.device == "cpu"
        if on_cpu or self.hardware.kind == "cpu":
            return on_cpu and self.hardware.kind == "cpu"
        named = by_driver_name(str(self.measurements.conditions.get("device_name", "")))
        return named is None or named.name == self.hardware.name

    @cached_property
    def replayed_share(self) -> float | None:
        """All calls one by one, as measured, over the real forward (the time that kernels ran in
        it, on a device that tells); None where one of the two is not known."""
        line, real = self.measured_timeline, self.end_to_end
        if line is None or real is None or not self.of_one_device:
            return None
        if (self.total.unmeasured or 0.0) > _UNMEASURED_SHARE:
            return None
        whole = real.eager_s if real.device == "cpu" else real.busy_s
        return line.device_s / whole if whole else None

    @property
    def timeline(self) -> Timeline:
        """Host, device and wall time: with measured times where there are some."""
        return self.measured_timeline or self.estimates.timeline

    @cached_property
    def by_signature(self) -> list[SignatureTimes]:
        """One entry a unique call, by signature number."""
        index = self._data.call_index()
        calls = Counter(_listed(index["signature"]))
        names = self._data.signatures()["op"]
        return [self._signature(n, name, calls[n]) for n, name in enumerate(names)]

    def _signature(self, number: int, op: str, calls: int) -> SignatureTimes:
        estimates, measured = self.estimates, self.measurements
        known: dict[str, Any] = {}
        if measured is not None:
            several = measured.samples[number] >= INTERVAL_SAMPLES
            known = {
                "measured_s": measured.seconds[number],
                "low_s": measured.low_s[number] if several else None,
                "high_s": measured.high_s[number] if several else None,
                "warm_s": measured.warm_s[number],
                "samples": measured.samples[number],
                "status": measured.status[number],
                "note": measured.notes[number],
            }
        return SignatureTimes(
            signature=number,
            op=op,
            op_class=estimates.op_class[number],
            calls=calls,
            estimated_s=estimates.seconds[number],
            error=estimates.error[number],
            bound=estimates.bound[number],
            flops=estimates.flops[number],
            bytes=estimates.bytes[number],
            peak=estimates.peak[number],
            **known,
        )

    @cached_property
    def total(self) -> LayerTimes:
        """Of all calls."""
        return self.of_calls({times.signature: times.calls for times in self.by_signature})

    def of_calls(self, calls: Mapping[int, int]) -> LayerTimes:
        """Of so many calls of each signature."""
        by_signature = self.by_signature
        return _summed([(by_signature[number], count) for number, count in calls.items()])

    @cached_property
    def rows(self) -> list[tuple[LayerTimes, LayerTimes]]:
        """Of each row of the trace's layers: (children included, without them)."""
        index = self._data.call_index()
        parents = [row["parent"] for row in self._data.layers()]
        own: list[Counter[int]] = [Counter() for _ in parents]
        for scope, signature in zip(
            _listed(index["scope"]), _listed(index["signature"]), strict=True
        ):
            own[scope][signature] += 1
        whole = [Counter(counts) for counts in own]
        for row in range(len(parents) - 1, 0, -1):  # children come after their parents
            if parents[row] >= 0:
                whole[parents[row]].update(whole[row])
        return [
            (self.of_calls(inside), self.of_calls(alone))
            for inside, alone in zip(whole, own, strict=True)
        ]

    @cached_property
    def mfu(self) -> float | None:
        """Model FLOPs utilization: `model_flops` over what the device could do at most in the same
        wall time, each in its own precision. Of the real forward where it ran."""
        return self._utilization("contraction_flops_model")

    @cached_property
    def mfu_needed(self) -> float | None:
        """The same with what the mathematics needs of them; None where that was not recorded."""
        return self._utilization("contraction_flops_needed")

    @cached_property
    def hfu(self) -> float | None:
        """Hardware FLOPs utilization: the same with the FLOPs that kernels execute: with those that
        are computed again, without what kernels skip."""
        return self._utilization("contraction_flops_executed", recomputed=True)

    @property
    def wall_s(self) -> float:
        """Of one forward: measured end to end, else from the timeline.

        That of the estimates where they are for another device than was measured on.
        """
        if not self.of_one_device:
            return self.estimates.timeline.wall_s
        real = self.end_to_end.eager_s if self.end_to_end is not None else None
        return real or self.timeline.wall_s

    def _utilization(self, column: str, *, recomputed: bool = False) -> float | None:
        flops = self._data.signatures().get(column)
        if flops is None:
            return None
        calls = signature_calls(self._data, recomputed=recomputed)
        at_peak = sum(
            calls[times.signature] * count / times.peak
            for times, count in zip(self.by_signature, flops, strict=True)
            if times.peak
        )
        return at_peak / self.wall_s if self.wall_s else None

    @cached_property
    def errors(self) -> dict[str, Errors]:
        """How far the estimates are off, by class of operator; empty where nothing was measured,
        and where the estimates are for another device."""
        classes: dict[str, list[SignatureTimes]] = {}
        for times in self._comparable:
            classes.setdefault(times.op_class, []).append(times)
        return {name: _errors(those) for name, those in sorted(classes.items())}

    @cached_property
    def error(self) -> Errors | None:
        """How far all estimates are off; None where there are no `errors`."""
        return _errors(self._comparable) if self._comparable else None

    @cached_property
    def _comparable(self) -> list[SignatureTimes]:
        """Those whose estimate can be held against a time that was measured as it is."""
        if not self.of_one_device:
            return []
        return [
            times
            for times in self.by_signature
            if times.status == "measured" and times.measured_s and times.estimated_s
        ]

    def worst(self, count: int = 5) -> list[SignatureTimes]:
        """The unique calls whose estimates miss the most seconds in all; few where few do."""
        missing = [times for times in self._comparable if times.missed_s]
        return sorted(missing, key=lambda times: -times.missed_s)[:count]

    @cached_property
    def not_measured(self) -> list[SignatureTimes]:
        """The unique calls that should have been measured and were not, the longest first."""
        left = [
            times
            for times in self.by_signature
            if times.status not in ("", "view", *_MEASURED) and times.estimated_s
        ]
        return sorted(left, key=lambda times: -times.calls * times.estimated_s)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        return {
            "estimates": self.estimates.to_dict(),
            "measurements": self.measurements.to_dict() if self.measurements else None,
            "end_to_end": self.end_to_end.to_dict() if self.end_to_end else None,
            "measured_timeline": asdict(self.measured_timeline) if self.measured_timeline else None,
        }

    @classmethod
    def from_dict(cls, data: TraceData, stored: Mapping[str, Any]) -> Times:
        """The inverse of `to_dict`, for the trace that it was of."""
        measured, real = stored["measurements"], stored["end_to_end"]
        line = stored["measured_timeline"]
        return cls(
            data,
            Estimates.from_dict(stored["estimates"]),
            Measurements.from_dict(measured) if measured else None,
            EndToEnd.from_dict(real) if real else None,
            Timeline(**line) if line else None,
        )


def _doubts(times: Times) -> Iterator[str]:
    measurements, real = times.measurements, times.end_to_end
    assert measurements is not None  # there is nothing to doubt otherwise
    lost = measurements.conditions.get("lost_share")
    if lost is not None and lost > TRUSTED_SHARE:
        yield f"threads were ready to run and had to wait for {lost:.2f} s of every second"
    if real is not None and real.eager_s is not None and real.disturbed:
        yield "nearly every run of the real forward was disturbed"
    share = times.replayed_share
    if share is not None and not _SMALLEST_REPLAYED <= share <= _LARGEST_REPLAYED:
        yield (
            f"the calls one by one take {share:.2f} times the real forward, which they make up: "
            "one of the two was disturbed, or the forward runs other kernels"
        )


def added(those: Sequence[LayerTimes]) -> LayerTimes:
    """Of several call paths of one module."""
    if len(those) == 1:
        return those[0]
    estimated = sum(one.estimated_s for one in those)
    measured = [one for one in those if one.measured_s is not None]
    known: dict[str, Any] = {}
    if measured:
        known["measured_s"] = sum(one.measured_s or 0.0 for one in measured)
        if all(one.low_s is not None for one in measured):
            known["low_s"] = sum(one.low_s or 0.0 for one in measured)
            known["high_s"] = sum(one.high_s or 0.0 for one in measured)
    if all(one.unmeasured is not None for one in those):
        left = sum(one.estimated_s * (one.unmeasured or 0.0) for one in those)
        known["unmeasured"] = left / estimated if estimated else 0.0
    longest = max(those, key=lambda one: one.estimated_s)
    return LayerTimes(
        estimated_s=estimated,
        error_s=sum(one.error_s for one in those),
        flags=tuple(dict.fromkeys(flag for one in those for flag in one.flags)),
        bound=longest.bound,
        peak_share=longest.peak_share,
        **known,
    )


def _errors(those: Sequence[SignatureTimes]) -> Errors:
    from nnprof.hardware.fit import errors

    return errors([one.estimated_s for one in those], [one.seconds for one in those])


def _listed(values: Any) -> list[int]:
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _summed(calls: Sequence[tuple[SignatureTimes, int]]) -> LayerTimes:
    estimated = sum(count * times.estimated_s for times, count in calls)
    # Equal calls are off alike, different ones by themselves.
    # Linearly: what a device's clock, bandwidth and launches are in truth is common to all calls.
    error = sum(count * times.estimated_s * times.error for times, count in calls)
    asked = any(times.status for times, _ in calls)
    measured = [(times, count) for times, count in calls if times.measured_s is not None]
    by_bound: Counter[str] = Counter()
    for times, count in calls:
        by_bound[times.bound] += count * times.seconds  # type: ignore[assignment]
    known: dict[str, Any] = {}
    if measured:
        middle = sum(count * times.seconds for times, count in measured)
        single = sum(count * times.seconds for times, count in measured if times.low_s is None)
        known = {"measured_s": middle}
        if single <= _SINGLE_SHARE * middle:
            known["low_s"] = middle - _spread(measured, "low_s")
            known["high_s"] = middle + _spread(measured, "high_s")
    if asked and estimated:
        covered = sum(count * times.estimated_s for times, count in measured)
        known["unmeasured"] = max(1 - covered / estimated, 0.0)
    elif asked:
        known["unmeasured"] = 0.0
    return LayerTimes(
        estimated_s=estimated,
        error_s=error,
        flags=_flags(calls),
        bound=max(by_bound, key=lambda bound: by_bound[bound]) if estimated else "",
        peak_share=_peak_share(calls),
        **known,
    )


def _flags(calls: Iterable[tuple[SignatureTimes, int]]) -> tuple[str, ...]:
    longest: dict[str, float] = {}
    for times, count in calls:
        if times.status not in ("", "measured", "view"):
            longest[times.status] = longest.get(times.status, 0.0) + count * times.estimated_s
    return tuple(sorted(longest, key=lambda status: -longest[status]))


def _spread(measured: Iterable[tuple[SignatureTimes, int]], end: str) -> float:
    """Half of the interval of a sum: equal calls err alike, different ones by themselves."""
    return sqrt(
        sum(
            (count * (times.seconds - (getattr(times, end) or times.seconds))) ** 2
            for times, count in measured
        )
    )


def _peak_share(calls: Iterable[tuple[SignatureTimes, int]]) -> float | None:
    seconds = at_peak = 0.0
    for times, count in calls:
        seconds += count * times.seconds
        at_peak += count * times.flops / times.peak if times.peak else 0.0
    return at_peak / seconds if seconds else None
