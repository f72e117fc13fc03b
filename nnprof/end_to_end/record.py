"""What is known of a real forward after it ran, or why it did not."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EndToEnd"]


@dataclass(frozen=True)
class EndToEnd:
    """One forward of a deep copy on `device`. Times are seconds, and None where there is none."""

    device: str
    #: Median wall time of one eager forward: between two events on a device that has them.
    eager_s: float | None = None
    #: Confidence interval of that median, by ranks: 95 %; None below six samples.
    low_s: float | None = None
    high_s: float | None = None
    #: Runs that the median is of, and runs left out because other processes disturbed them.
    samples: int = 0
    discarded: int = 0
    #: Other processes disturbed nearly every run: the times are of the least disturbed ones.
    disturbed: bool = False
    #: Median time of replaying the forward as one CUDA graph.
    graph_s: float | None = None
    #: Time in which at least one kernel or copy of one forward ran, as torch.profiler saw it. None
    #: on the CPU, where the profiler adds a microsecond or two to each operator it times.
    busy_s: float | None = None
    #: Most that was allocated at once, weights and inputs included, over what was before the copy.
    peak_bytes: int | None = None
    #: Why there are no times.
    reason: str | None = None
    #: What to know when reading the times.
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which `from_dict` takes back."""
        return asdict(self) | {"notes": list(self.notes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EndToEnd:
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in values.items() if name in known}
        return cls(**given | {"notes": tuple(given.get("notes", ()))})
