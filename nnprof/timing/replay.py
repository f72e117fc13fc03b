"""Measures the calls of a trace: each unique one is made again, alone, on a real device.

Only unique calls run, on random inputs of their own, so that the operators of a model that fits no
machine are measured on this one.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch

from nnprof import _core
from nnprof.base.devices import as_device
from nnprof.base.precision import convolution_tf32, matmul_tf32
from nnprof.errors import InputError
from nnprof.hardware import cpu
from nnprof.results.time_records import Measurements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["check_time_budget", "present_device", "replay"]

#: Bytes of the buffer that empties a device's cache, where the cache's size is not known.
_USUAL_FLUSH_BYTES = 256 << 20


def replay(
    result: _core.TraceResult,
    device: torch.device | str,
    *,
    expected_s: Sequence[float] | None = None,
    time_budget: float = 60.0,
    memory_limit: int | None = None,
    warm: bool = True,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Measurements:
    """Times each unique call of `result` on `device`.

    Args:
        expected_s: predicted seconds a call, by signature: what takes the most in all is measured
            first and longest. Default: guessed from FLOPs and bytes.
        time_budget: seconds for all of it. A call that has begun is finished; what is thought to
            take longer than what is left is not begun.
        memory_limit: bytes to use at most. Default: what is free. Arguments and outputs of one
            call are in memory at a time; copies of its weights that empty the cache by turns take
            up to six times the last-level cache; on a device comes a buffer of twice its cache.
        warm: measure calls that memory limits with their weights in the cache, too.
        seed: of the random inputs. torch's generators are put back at the end.
        progress: called after each operator with how many are done, of how many, and its name.

    Ctrl-C stops and keeps what was measured: `interrupted` is then true.

    Raises:
        InputError: the device is not there, or an argument is wrong.
    """
    device = present_device(device)
    weights = _weights(result, expected_s)
    check_time_budget(time_budget)
    if memory_limit is not None and memory_limit <= 0:
        raise InputError(f"memory_limit is in bytes and must be above 0, not {memory_limit}")
    with _seeded(device, seed):
        columns = _core.replay(
            result,
            str(device),
            weights=weights,
            time_budget=time_budget,
            memory_limit=memory_limit,
            warm=warm,
            flush_bytes=_flush_bytes(device),
            progress=progress,
        )
    disturbed = columns.pop("disturbed")
    columns["notes"] = [
        _with_disturbances(note, count)
        for note, count in zip(columns["notes"], disturbed, strict=True)
    ]
    if device.type == "cpu":
        columns["host_s"] = [None] * len(weights)
    return Measurements(device=str(device), conditions=_conditions(device, seed), **columns)


def check_time_budget(seconds: Any) -> None:
    """Raises `InputError` for what is no time to measure for."""
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not (number and 0 < seconds < float("inf")):
        raise InputError(f"time_budget is in seconds and must be above 0, not {seconds!r}")


def present_device(device: torch.device | str) -> torch.device:
    """`device` with its index; raises `InputError` where there is none of its kind."""
    device = as_device(device)
    if device.type == "cpu":
        return torch.device("cpu")
    present = torch.accelerator.current_accelerator(check_available=True)
    if present is None or present.type != device.type:
        other = f"'{present.type}' or 'cpu'" if present is not None else "'cpu'"
        raise InputError(
            f"no {device.type} device is there to measure on: pass device={other}, run where there "
            f"is one, or install a torch built for {device.type} (this one is {torch.__version__})"
        )
    index: Any = device.index  # torch's stubs do not know that it may be None
    if index is None:
        index = torch.accelerator.current_device_index()
    if index >= torch.accelerator.device_count():
        count = torch.accelerator.device_count()
        raise InputError(f"there is no {device}: of {device.type} devices there are {count}")
    return torch.device(device.type, index)


#: A usual machine: where no prediction is given, only proportions matter.
_FLOPS_A_SECOND, _BYTES_A_SECOND = 2e11, 2e10


def _weights(result: _core.TraceResult, expected_s: Sequence[float] | None) -> list[float]:
    """Seconds that the model is thought to spend in all calls of each signature."""
    ops = result.ops()
    numbers = ops["signature"].tolist()
    calls = [0] * _core.signature_count(result)
    guessed = [0.0] * len(calls)
    columns = (ops["flops"].tolist(), ops["bytes_read"].tolist(), ops["bytes_written"].tolist())
    for number, flops, read, written in zip(numbers, *columns, strict=True):
        calls[number] += 1
        guessed[number] = max(flops / _FLOPS_A_SECOND, (read + written) / _BYTES_A_SECOND)
    if expected_s is None:
        expected_s = guessed
    if len(expected_s) != len(calls):
        raise InputError(
            f"expected_s has {len(expected_s)} entries: give one for each of the {len(calls)} "
            "signatures"
        )
    return [seconds * count for seconds, count in zip(expected_s, calls, strict=True)]


def _with_disturbances(note: str, count: int) -> str:
    if not count:
        return note
    busy = f"the machine was busy: {count} samples are kept although others had the processor"
    return f"{note}; {busy}" if note else busy


@contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Generators of the CPU and of the device, seeded and afterwards as they were."""
    if device.type == "cpu":
        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(seed)
            yield
        return
    # Not torch.manual_seed(), which seeds every device there is.
    with (
        torch.random.fork_rng([device.index], device_type=device.type),
        torch.accelerator.device_index(device.index),
    ):
        torch.default_generator.manual_seed(seed)
        getattr(torch, device.type).manual_seed(seed)
        yield


def _flush_bytes(device: torch.device) -> int | None:
    if device.type == "cpu":
        return None
    with suppress(Exception):  # only some backends tell the size of their cache
        properties = getattr(torch, device.type).get_device_properties(device)
        return int(max(2 * properties.L2_cache_size, 64 << 20))
    return _USUAL_FLUSH_BYTES


# --- what the numbers depend on ------------------------------------------------------------------


def _conditions(device: torch.device, seed: int) -> dict[str, Any]:
    conditions: dict[str, Any] = {
        "device_name": _device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seed": seed,
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    if device.type == "cuda":
        conditions |= _cuda_conditions(device)
    return conditions


def _device_name(device: torch.device) -> str:
    if device.type != "cpu":
        with suppress(Exception):
            return str(getattr(torch, device.type).get_device_name(device))
        return device.type
    return cpu.model_name()


def _cuda_conditions(device: torch.device) -> dict[str, Any]:
    conditions: dict[str, Any] = {
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_allow_tf32": convolution_tf32(),
        "matmul_allow_tf32": matmul_tf32(),
    }
    # Asked of the driver by a package that may not be installed.
    for name, ask in (
        ("clock_mhz", torch.cuda.clock_rate),
        ("power_mw", torch.cuda.power_draw),
        ("temperature_c", torch.cuda.temperature),
    ):
        with suppress(Exception):
            conditions[name] = ask(device)
    return conditions
