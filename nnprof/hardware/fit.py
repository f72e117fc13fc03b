"""Fits constants of the time model to measured times, by least squares on the log of the error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nnprof.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from nnprof.hardware.spec import Hardware

__all__ = ["Errors", "errors", "fit", "solver"]

#: Errors beyond this weigh less: an outlier must not bend the fit (the scale of `soft_l1`).
_OUTLIER = 0.1
#: A constant stays within this factor of where it starts: fits are of what the model says, not of
#: what it lacks.
_RANGE = 8.0
#: How hard a constant is held to its default: a factor of e away costs as much as this error.
_PRIOR = 0.02


@dataclass(frozen=True)
class Errors:
    """How far estimates are off: shares of the measured time."""

    n: int
    mape: float  #: mean absolute error
    median: float
    p90: float
    bias: float  #: median of the signed error
    weighted: float  #: by time: sum of absolute errors over the sum of times

    def to_dict(self) -> dict[str, float]:
        """As `Hardware.residuals` has them."""
        return {"mape": self.mape, "p90": self.p90, "n": float(self.n), "bias": self.bias}


def errors(estimated: Sequence[float], measured: Sequence[float]) -> Errors:
    """Of two equally long columns of seconds; `measured` must be positive."""
    pair = np.asarray(estimated, dtype=float), np.asarray(measured, dtype=float)
    signed = pair[0] / pair[1] - 1
    size = np.abs(signed)
    return Errors(
        n=len(size),
        mape=float(size.mean()),
        median=float(np.median(size)),
        p90=float(np.quantile(size, 0.9)),
        bias=float(np.median(signed)),
        weighted=float(np.abs(pair[0] - pair[1]).sum() / pair[1].sum()),
    )


def solver() -> Callable[..., Any]:
    """scipy's least squares; raises `MissingExtraError` without scipy."""
    try:
        from scipy.optimize import least_squares
    except ImportError as error:
        raise MissingExtraError("fitting constants needs scipy: pip install scipy") from error
    return least_squares  # type: ignore[no-any-return]


def fit(
    hardware: Hardware,
    names: Sequence[str],
    estimate: Callable[[Hardware], Sequence[float]],
    measured: Sequence[float],
) -> Hardware:
    """`hardware` with the constants `names` as they fit `measured` seconds best.

    `estimate` tells what a device takes for the same calls. Constants are fitted as factors, with
    their defaults as the prior; they must be positive. Raises `MissingExtraError` without scipy.
    """
    least_squares = solver()
    start = hardware.model_constants()
    times = np.log(np.asarray(measured, dtype=float))
    weight = _PRIOR * np.sqrt(len(times))

    def with_factors(logs: NDArray[np.float64]) -> Hardware:
        fitted = {n: start[n] * float(np.exp(log)) for n, log in zip(names, logs, strict=True)}
        return replace(hardware, constants={**hardware.constants, **fitted})

    def residuals(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        estimated = np.asarray(estimate(with_factors(logs)), dtype=float)
        return np.concatenate([np.log(estimated) - times, weight * logs])

    limit = np.log(_RANGE)
    found = least_squares(
        residuals,
        np.zeros(len(names)),
        bounds=(-limit, limit),
        loss="soft_l1",
        f_scale=_OUTLIER,
        diff_step=1e-2,  # waves make the model a staircase: a smaller step sees nothing
        max_nfev=40,
    )
    return with_factors(found.x)
