"""The process of `benchmarks/gpu.py` that has the device: a request a line in, an answer out.

A device that was brought into a bad state stays so until its process ends, and the same operator is
to be timed in two processes: hence one of its own. Requests are JSON objects: "do" names a method
of `Worker`, the rest are its arguments; the answer is what it returns.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections import Counter, defaultdict
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.gpu_models import CASES, QUICK_CASES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import nnprof
    from benchmarks.gpu_models import Case
    from nnprof._core import TraceResult
    from nnprof.hardware import Hardware
    from nnprof.results.time_records import Estimates

Result = dict[str, Any]
#: An operator with the sizes of its tensors: how a profiler's events and a trace's calls are told.
Key = tuple[str, tuple[tuple[int, ...], ...]]

__all__ = ["Worker", "by_operator", "main"]

#: Of a model's time, what building it, copying it and all that has no budget leave for measuring.
_MEASURING_SHARE = 0.75
_LEAST_S = 0.5


class Worker:
    """What is known of the device, and the answers to requests."""

    def __init__(self) -> None:
        self.device = "cpu"
        self.cases: dict[str, Case] = {case.name: case for case in (*CASES, *QUICK_CASES)}
        self.datasheet: Hardware | None = None
        self.calibrated: Hardware | None = None

    def answer(self, request: Result) -> Result:
        """Of any request; what goes wrong is its reason."""
        known: dict[str, Callable[..., Result]] = {
            "start": self.start,
            "calibrate": self.calibrate,
            "measure": self.measure,
            "replay": self.replay,
        }
        do = known[request.pop("do")]
        try:
            found = do(**request)
        except KeyboardInterrupt:
            found = {"reason": "interrupted"}
        except Exception as error:
            traceback.print_exc(limit=-4)
            found = {"reason": _text_of(error)}
        return found | self._state()

    def start(self, device: str, calibrated: Result | None = None) -> Result:
        """Looks at the device. An extension that cannot be imported is told as "unbuilt"."""
        import torch

        try:
            import nnprof  # noqa: F401
        except ImportError as error:
            return {"unbuilt": str(error)}
        from benchmarks.conditions import conditions
        from nnprof.hardware import Hardware, for_device
        from nnprof.timing.replay import _conditions, present_device

        found = present_device(device)
        self.device = str(found)
        self.datasheet = for_device(found, calibrated=False)
        if calibrated is not None:
            self.calibrated = Hardware.from_dict(calibrated)
        known = conditions("timm", "torchvision", "transformers", "diffusers", "scipy")
        known |= _conditions(found, 0) | {"date": known["date"]}
        if found.type == "cuda":
            properties = torch.cuda.get_device_properties(found)
            known["l2_bytes"] = int(properties.L2_cache_size)
            known["memory_bytes"] = int(properties.total_memory)
            known |= _driver(str(getattr(properties, "uuid", "")))
        return {"conditions": known, "datasheet": self.datasheet.to_dict()}

    def calibrate(self, seconds: float) -> Result:
        """Calibrates the time model, or tells why the datasheet has to do."""
        start = time.perf_counter()
        try:
            from nnprof.timing.calibrate import calibrate
        except ImportError as error:
            return {"reason": f"there is no calibration: {error}"}
        self.calibrated = calibrate(self.device, time_budget=seconds)
        took = time.perf_counter() - start
        return {"hardware": self.calibrated.to_dict(), "took_s": took}

    def measure(self, model: str, seconds: float) -> Result:
        """All that is known of one model."""
        import torch

        import nnprof

        case = self.cases[model]
        start = time.perf_counter()
        before = forget_peak(self.device)
        with torch.no_grad():
            built, call = case.build(), case.call()
            build_s = time.perf_counter() - start
            budget = min(_MEASURING_SHARE * seconds, case.most_s or seconds)
            in_forward: list[Result] = []
            notes: list[str] = []
            with _watched(in_forward, notes):
                profile = nnprof.measure(
                    built,
                    **call,
                    device=self.device,
                    hardware=self.calibrated or self.datasheet,
                    time_budget=max(budget, _LEAST_S),
                    progress=False,
                )
        peak = peak_bytes(self.device)
        found = self._of_profile(profile) | {"build_s": build_s, "notes": notes}
        found["memory"]["device_peak_bytes"] = None if peak is None else peak - before
        found["operators_in_forward"] = beside_forward(found["operators"], in_forward)
        found["took_s"] = time.perf_counter() - start
        return found

    def replay(self, model: str, seconds: float) -> Result:
        """The seconds of each unique call of a model, and nothing else."""
        import torch

        import nnprof
        from nnprof.timing.replay import replay

        case = self.cases[model]
        start = time.perf_counter()
        with torch.no_grad():
            hardware = self.calibrated or self.datasheet
            profile = nnprof.measure(case.build(), **case.call(), hardware=hardware)
        assert profile.times is not None
        left = seconds - (time.perf_counter() - start)
        measured = replay(
            cast("TraceResult", profile.data),
            self.device,
            expected_s=profile.times.estimates.seconds,
            time_budget=max(_MEASURING_SHARE * left, _LEAST_S),
            warm=False,
        )
        return {
            "operators": profile.data.signatures()["op"],
            "seconds": measured.seconds,
            "status": measured.status,
            "interrupted": measured.interrupted,
        }

    def _of_profile(self, profile: nnprof.Profile) -> Result:
        from nnprof.timing.estimate import estimate

        times = profile.times
        assert times is not None
        assert times.measurements is not None
        assert self.datasheet is not None
        estimates: dict[str, Estimates | None] = {
            "datasheet": estimate(cast("TraceResult", profile.data), self.datasheet),
            "calibrated": times.estimates if self.calibrated else None,
        }
        total, line, measured = times.total, times.timeline, times.measurements
        operators = _operators(profile, estimates)
        return {
            "reason": None,
            "params": profile.params,
            "macs": profile.macs,
            "calls": profile.coverage.calls,
            "estimated": {
                name: {"device_s": one.timeline.device_s, "wall_s": one.timeline.wall_s}
                for name, one in estimates.items()
                if one is not None
            },
            "replay": {
                "measured_s": total.measured_s,
                "low_s": total.low_s,
                "high_s": total.high_s,
                "unmeasured": total.unmeasured,
                # With estimates where nothing was measured.
                "device_s": line.device_s,
                "host_s": line.host_s,
                "wall_s": line.wall_s,
                "verdict": line.verdict,
                "status": dict(Counter(measured.status)),
                "interrupted": measured.interrupted,
                "took_s": measured.took_s,
            },
            "end_to_end": times.end_to_end.to_dict() if times.end_to_end else None,
            "memory": {
                "replay_peak_bytes": measured.peak_bytes,
                "largest_operator_bytes": max(
                    (one["bytes"] for one in operators if one["status"] != "view"), default=0
                ),
            },
            "operators": operators,
        }

    def _state(self) -> Result:
        """Frees what is left, and tells where the device is of no more use to this process."""
        import gc

        gc.collect()
        if not self.device.startswith("cuda"):
            return {}
        import torch

        try:
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()
        except Exception as error:
            return {"broken": _text_of(error)}
        return {}


def _operators(profile: nnprof.Profile, estimates: dict[str, Estimates | None]) -> list[Result]:
    """A line a unique call."""
    assert profile.times is not None
    known = profile.data.signatures()
    shapes = zip(known["input_shapes"], known["output_shapes"], known["dtype"], strict=True)
    return [
        {
            "op": one.op,
            "op_class": one.op_class,
            "input_shapes": inputs,
            "dtype": dtype,
            "bytes": _bytes(inputs, outputs, dtype),
            "calls": one.calls,
            "estimated_s": {
                name: of.seconds[one.signature] for name, of in estimates.items() if of is not None
            },
            "measured_s": one.measured_s,
            "low_s": one.low_s,
            "high_s": one.high_s,
            "warm_s": one.warm_s,
            "status": one.status,
            "note": one.note,
        }
        for one, (inputs, outputs, dtype) in zip(profile.times.by_signature, shapes, strict=True)
    ]


def _bytes(inputs: list[list[int]], outputs: list[list[int]], dtype: str) -> int:
    """What all tensors of a call hold."""
    import torch

    size = getattr(getattr(torch, dtype, None), "itemsize", 4)
    return size * sum(prod(shape) for shape in (*inputs, *outputs))


# --- operators in the real forward ---------------------------------------------------------------


@contextmanager
def _watched(found: list[Result], notes: list[str]) -> Iterator[None]:
    """Adds to `found` what a profiler sees of each operator, of a real forward inside.

    Where it fails, nothing is compared, and `notes` tell why.

    The copy that the forward runs on is made and freed within `measure`, so this goes along where
    that asks the profiler for the time that the device was busy.
    """
    from nnprof.timing.end_to_end import forward

    place: Any = forward  # which imports it, and does not export it
    asked = place.busy_seconds

    def busy_seconds(accelerator: Any, run: Callable[[], object]) -> float | None:
        busy = asked(accelerator, run)
        try:
            found.extend(_profiled(accelerator, run))
        except Exception as error:
            notes.append(f"its operators were not profiled: {_text_of(error)}")
        return busy

    place.busy_seconds = busy_seconds
    try:
        yield
    finally:
        place.busy_seconds = asked


def _profiled(accelerator: Any, run: Callable[[], object]) -> list[Result]:
    from torch import profiler

    activities = [profiler.ProfilerActivity.CPU, profiler.ProfilerActivity.CUDA]
    found: list[Result] = []
    # One forward goes by first: the profiler may miss kernels right after it starts.
    plan = profiler.schedule(wait=0, warmup=1, active=1, repeat=1)
    with profiler.profile(
        activities=activities,
        schedule=plan,
        record_shapes=True,
        on_trace_ready=lambda session: found.extend(by_operator(session.events())),
    ) as session:
        for _ in range(2):
            run()
            accelerator.synchronize()
            session.step()
    return found


def by_operator(events: Iterable[Any]) -> list[Result]:
    """Mean device seconds of each operator of ATen that no other called, by the sizes it got."""
    seconds: dict[Key, list[float]] = defaultdict(list)
    for event in events:
        if event.name.startswith("aten::") and not _called_by_operator(event):
            shapes = getattr(event, "structured_input_shapes", None) or event.input_shapes or []
            seconds[_key(event.name, shapes)].append(event.device_time_total / 1e6)
    return [
        {"op": op, "input_shapes": shapes, "calls": len(those), "seconds": statistics.fmean(those)}
        for (op, shapes), those in seconds.items()
    ]


def _called_by_operator(event: Any) -> bool:
    parent = event.cpu_parent
    while parent is not None:
        if parent.name.startswith("aten::"):
            return True
        parent = parent.cpu_parent
    return False


def _key(op: str, shapes: Iterable[Any]) -> Key:
    """Without what is told in one way by a trace and in another by a profiler: numbers, lists."""
    flat = [
        tuple(inner)
        for shape in shapes
        for inner in (shape if shape and isinstance(shape[0], (list, tuple)) else [shape])
    ]
    return op.partition(".")[0], tuple(shape for shape in flat if shape)


def beside_forward(operators: list[Result], in_forward: list[Result]) -> list[Result]:
    """Replayed seconds a call beside those in the forward, where both know of the operator.

    Calls that differ in more than sizes, as in strides, are one line, with their mean.
    """
    profiled = {_key(one["op"], one["input_shapes"]): one["seconds"] for one in in_forward}
    replayed: dict[Key, list[Result]] = defaultdict(list)
    for one in operators:
        replayed[_key(one["op"], one["input_shapes"])].append(one)
    found = []
    for key, those in replayed.items():
        seconds = profiled.get(key)
        if not seconds or any(one["measured_s"] is None for one in those):
            continue
        calls = sum(one["calls"] for one in those)
        mean = sum(one["calls"] * one["measured_s"] for one in those) / calls
        found.append(
            {
                "op": key[0],
                "input_shapes": key[1],
                "calls": calls,
                "replay_s": mean,
                "kineto_s": seconds,
            }
        )
    return found


# --- the device ----------------------------------------------------------------------------------


def forget_peak(device: str) -> int:
    """The bytes that torch has allocated now, from where `peak_bytes` starts anew."""
    if not device.startswith("cuda"):
        return 0
    import torch

    torch.cuda.reset_peak_memory_stats(device)
    return int(torch.cuda.memory_allocated(device))


def peak_bytes(device: str) -> int | None:
    """The most that torch had allocated at once since `forget_peak`, or since a real forward."""
    if not device.startswith("cuda"):
        return None
    import torch

    return int(torch.cuda.max_memory_allocated(device))


_QUESTIONS = {
    "driver": "driver_version",
    "clock_mhz": "clocks.sm",
    "most_clock_mhz": "clocks.max.sm",
    "memory_clock_mhz": "clocks.mem",
    "power_limit_w": "power.limit",
    "temperature_c": "temperature.gpu",
    "mig": "mig.mode.current",
}


def _driver(uuid: str) -> Result:
    """What the driver's own tool tells; nothing where it is not installed."""
    which = [[f"--id=GPU-{uuid.removeprefix('GPU-')}"]] if uuid else []
    for chosen in (*which, []):  # a slice of a GPU has an id of its own
        query = [f"--query-gpu={','.join(_QUESTIONS.values())}", "--format=csv,noheader,nounits"]
        command = ["nvidia-smi", *chosen, *query]
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
            values = [value.strip() for value in done.stdout.splitlines()[0].split(",")]
            return dict(zip(_QUESTIONS, values, strict=False))
    return {}


def _text_of(error: BaseException, most: int = 400) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:most]


def main() -> int:
    """Answers until there is no more request."""
    logging.disable(logging.WARNING)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints must not come between the answers
    worker = Worker()
    with suppress(KeyboardInterrupt):
        for line in sys.stdin:
            answer = worker.answer(json.loads(line))
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
            if "broken" in answer:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
