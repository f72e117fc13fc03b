"""Times on a device that runs beside the host: between events, as a graph, as a profiler sees it.

The device-generic modules (`torch.get_device_module`) serve any backend; what only CUDA has stands
in functions of its own.
"""

from __future__ import annotations

import statistics
import warnings
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from nnprof.timing.end_to_end.clock import MIN_RUNS, host_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Run = Callable[[], object]

__all__ = ["Accelerator", "busy_seconds", "graph_seconds", "union_of"]

_WARM_UPS = 3
#: How long replays of a graph are timed, and how long one stretch between two events has to be.
_REPLAYED_SECONDS = 0.5
_STRETCH_SECONDS = 2e-3


class Accelerator:
    """What one device of any backend is asked for here."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._module: Any = torch.get_device_module(device)

    def current(self) -> Any:
        """Makes it the current device in a `with`."""
        return (
            self._module.device(self.device) if hasattr(self._module, "device") else nullcontext()
        )

    def synchronize(self) -> None:
        self._module.synchronize()

    def seconds(self, run: Run) -> float:
        """One forward, from an idle device to an idle device."""
        make = getattr(self._module, "Event", None)
        self.synchronize()
        if make is None:
            return host_seconds(lambda: self._finished(run))
        start, end = make(enable_timing=True), make(enable_timing=True)
        start.record()
        output = run()
        end.record()
        self.synchronize()
        del output
        return float(start.elapsed_time(end)) / 1e3

    def _finished(self, run: Run) -> object:
        output = run()
        self.synchronize()
        return output

    def allocated(self) -> int | None:
        return self._memory("memory_allocated")

    def peak(self) -> int | None:
        return self._memory("max_memory_allocated")

    def reset_peak(self) -> None:
        if hasattr(self._module, "reset_peak_memory_stats"):
            self._module.reset_peak_memory_stats(self.device)

    def _memory(self, name: str) -> int | None:
        if not hasattr(self._module, name):
            return None
        return int(getattr(self._module, name)(self.device))


#: Its classes have no types.
_cuda: Any = torch.cuda


def graph_seconds(device: torch.device, run: Run) -> float:
    """Median time of replaying one forward as a CUDA graph. Raises what stops the capture."""
    with torch.cuda.device(device):
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        # A capture that fails leaves the generator's state capturing for good: it gets one of its
        # own, which is thrown away.
        before = generator.graphsafe_get_state()
        generator.graphsafe_set_state(generator.clone_state())
        side = _cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        try:
            # Around the capture too, which does not put the stream back where its end raises.
            with torch.cuda.stream(side):
                return _captured_seconds(side, run)
        finally:
            generator.graphsafe_set_state(before)


def _captured_seconds(side: torch.cuda.Stream, run: Run) -> float:
    for _ in range(_WARM_UPS):
        run()
    with _refusing_to_wait():
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
        output = run()
    try:
        _replayed_seconds(graph, 1)
        first = _replayed_seconds(graph, 1)
        count = max(1, min(100, round(_STRETCH_SECONDS / max(first, 1e-6))))
        stretches = round(_REPLAYED_SECONDS / max(first * count, 1e-6))
        stretches = max(MIN_RUNS, min(50, stretches))
        return statistics.median(_replayed_seconds(graph, count) for _ in range(stretches))
    finally:
        del output
        graph.reset()


@contextmanager
def _refusing_to_wait() -> Iterator[None]:
    """Raises where the host waits for the device: a capture would fail there, and leave its marks.

    The allocator takes a capture whose end raised for one that is still under way.
    """
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


def _replayed_seconds(graph: torch.cuda.CUDAGraph, count: int) -> float:
    start = _cuda.Event(enable_timing=True)
    end = _cuda.Event(enable_timing=True)
    start.record()
    for _ in range(count):
        graph.replay()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / count


def busy_seconds(accelerator: Accelerator, run: Run) -> float | None:
    """Time of one forward in which at least one kernel or copy ran; None without a profiler."""
    from torch import profiler as typed_profiler

    profiler: Any = typed_profiler
    activity = getattr(profiler.ProfilerActivity, accelerator.device.type.upper(), None)
    if activity is None or activity not in profiler.supported_activities():
        return None
    found: list[float] = []

    def keep(profile: Any) -> None:
        events = [e for e in profile.events() if _is_work(e)]
        spans = ((e.time_range.start, e.time_range.end) for e in events)
        found.append(union_of(spans) / 1e6)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own: that each cycle begins empty, and the like
        # One forward goes by first: the profiler may miss kernels right after it starts.
        plan = profiler.schedule(wait=0, warmup=1, active=1, repeat=1)
        with profiler.profile(activities=[activity], schedule=plan, on_trace_ready=keep) as session:
            for _ in range(2):
                run()
                accelerator.synchronize()
                session.step()
    return found[0] if found and found[0] > 0 else None


def _is_work(event: Any) -> bool:
    """A kernel, a copy or a fill, not the shadow of a range that the host marked."""
    on_device = event.device_type.name != "CPU"
    marked = getattr(event, "is_user_annotation", False) or event.name.startswith("ProfilerStep")
    return on_device and not marked


def union_of(spans: Iterable[tuple[float, float]]) -> float:
    """The length that intervals cover together."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return covered
