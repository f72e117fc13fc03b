"""The calibrations that are kept: which there are, and how to be rid of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnprof.errors import InputError
from nnprof.hardware.detect import calibrations_folder
from nnprof.hardware.spec import Hardware, load

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["forget", "mean_residual", "stored"]


def stored() -> dict[Path, Hardware | InputError]:
    """Every calibration by its file; of a file that cannot be read, why."""
    found: dict[Path, Hardware | InputError] = {}
    for path in sorted(calibrations_folder().glob("*.json")):
        try:
            found[path] = load(path)
        except InputError as error:
            found[path] = error
    return found


def forget(name: str) -> Path:
    """Removes the calibration of that name, that of its file without the suffix, and returns where
    it was. Raises InputError where there is none."""
    by_name = {path.stem: path for path in stored()}
    path = by_name.get(name)
    if path is None:
        known = ", ".join(by_name) or "none is kept"
        raise InputError(f"there is no calibration {name!r}; of those that are kept: {known}")
    path.unlink()
    return path


def mean_residual(hardware: Hardware) -> float | None:
    """The mean error that remained, as a share, of all calls that were timed; None without any."""
    calls = sum(one["n"] for one in hardware.residuals.values())
    if not calls:
        return None
    return sum(one["mape"] * one["n"] for one in hardware.residuals.values()) / calls
