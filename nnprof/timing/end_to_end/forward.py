"""Runs the real forward of a deep copy on a device, and takes its times."""

from __future__ import annotations

import math
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import torch

from nnprof.base.devices import as_device
from nnprof.base.dtypes import as_dtype
from nnprof.base.modules import looked_through
from nnprof.errors import InputError
from nnprof.results.time_records import EndToEnd
from nnprof.timing.end_to_end import room
from nnprof.timing.end_to_end.accelerator import Accelerator, busy_seconds, graph_seconds
from nnprof.timing.end_to_end.clock import (
    MIN_RUNS,
    Run,
    host_seconds,
    median_with_interval,
    run_watched,
    undisturbed,
)
from nnprof.timing.end_to_end.copies import DeviceCopies, reachable, storage_bytes
from nnprof.timing.end_to_end.process import kept_process, uncompiled
from nnprof.tracing.lazy import consumed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from nnprof.calls.model_call import ModelCall

__all__ = ["NO_SAMPLE", "RealForward"]

#: The reason where it was not run, and nothing spoke against it.
NO_SAMPLE = "no sample was taken"

#: The first runs make what later ones find: handles, primitives, pages, the choice of kernels.
_WARM_UPS = {"cpu": 2}
_WARM_UPS_OF_ACCELERATORS = 3

#: Where runs are disturbed, others are tried for twice the time that was asked for, or this long.
_PATIENCE_SECONDS = 0.5
_MOST_RUNS = 5000

#: Bytes a second that a copy is made with, random values included, on a slow machine.
_COPIED_A_SECOND = 1e9
#: Runs that a profile and a CUDA graph take in all, about.
_OTHERWISE_RUNS = 20


class _Refused(Exception):  # noqa: N818  it is told as a reason, never raised to the user
    """The forward is not run, for the reason that the message gives."""


class RealForward:
    """The real forward of a deep copy of `call`'s model on `device`, ready to be timed.

    `with RealForward(...) as real:` makes the copy, `real.sample(1.0)` runs it for about a second,
    `real.result()` tells what was seen. Nothing that copying or the model raises leaves the block:
    `result().reason` says it. Ctrl-C does; the copy is freed then too.

    The model, the arguments and the process are as before after each of the steps: the forward
    runs on copies, and the generators, grad mode, default dtype and thread count are put back after
    each run. Train or eval and grad mode are as they stand. Limits: what only a class or a global
    name of another function leads to is not copied, and the statistics of the device's peak memory
    start anew.

    A model on the meta device is filled with random values, each tensor as its name lets expect.
    A plain function runs over copies of the modules, tensors and lists that it names; where it
    makes tensors on a device that it names, that is where they are.
    """

    def __init__(
        self,
        call: ModelCall,
        device: torch.device | str,
        *,
        memory_limit: int | None = None,
        extra_bytes: int = 0,
        expected_s: float = 0.0,
        until: float = math.inf,
    ) -> None:
        """`memory_limit` is how many bytes may be taken on the device, by default what is free.

        `extra_bytes` is what the forward is known to need beside weights and inputs.
        `expected_s` is what one run is thought to take, and `until` a time of
        `time.perf_counter()`: nothing is begun that would most likely end after it.

        Raises `InputError` where the device is none.
        """
        model = looked_through(call.model)
        eager = getattr(model, "_torchdynamo_orig_callable", None)
        self._given = replace(call, model=eager or model)
        self._device = _device(device)
        self._autocast = as_dtype(call.autocast)
        self._memory_limit = memory_limit
        self._extra_bytes = extra_bytes
        self._run_s, self._until = expected_s, until
        self._reason: str | None = None
        self._notes: dict[str, None] = {}
        self._runs: list[Run] = []
        self._accelerator: Accelerator | None = None
        self._allocated_before: int | None = None
        self._peak: int | None = None
        self._graph_s: float | None = None
        self._busy_s: float | None = None
        self._timed_otherwise = False
        self._free()

    def _free(self) -> None:
        self._model: Callable[..., Any] | None = None
        self._arguments: tuple[Any, ...] = ()
        self._keywords: dict[str, Any] = {}
        #: The keywords with what `prepare` adds to them.
        self._prepared: dict[str, Any] = {}
        self._prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self._warm = False
        #: The forward changes its arguments, so that each run needs new ones.
        self._changing = False

    def __enter__(self) -> Self:
        with self._told("or its inputs cannot be copied"):
            self._check_device()
            self._check_room()
            self._check_time()
            self._copy()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._free()

    def sample(self, seconds: float, until: float = math.inf) -> None:
        """Times runs for about so long, three in all at least; warms up the first time.

        Runs that other processes disturbed are tried again, for twice the time at most. After the
        first run, none is begun that would end after `until`.
        """
        if self._model is None:
            return
        self._until = until
        with self._running():
            if not self._warm:
                self._warm_up(seconds)
            self._take_runs(seconds)
            if self._accelerator is not None and self._peak is None:
                self._peak = self._accelerator.peak()

    def sample_again(self, seconds: float, until: float = math.inf) -> None:
        """Times one more run, after one untimed that fills the caches, where `sample` took some.

        Nothing is done where both would take longer than `seconds` or end after `until`.
        """
        if self._model is None or not self._runs or 2 * self._run_s > seconds:
            return
        self._until = until
        if not self._in_time(2 * self._run_s):
            return
        with self._running():
            self._run_once(watching=False)
            self._runs.append(self._timed_run())

    @contextmanager
    def _running(self) -> Iterator[None]:
        with self._told("raised"), self._current(), uncompiled():
            self._make_ready()
            yield

    def result(self) -> EndToEnd:
        """What was seen so far.

        Inside the `with` block, and where there are samples, the first call also times the forward
        as a CUDA graph and asks torch.profiler for the time that the device was busy.
        """
        self._time_otherwise()
        chosen = [run.seconds for run in undisturbed(self._runs)] if self._reason is None else []
        if not chosen:
            reason = self._reason or NO_SAMPLE
            return EndToEnd(str(self._device), reason=reason, notes=tuple(self._notes))
        median, low, high = median_with_interval(chosen)
        peak = None
        if self._peak is not None and self._allocated_before is not None:
            peak = self._peak - self._allocated_before
        return EndToEnd(
            device=str(self._device),
            eager_s=median,
            low_s=low,
            high_s=high,
            samples=len(chosen),
            discarded=len(self._runs) - len(chosen),
            graph_s=self._graph_s,
            busy_s=self._busy_s,
            disturbed=_mostly_disturbed(self._runs),
            peak_bytes=peak,
            notes=tuple(self._notes),
        )

    # The copy.

    def _check_device(self) -> None:
        if self._device.type == "cpu":
            return
        try:
            module: Any = torch.get_device_module(self._device)
            count = module.device_count() if module.is_available() else 0
        except RuntimeError:  # torch has no module for it
            count = 0
        index: Any = self._device.index
        if (index or 0) >= count:
            raise _Refused(f"there is no {self._device} here")
        if index is None and hasattr(module, "current_device"):
            self._device = torch.device(self._device.type, module.current_device())
        self._accelerator = Accelerator(self._device)
        self._allocated_before = self._accelerator.allocated()

    def _check_room(self) -> None:
        # Inputs twice: a forward that changes them is given new ones at each run.
        needed = storage_bytes(self._given.model) + 2 * self._input_bytes() + self._extra_bytes
        reason = room.why_not(self._device, needed, self._memory_limit)
        if reason is not None:
            raise _Refused(reason)

    def _check_time(self) -> None:
        copied = storage_bytes(self._given.model) + self._input_bytes()
        copying = copied / _COPIED_A_SECOND
        # A run to warm up, and one that counts.
        needed = copying + 2 * self._run_s
        left = self._until - time.perf_counter()
        if needed > left:
            raise _Refused(
                f"no time: a copy and two runs would take about {needed:.2g} s, and "
                f"{max(left, 0):.2g} s of the time budget are left for them"
            )

    def _input_bytes(self) -> int:
        return storage_bytes(self._given.arguments, self._given.keywords)

    def _copy(self) -> None:
        given = self._given
        copies = DeviceCopies(self._device)
        self._model = copies.of(given.model)
        # One after the model: it holds the model, and its copy has to hold the copy.
        self._prepare = copies.of(given.prepare, inputs=True)
        inputs = given.arguments, given.keywords
        self._arguments, self._keywords = copies.of(inputs, inputs=True)
        self._notes |= dict.fromkeys(copies.notes)

    # Runs.

    def _make_ready(self) -> None:
        """The keywords of this sample's runs, with the cache that `prepare` makes."""
        self._prepared = self._keywords
        if self._prepare is not None:
            with torch.no_grad(), self._autocast_region():
                self._prepared = self._prepare(self._fresh(self._keywords))

    def _warm_up(self, seconds: float) -> None:
        if self._accelerator is not None:
            self._accelerator.reset_peak()
        start = time.perf_counter()
        for done in range(_WARM_UPS.get(self._device.type, _WARM_UPS_OF_ACCELERATORS)):
            spent = time.perf_counter() - start
            if done and (spent > max(seconds, 1.0) or not self._in_time(spent / done)):
                break  # a forward that long has nothing left to warm up
            self._changing = self._run_once(watching=not done) or self._changing
            self._run_s = (time.perf_counter() - start) / (done + 1)
        if self._changing:
            self._notes["the forward changes its arguments: each run gets copies"] = None
        self._warm = True

    def _run_once(self, *, watching: bool) -> bool:
        """Runs untimed; with `watching`, on copies, and tells whether it changed them."""
        arguments = self._run_arguments(anew=watching or self._changing)
        before = _picture(arguments) if watching else None
        with kept_process(self._device):
            self._seconds(self._call(arguments))
        return watching and _picture(arguments) != before

    def _take_runs(self, seconds: float) -> None:
        start = time.perf_counter()
        for done in range(_MOST_RUNS):
            spent = time.perf_counter() - start
            enough = sum(not run.disturbed for run in self._runs) >= MIN_RUNS
            patience = max(2 * seconds, _PATIENCE_SECONDS)
            tired = len(self._runs) >= 2 * MIN_RUNS and spent >= patience
            if done and spent >= seconds and (enough or tired):
                break
            if self._runs and not self._in_time(self._run_s):
                break
            self._runs.append(self._timed_run())
            self._run_s = self._runs[-1].seconds

    def _in_time(self, seconds: float) -> bool:
        return time.perf_counter() + seconds <= self._until

    def _timed_run(self) -> Run:
        call = self._call(self._run_arguments(anew=self._changing))
        with kept_process(self._device):
            return run_watched(self._seconds, call)

    def _seconds(self, run: Callable[[], object]) -> float:
        return host_seconds(run) if self._accelerator is None else self._accelerator.seconds(run)

    def _run_arguments(self, *, anew: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = self._arguments, self._prepared
        return self._fresh(given) if anew else given

    def _fresh(self, value: Any) -> Any:
        return DeviceCopies(self._device, shared=(self._model,)).of(value)

    def _call(self, given: tuple[tuple[Any, ...], dict[str, Any]]) -> Callable[[], object]:
        model, (arguments, keywords) = self._model, given
        assert model is not None

        def call() -> object:
            with self._autocast_region():
                return consumed(model(*arguments, **keywords), keep=False)

        # Where autocast is on around us, it would keep the weights that it cast the last time.
        torch.clear_autocast_cache()
        return call

    def _autocast_region(self) -> Any:
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self._device.type, self._autocast)

    def _current(self) -> Any:
        return nullcontext() if self._accelerator is None else self._accelerator.current()

    # Other times of the same forward.

    def _time_otherwise(self) -> None:
        accelerator = self._accelerator
        if accelerator is None or not self._runs or self._model is None or self._timed_otherwise:
            return
        if not self._in_time(_OTHERWISE_RUNS * self._run_s):
            self._notes["no time was left for torch.profiler and a CUDA graph"] = None
            return
        self._timed_otherwise = True
        self._busy_s = self._other("torch.profiler", lambda run: busy_seconds(accelerator, run))
        if self._device.type == "cuda":
            self._graph_s = self._other("CUDA graph", lambda run: graph_seconds(self._device, run))

    def _other(
        self, name: str, timed: Callable[[Callable[[], object]], float | None]
    ) -> float | None:
        around = sys.exception()
        try:
            with kept_process(self._device), self._current(), uncompiled():
                return timed(self._call(self._run_arguments(anew=self._changing)))
        except Exception as error:
            self._notes[f"{name}: {_text_of(_root(error, around))}"] = None
            return None

    # Failures.

    @contextmanager
    def _told(self, verb: str) -> Iterator[None]:
        """Makes an error inside the reason, and frees the copy whatever ended the block."""
        try:
            with kept_process(self._device):
                yield
        except _Refused as refusal:
            self._reason = str(refusal)
        except Exception as error:
            self._reason = _reason(error, verb)
        except BaseException:
            self._free()
            raise
        if self._reason is not None:
            self._free()


def _device(device: torch.device | str) -> torch.device:
    known = as_device(device)
    if known.type == "meta":
        raise InputError("nothing runs on the meta device: pass device='cpu' or 'cuda'")
    return known


def _reason(error: Exception, verb: str) -> str:
    # The host's allocator raises a plain RuntimeError.
    short = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    if short or "can't allocate memory" in str(error):
        return f"does not fit: {_text_of(error)}"
    return f"the model {verb}: {_text_of(error)}"


def _text_of(error: BaseException, most: int = 300) -> str:
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= most else text[: most - 3] + "..."


def _root(error: BaseException, around: BaseException | None) -> BaseException:
    """The error that came first, after `around`: leaving a failed capture raises another one."""
    while error.__context__ is not None and error.__context__ is not around:
        error = error.__context__
    return error


def _picture(value: Any) -> list[Any]:
    """What differs after `value` was changed: sizes, numbers, and the writes to tensors."""
    return [_seen(item) for item in reachable(value)]


def _seen(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return id(value), tuple(value.shape), value._version
    if isinstance(value, (list, tuple, dict, set)):
        return id(value), len(value)
    return value if isinstance(value, (bool, int, float, str)) else id(value)


def _mostly_disturbed(runs: list[Run]) -> bool:
    return sum(not run.disturbed for run in runs) < min(MIN_RUNS, len(runs))
