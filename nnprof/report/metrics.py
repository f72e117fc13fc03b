"""The numbers a profile has, described as data.

A metric carries its name, its unit, and what it is over the module tree. Printers loop over
`METRICS` and know no metric by name: a new one is an entry here and a property of `Layer` and of
`Profile`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from nnprof.base.units import Unit, format_exact, format_value
from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnprof.results.profile import Profile

__all__ = ["AT_LEAST", "METRICS", "Aggregation", "Metric", "find_metric", "known"]


#: Before a total that operators without a rule may add to.
AT_LEAST = "≥ "


class Aggregation(Enum):
    """What a layer's value says of the layers inside it."""

    SUM = "sum"  # the work done in a call, children included; `own_<name>` leaves the children out
    PROPERTY = "property"  # belongs to the module, however often it is called


@dataclass(frozen=True)
class Metric:
    """One number of a layer and of the whole: `getattr(layer, name)`, `getattr(profile, name)`."""

    name: str
    title: str
    unit: Unit
    aggregation: Aggregation
    help: str
    in_table: bool = True  # or only in files: a table has room for the main ones
    note: Callable[[Profile], str] | None = None  # what is said beside the total of a profile
    #: A count, the same at every run and for equal modules; else seconds, which may not be known.
    exact: bool = True
    #: The metric that says how much this one leaves out.
    missing: str | None = None
    #: The metric that this one mostly equals: a comparison shows it where they differ.
    mostly: str | None = None

    def of(self, owner: Any) -> float | None:
        """The value of a `Profile` or a `Layer` (children included); None: not known."""
        return getattr(owner, self.name)  # type: ignore[no-any-return]

    def is_lower_bound(self, profile: Profile) -> bool:
        """Is the total a lower bound? An operator without a rule may do more than its sizes say."""
        counted = self.exact and self.aggregation is Aggregation.SUM
        return counted and bool(profile.coverage.generic)

    def own(self, layer: Any) -> float | None:
        """The value of a `Layer` without its children."""
        return getattr(layer, f"own_{self.name}")  # type: ignore[no-any-return]


def _of_parameters(profile: Profile) -> str:
    size = format_value(profile.facts.parameter_bytes, Unit.BYTES)
    buffers = format_value(profile.facts.buffer_bytes, Unit.BYTES)
    counts = f"{format_exact(profile.trainable_params)} trainable"
    if profile.active_params != profile.params:
        counts += f", {format_exact(profile.active_params)} active for a token"
    return f"{counts}; {size}, and {buffers} of buffers"


def _of_flops(profile: Profile) -> str:
    parts = []
    if profile.flops_executed != profile.flops:
        executed = format_value(profile.flops_executed, Unit.FLOPS)
        parts.append(f"{executed} of them executed: kernels skip what masks hide")
    if profile.flops_needed not in (None, profile.flops):
        parts.append(f"{format_value(profile.flops_needed, Unit.FLOPS)} needed")
    return "; ".join(parts)


def _of_traffic(profile: Profile) -> str:
    read = format_value(profile.bytes_read, Unit.BYTES)
    return f"{read} read, {format_value(profile.bytes_written, Unit.BYTES)} written"


METRICS = (
    Metric(
        "params",
        "Params",
        Unit.ELEMENTS,
        Aggregation.PROPERTY,
        "parameters, shared ones once",
        note=_of_parameters,
    ),
    Metric(
        "macs",
        "MACs",
        Unit.MACS,
        Aggregation.SUM,
        "multiply-accumulates of contractions",
    ),
    Metric(
        "flops",
        "FLOPs",
        Unit.FLOPS,
        Aggregation.SUM,
        "all floating-point operations",
        note=_of_flops,
    ),
    Metric(
        "bytes",
        "Bytes",
        Unit.BYTES,
        Aggregation.SUM,
        "memory access cost: bytes read and written",
        note=_of_traffic,
    ),
    Metric("bytes_read", "Read", Unit.BYTES, Aggregation.SUM, "bytes read", in_table=False),
    Metric(
        "bytes_written", "Written", Unit.BYTES, Aggregation.SUM, "bytes written", in_table=False
    ),
    Metric(
        "flops_needed",
        "Needed FLOPs",
        Unit.FLOPS,
        Aggregation.SUM,
        "FLOPs without the products that masks hide or that are computed again",
        in_table=False,
        mostly="flops",
    ),
    Metric(
        "estimated_s",
        "Estimated",
        Unit.SECONDS,
        Aggregation.SUM,
        "seconds that the device should take",
        exact=False,
    ),
    Metric(
        "measured_s",
        "Measured",
        Unit.SECONDS,
        Aggregation.SUM,
        "seconds that the device took, of what was measured",
        exact=False,
        missing="unmeasured_s",
    ),
    Metric(
        "unmeasured_s",
        "Not measured",
        Unit.SECONDS,
        Aggregation.SUM,
        "estimated seconds of what was not measured",
        in_table=False,
        exact=False,
    ),
)


def known(profile: Profile) -> list[Metric]:
    """The metrics whose value the profile has."""
    return [metric for metric in METRICS if metric.of(profile) is not None]


def find_metric(name: str) -> Metric:
    """The metric called `name`; raises `InputError` with the names there are."""
    for metric in METRICS:
        if metric.name == name:
            return metric
    names = ", ".join(metric.name for metric in METRICS)
    raise InputError(f"there is no metric {name!r} to sort by: choose one of {names}")
