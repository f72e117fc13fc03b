"""What is said of time in a line each: under the table, and under the report of times."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nnprof.base.units import Unit, format_interval, format_percent, format_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nnprof.hardware import Hardware
    from nnprof.results.profile import Profile
    from nnprof.results.time_records import EndToEnd, Measurements
    from nnprof.results.times import SignatureTimes, Times

__all__ = ["notes", "short_op"]

_NAMES_SHOWN = 8
#: More of the peak than a measurement can be off by.
_MOST_OF_PEAK = 1.05
_KERNELS = {"device-bound": "bound by kernels", "host-bound": "bound by what is around them"}


def notes(profile: Profile) -> Iterator[tuple[str, str]]:
    """Title and text of each line; none where no times are known."""
    times = profile.times
    if times is None:
        return
    if times.measurements is not None:
        yield "Verdict", verdict(times)
    yield "Hardware", _hardware(times.hardware)
    yield "Estimated", _estimated(times)
    if times.measurements is not None:
        yield "Measured", _measured(times, times.measurements)
        for index, line in enumerate(_not_measured(times)):
            yield "" if index else "Not measured", line
        yield "Measured on", _conditions(times.measurements)
        if not times.of_one_device:
            yield "Two devices", "ratios compare them: they are no errors of the estimates"
    yield "Wall", _wall(times)
    if times.end_to_end is not None:
        yield "End to end", _end_to_end(times, times.end_to_end)
    if times.mfu is not None and times.hfu is not None:
        yield "MFU", _utilization(profile, times, times.mfu, times.hfu)
    above = [one.peak_share for one in times.by_signature if _above_peak(one)]
    if above:
        yield "Above peak", _too_fast(above)
    if profile.tokens is not None and times.wall_s:
        rate = format_value(profile.tokens / times.wall_s)
        yield "Tokens/s", f"{rate} in {_seconds(times.wall_s)} a forward"


def verdict(times: Times) -> str:
    """Whether the measured times can be trusted, and how busy the machine was with other things."""
    assert times.measurements is not None  # else there is none
    busy = _others(times.measurements)
    if times.doubts:
        return f"the times cannot be trusted: {'; '.join([*times.doubts, *busy])}"
    lost = times.measurements.conditions.get("lost_share")
    if lost is None:
        return "how much others disturbed the times is not known"
    kept = f"threads had to wait for others for {lost:.3f} s of every second"
    return ", ".join([f"the times can be trusted: {kept}", *busy])


def _others(measurements: Measurements) -> list[str]:
    others = measurements.conditions.get("other_processors")
    if others is None:
        return []
    return [f"other programs kept {others:.1f} processors busy meanwhile"]


def _above_peak(one: SignatureTimes) -> bool:
    return one.measured_s is not None and (one.peak_share or 0.0) > _MOST_OF_PEAK


def _too_fast(shares: list[float | None]) -> str:
    most = format_percent(max(share or 0.0 for share in shares), 1)
    calls = "a unique call" if len(shares) == 1 else f"{len(shares)} unique calls"
    why = "the hardware's numbers are too low, or a kernel computes with fewer FLOPs"
    return f"{calls} measured at up to {most} of it: {why}"


def short_op(op: str) -> str:
    """The operator without the namespace that most have."""
    return op.removeprefix("aten::")


def _seconds(value: float) -> str:
    return format_value(value, Unit.SECONDS)


def _between(low: float | None, high: float | None) -> str:
    return f" {interval}" if (interval := format_interval(low, high)) else ""


def _hardware(hardware: Hardware) -> str:
    if hardware.source != "measured":
        return f"{hardware.title}: {hardware.source}, not calibrated"
    date = _day(hardware.calibration.get("date", ""))
    return f"{hardware.title}: measured {date}".rstrip()


def _estimated(times: Times) -> str:
    total = times.total
    text = f"{_seconds(total.estimated_s)} \N{PLUS-MINUS SIGN} {_seconds(total.error_s)}"
    text += " in all calls"
    return f"{text}, most of it {total.bound}-bound" if total.bound else text


def _measured(times: Times, measurements: Measurements) -> str:
    total = times.total
    if total.measured_s is None:
        text = "nothing"
    else:
        text = _seconds(total.measured_s) + _between(total.low_s, total.high_s)
        if total.ratio is not None:
            text += f", estimated over measured {total.ratio:.2f}"
        warm = _warm(times)
        if warm is not None:
            text += f"; {_seconds(warm)} if all weights were in the cache"
    if total.unmeasured:
        text += f"; {format_percent(total.unmeasured, 1)} of the estimated time was not measured"
    scaled = sum(
        one.calls * one.estimated_s for one in times.by_signature if one.status == "scaled"
    )
    if scaled:
        text += (
            f"; {format_percent(scaled, total.estimated_s)} was, in a part of the batch, and scaled"
        )
    few = sum(
        one.total_s
        for one in times.by_signature
        if one.measured_s is not None and one.low_s is None
    )
    if few:
        share = format_percent(few, total.measured_s or 0.0)
        text += f"; {share} of the measured time is from too few samples for an interval"
    if measurements.interrupted:
        text += "; interrupted"
    return text


def _warm(times: Times) -> float | None:
    """The measured time were all weights in the cache; None where it was not measured."""
    measured = [one for one in times.by_signature if one.measured_s is not None]
    if all(one.warm_s is None for one in measured):
        return None
    return sum(
        one.calls * (one.seconds if one.warm_s is None else min(one.warm_s, one.seconds))
        for one in measured
    )


def _not_measured(times: Times) -> Iterator[str]:
    """A line for each reason, the one that leaves most out first."""
    by_status: dict[str, list[SignatureTimes]] = {}
    for one in times.not_measured:
        by_status.setdefault(one.status, []).append(one)
    whole = times.total.estimated_s
    lost = {
        status: sum(one.calls * one.estimated_s for one in those)
        for status, those in by_status.items()
    }
    for status in sorted(lost, key=lambda status: -lost[status]):
        share = format_percent(lost[status], whole)
        yield f"{status}, {share} of the estimated time: {_ops(by_status[status])}"


def _ops(those: list[SignatureTimes]) -> str:
    calls: Counter[str] = Counter()
    notes: dict[str, str] = {}
    for one in those:
        calls[one.op] += one.calls
        if one.note:
            notes.setdefault(one.op, one.note)
    names = [
        f"{op} x{count}" + (f" ({notes[op]})" if op in notes else "") for op, count in calls.items()
    ]
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _day(date: object) -> str:
    return str(date).partition("T")[0]


def _conditions(measurements: Measurements) -> str:
    known = measurements.conditions
    facts = [str(known.get("device_name") or measurements.device)]
    if measurements.device == "cpu" and "threads" in known:
        facts.append(f"{known['threads']} threads")
    facts += [f"{name} {known[name]}" for name in ("torch", "cuda", "cudnn") if known.get(name)]
    if "date" in known:
        facts.append(_day(known["date"]))
    facts.append(f"in {_seconds(measurements.took_s)}")
    return ", ".join(facts)


def _wall(times: Times) -> str:
    line = times.timeline
    text = _seconds(line.wall_s)
    if times.hardware.kind == "cpu":
        verdict = _KERNELS.get(line.verdict, line.verdict)
        parts = f"{_seconds(line.device_s)} in kernels, {_seconds(line.host_s)} around them"
    else:
        verdict = line.verdict
        idle = format_percent(line.idle_s, line.wall_s)
        parts = f"device {_seconds(line.device_s)}, host {_seconds(line.host_s)}, idle {idle}"
    source = "" if times.measured_timeline is None else "; from measured times where there are any"
    return f"{text}, {verdict}: {parts}{source}"


def _end_to_end(times: Times, real: EndToEnd) -> str:
    if real.eager_s is None:
        return "; ".join([f"did not run: {real.reason or 'not known why'}", *real.notes])
    text = _seconds(real.eager_s) + _between(real.low_s, real.high_s)
    text += f" eager on {real.device}, median of {real.samples}"
    if real.discarded:
        text += f" ({real.discarded} disturbed ones left out)"
    parts = [text]
    if real.busy_s is not None:
        parts.append(f"kernels ran for {_seconds(real.busy_s)}")
    if real.graph_s is not None:
        parts.append(f"{_seconds(real.graph_s)} as a CUDA graph")
    if times.replayed_share is not None:
        parts.append(f"the calls one by one take {times.replayed_share:.2f} times that")
    if real.peak_bytes is not None:
        parts.append(f"{format_value(real.peak_bytes, Unit.BYTES)} allocated at most")
    return "; ".join([*parts, *real.notes])


def _utilization(profile: Profile, times: Times, mfu: float, hfu: float) -> str:
    real = times.end_to_end is not None and times.wall_s == times.end_to_end.eager_s
    wall = "the real forward" if real else "the wall time above"
    rate = format_value(profile.flops / times.wall_s, Unit.FLOP_RATE)
    text = f"{format_percent(mfu, 1)} of the device's peak over {wall}"
    if times.mfu_needed not in (None, mfu):
        needed = format_percent(times.mfu_needed or 0.0, 1)
        text += f", {needed} by the FLOPs that masks leave to be needed"
    if hfu != mfu:
        text += f"; HFU {format_percent(hfu, 1)}, of the FLOPs that kernels execute"
    return f"{text}; {rate} of all FLOPs"
