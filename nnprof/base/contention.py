"""What others took of the machine: whether a time can be believed."""

from __future__ import annotations

import os
import resource
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TRUSTED_SHARE", "Disturbance", "observed"]

#: Times are not trusted where threads together were kept from running for more than so many seconds
#: of every second. A quiet machine's own chores take 0.002 to 0.02, a competitor for a core 0.5.
TRUSTED_SHARE = 0.05

#: What a switch away costs where the kernel does not tell how long threads waited.
_SWITCH_SECONDS = 1e-3
#: Switches a second that a quiet machine makes.
_USUAL_SWITCHES = 50


@dataclass
class Disturbance:
    """What others did while some code ran; complete when the `observed` block has ended."""

    #: Seconds of every second that threads of this process, together, waited for a processor.
    lost: float = 0.0
    #: Processors that other processes kept busy, on average; None where the kernel does not say.
    others: float | None = None


@contextmanager
def observed() -> Iterator[Disturbance]:
    """Watches what others take while the code inside runs."""
    seen = Disturbance()
    before, start = _Counters.now(), time.perf_counter()
    try:
        yield seen
    finally:
        elapsed = max(time.perf_counter() - start, 1e-9)
        after = _Counters.now()
        seen.lost = after.lost_since(before, elapsed) / elapsed
        seen.others = after.others_since(before, elapsed)


class _Counters(NamedTuple):
    """Counters that go up while others have what this process could use."""

    waited: float | None  # seconds that threads of ours were ready to run and did not
    switches: int
    stolen: float  # seconds that the machine under a virtual one kept for itself
    busy: float | None  # seconds that all processors together were at work
    own: float  # of which for this process

    @classmethod
    def now(cls) -> _Counters:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        own = usage.ru_utime + usage.ru_stime
        busy, stolen = _processor_seconds()
        return cls(_waited_seconds(), usage.ru_nivcsw, stolen, busy, own)

    def lost_since(self, before: _Counters, elapsed: float) -> float:
        stolen = self.stolen - before.stolen
        if self.waited is not None and before.waited is not None:
            return max(self.waited - before.waited, 0.0) + stolen
        unusual = self.switches - before.switches - _USUAL_SWITCHES * elapsed
        return max(unusual, 0.0) * _SWITCH_SECONDS + stolen

    def others_since(self, before: _Counters, elapsed: float) -> float | None:
        if self.busy is None or before.busy is None:
            return None
        return max(self.busy - before.busy - (self.own - before.own), 0.0) / elapsed


def _waited_seconds() -> float | None:
    """Of all threads, in /proc/self/task/*/schedstat: run time, waiting time, slices."""
    waited = 0
    try:
        for thread in os.listdir("/proc/self/task"):
            try:
                waited += int(Path(f"/proc/self/task/{thread}/schedstat").read_bytes().split()[1])
            except (ProcessLookupError, FileNotFoundError):
                continue
    except (OSError, IndexError, ValueError):  # no Linux, or a kernel without the statistics
        return None
    return waited / 1e9


def _processor_seconds() -> tuple[float | None, float]:
    """Of all processors, in /proc/stat: at work for programs and the kernel, and stolen."""
    try:
        first = Path("/proc/stat").read_bytes().partition(b"\n")[0].split()
        ticks = os.sysconf("SC_CLK_TCK")
        user, nice, system, stolen = (int(first[column]) for column in (1, 2, 3, 8))
    except (OSError, IndexError, ValueError):
        return None, 0.0
    return (user + nice + system) / ticks, stolen / ticks
