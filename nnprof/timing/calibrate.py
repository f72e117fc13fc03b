"""Calibration: times a hundred and more calls on a device, and fits the time model to them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from nnprof.base.contention import TRUSTED_SHARE, observed
from nnprof.base.files import make_folder
from nnprof.errors import DisturbedError, InputError
from nnprof.hardware.detect import calibration_path, for_device, identity
from nnprof.hardware.fit import Errors, errors, fit, solver
from nnprof.hardware.probes import Probe, Probes, groups
from nnprof.hardware.stored import mean_residual

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nnprof import _core
    from nnprof.hardware.probes import Group
    from nnprof.hardware.spec import Hardware
    from nnprof.results.time_records import Measurements

__all__ = ["MOST_RESIDUAL", "calibrate", "save"]

#: A calibration with a larger mean error than this, as a share, says less than the datasheet does.
MOST_RESIDUAL = 0.25

#: Fewer measured probes than this tell nothing of a group's constants.
_FEWEST = 3


def calibrate(
    device: torch.device | str,
    *,
    time_budget: float = 60.0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Hardware:
    """The device that is here with the time model's constants fitted to it.

    Takes `time_budget` seconds at most for measuring, and some for the fit. The result has the
    errors that remain by class of operator in `residuals`, and what it was measured under in
    `calibration`; `save` puts it where `for_device` finds it.

    Raises:
        InputError: there is no such device, or too little could be measured on it.
        MissingExtraError: scipy is not installed.
        DisturbedError: others had the processors, or the model fits what was measured badly, with a
            mean error above `MOST_RESIDUAL`.
    """
    from nnprof.timing.replay import present_device, replay
    from nnprof.tracing.trace import trace

    solver()  # what is missing for the fit is said before the measuring
    present = present_device(device)
    start = for_device(present, calibrated=False)
    probed = groups(start)
    probes = [probe for group in probed for probe in group.probes]
    with torch.no_grad(), trace(model := Probes(probes)) as running:
        model()
    result = running.result
    with observed() as disturbance:
        measured = replay(result, present, time_budget=time_budget, warm=False, progress=progress)
    if measured.interrupted:
        raise KeyboardInterrupt
    if disturbance.lost > TRUSTED_SHARE:
        raise DisturbedError(
            "the calibration is not kept: other programs had the processors, threads had to wait "
            f"for {disturbance.lost:.2f} s of every second. Leave the machine alone meanwhile, or "
            "calibrate with fewer threads (torch.set_num_threads)"
        )
    fitted = _fitted(start, probed, _signatures(result, probes), result, measured)
    residual = mean_residual(fitted)
    if residual is not None and residual > MOST_RESIDUAL:
        raise DisturbedError(
            f"the calibration is not kept: its estimates are off by {residual:.0%} in the mean, "
            f"more than {MOST_RESIDUAL:.0%}. Leave the machine alone meanwhile, or give more time"
        )
    return replace(fitted, calibration={**_conditions(measured), **identity(present)})


def save(hardware: Hardware, device: torch.device | str) -> Path:
    """Writes a calibration where `for_device` looks for it, and returns the path."""
    path = calibration_path(hardware, device)
    make_folder(path.parent)
    hardware.save(path)
    return path


def _signatures(result: _core.TraceResult, probes: Sequence[Probe]) -> list[int]:
    """The signature of each probe's call: the last one that it made."""
    index = result.call_index()["signature"].tolist()
    names = result.signatures()["op"]
    costly = [number for number in index if names[number] not in _FACTORIES]
    if len(costly) != len(probes):
        raise AssertionError(f"{len(probes)} probes made {len(costly)} calls")
    return costly


#: What probes make their inputs with.
_FACTORIES = ("aten::empty.memory_format", "aten::zeros", "aten::transpose.int")


def _fitted(
    hardware: Hardware,
    probed: Sequence[Group],
    signatures: Sequence[int],
    result: _core.TraceResult,
    measured: Measurements,
) -> Hardware:
    from nnprof.timing.estimate import estimate

    first, start, taken = 0, hardware, _taken(hardware, measured)
    for group in probed:
        numbers = signatures[first : first + len(group.probes)]
        first += len(group.probes)
        known = [n for n in numbers if taken[n] is not None]
        if len(known) < max(_FEWEST, len(group.constants)):
            continue

        def estimated(trial: Hardware, known: list[int] = known) -> list[float]:
            seconds = estimate(result, trial).seconds
            return [seconds[number] for number in known]

        seconds = [taken[number] or 0.0 for number in known]
        names = [name for name in group.constants if hardware.model_constants()[name] > 0]
        hardware = fit(hardware, names, estimated, seconds)
    if hardware is start:
        done = sum(measured.seconds[number] is not None for number in signatures)
        raise InputError(
            f"too little could be measured, {done} of {len(signatures)} calls: give more time, or "
            f"leave the machine alone ({_reasons(measured)})"
        )
    return _with_residuals(hardware, signatures, result, measured)


def _taken(hardware: Hardware, measured: Measurements) -> list[float | None]:
    """What the probes took. On a CPU the low end of the median's interval: others slow a probe
    down, never speed it up, and what is fitted is the machine, not its neighbours. The fastest
    sample of all had its inputs in the cache of a core by chance."""
    if hardware.kind != "cpu":
        return measured.seconds
    columns = zip(measured.seconds, measured.low_s, measured.fastest_s, strict=True)
    return [
        None if median is None else fastest if low is None else low
        for median, low, fastest in columns
    ]


def _with_residuals(
    hardware: Hardware,
    signatures: Sequence[int],
    result: _core.TraceResult,
    measured: Measurements,
) -> Hardware:
    from nnprof.timing.estimate import estimate

    estimates, taken = estimate(result, hardware), _taken(hardware, measured)
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number in signatures:
        guess, seconds = estimates.seconds[number], taken[number]
        if seconds and guess:
            pairs[estimates.op_class[number]].append((guess, seconds))
    found: dict[str, Errors] = {
        name: errors(*zip(*those, strict=True)) for name, those in pairs.items()
    }
    constants = {f"error.{name}": one.mape for name, one in found.items() if name != "free"}
    return replace(
        hardware,
        source="measured",
        constants={**hardware.constants, **constants},
        residuals={name: one.to_dict() for name, one in found.items()},
    )


def _reasons(measured: Measurements) -> str:
    told = zip(measured.status, measured.notes, strict=True)
    reasons = {f"{status}: {note}" if note else status for status, note in told}
    return "; ".join(sorted(reasons - {"measured", "view"})[:5])


def _conditions(measured: Measurements) -> dict[str, str | float]:
    """What it was measured under, as texts and numbers."""
    known: dict[str, Any] = {**measured.conditions, "took_s": measured.took_s}
    return {
        name: float(value) if type(value) in (int, float) else str(value)
        for name, value in known.items()
        if value is not None
    }
