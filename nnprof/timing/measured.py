"""Times on a real device: each unique call replayed alone, and the whole forward end to end.

The forward is timed before, among and after the replays, so that all saw the same machine.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from nnprof.base.contention import observed
from nnprof.base.progress import shown
from nnprof.results.times import Times
from nnprof.timing.end_to_end import NO_SAMPLE, RealForward
from nnprof.timing.estimate import timeline
from nnprof.timing.replay import check_time_budget, replay

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from nnprof import _core
    from nnprof.calls.model_call import ModelCall
    from nnprof.results.time_records import EndToEnd, Estimates, Measurements, Timeline

__all__ = ["measured_times"]

#: Of the time budget, what the real forward gets before the replays and after them.
_REAL_SHARE = 0.1
#: Of the replays' time, what the real forward gets among them.
_SHARE_AMONG = 0.2
#: Of the time budget, what the copy and the first runs may take: a forward that takes longer is
#: left out, for the replays say more.
_FIRST_RUNS_SHARE = 0.5
#: At most so long each time: a median needs no more.
_MOST_REAL_S = 5.0
_NO_TIME = 1e-9


def measured_times(
    result: _core.TraceResult,
    times: Times,
    call: ModelCall,
    device: torch.device,
    *,
    time_budget: float = 60.0,
    progress: Callable[[int, int, str], None] | bool | None = None,
) -> Times:
    """`times` with what was measured on `device` beside the estimates.

    `result` is the trace of `call`. Ctrl-C ends the measuring and keeps what was measured:
    `measurements.interrupted` is then true.
    """
    check_time_budget(time_budget)
    with observed() as disturbance:
        measurements, end_to_end = _taken(
            result, times.estimates, call, device, time_budget, progress
        )
    seen = {"lost_share": disturbance.lost, "other_processors": disturbance.others}
    measurements = replace(measurements, conditions=measurements.conditions | seen)
    line = _measured_timeline(result, times.estimates, measurements)
    return Times(result, times.estimates, measurements, end_to_end, line)


def _taken(
    result: _core.TraceResult,
    estimates: Estimates,
    call: ModelCall,
    device: torch.device,
    time_budget: float,
    progress: Callable[[int, int, str], None] | bool | None,
) -> tuple[Measurements, EndToEnd]:
    """What `time_budget` seconds suffice for, or what there was until Ctrl-C."""
    start = time.perf_counter()
    seconds = min(_REAL_SHARE * time_budget, _MOST_REAL_S)
    first_until = start + _FIRST_RUNS_SHARE * time_budget
    same_kind = (device.type == "cpu") == (estimates.hardware.kind == "cpu")
    expected_s = estimates.timeline.wall_s if same_kind else 0.0
    real = RealForward(call, device, expected_s=expected_s, until=first_until)
    measurements: Measurements | None = None
    try:
        with real:
            real.sample(seconds, until=first_until)
            left = start + time_budget - seconds - time.perf_counter()
            with shown(progress, "measuring") as told:
                among = _Among(real, told, until=time.perf_counter() + left)
                measurements = _replayed(result, estimates, device, max(left, _NO_TIME), among)
            if not measurements.interrupted:
                real.sample(seconds, until=start + time_budget)
                return measurements, real.result()
    except KeyboardInterrupt:
        pass
    if measurements is None:
        measurements = _nothing_measured(result, estimates, device)
    end_to_end = real.result()
    if end_to_end.reason == NO_SAMPLE:  # another reason was there before
        end_to_end = replace(end_to_end, reason="interrupted")
    return measurements, end_to_end


class _Among:
    """Between two operators, times the real forward: a machine's speed changes by the second."""

    def __init__(
        self, real: RealForward, told: Callable[[int, int, str], None] | None, *, until: float
    ) -> None:
        self._real, self._told, self._until = real, told, until
        self._started, self._spent = time.perf_counter(), 0.0

    def __call__(self, done: int, of: int, op: str) -> None:
        if self._told is not None:
            self._told(done, of, op)
        now = time.perf_counter()
        allowed = _SHARE_AMONG * (now - self._started) - self._spent
        self._real.sample_again(allowed, until=self._until)
        self._spent += time.perf_counter() - now


def _nothing_measured(
    result: _core.TraceResult, estimates: Estimates, device: torch.device
) -> Measurements:
    """What a replay that was interrupted before it began has to say."""
    unmeasured = _replayed(result, estimates, device, _NO_TIME, None)
    status = ["interrupted" if one == "no time" else one for one in unmeasured.status]
    return replace(unmeasured, interrupted=True, status=status)


def _replayed(
    result: _core.TraceResult,
    estimates: Estimates,
    device: torch.device,
    time_budget: float,
    progress: Callable[[int, int, str], None] | None,
) -> Measurements:
    return replay(
        result, device, expected_s=estimates.seconds, time_budget=time_budget, progress=progress
    )


def _measured_timeline(
    result: _core.TraceResult, estimates: Estimates, measurements: Measurements
) -> Timeline | None:
    """The calls one after the other as they were measured; estimated where they were not."""
    if not any(seconds is not None for seconds in measurements.seconds):
        return None
    pairs = zip(measurements.seconds, estimates.seconds, strict=True)
    seconds = [known if known is not None else guess for known, guess in pairs]
    hosts = zip(measurements.host_s, estimates.host_s, strict=True)
    # A replay calls from C++: what Python adds is in the estimate alone.
    host = [max(known or 0.0, guess) for known, guess in hosts]
    return timeline(result, estimates.hardware, seconds, host)
