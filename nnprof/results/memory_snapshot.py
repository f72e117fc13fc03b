"""A simulated allocator's history in the form of PyTorch's memory snapshots.

The form is that of `torch.cuda.memory._snapshot()`, which https://pytorch.org/memory_viz and
`torch/cuda/_memory_viz.py` read: segments with their blocks at the end, and the events before. In
place of a Python stack each has the operator and the modules around it, the innermost first.
"""

from __future__ import annotations

import pickle
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from os import PathLike

    from nnprof.results.records import TraceData

__all__ = ["made", "write"]

Event = tuple[str, int, int, int]
Frames = list[dict[str, Any]]

#: Up to this size a segment is of the pool of small blocks.
_SMALL_SEGMENT = 2 << 20


def made(
    data: TraceData, events: list[Event], layout: list[tuple[int, int, bool]]
) -> dict[str, Any]:
    """The snapshot of `events` (action, call, address, size), which left blocks as in `layout`."""
    frames = _Frames(data)
    traced = [entry for event in events for entry in _entries(event, frames)]
    for number, entry in enumerate(traced):
        entry["time_us"] = number
    return {
        "segments": list(_segments(events, layout, frames)),
        "device_traces": [traced],
        "allocator_settings": {},
    }


def write(snapshot: dict[str, Any], path: str | PathLike[str]) -> None:
    """Pickles it; raises InputError where that cannot be written."""
    try:
        Path(path).write_bytes(pickle.dumps(snapshot, protocol=4))
    except OSError as error:
        raise InputError(f"cannot write the snapshot to {path}: {error}") from error


class _Frames:
    """What stands for the stack of a call; one list for all events of equal calls."""

    def __init__(self, data: TraceData) -> None:
        index = data.call_index()
        self._calls = list(zip(index["scope"], index["signature"], strict=True))
        self._ops = data.signatures()["op"]
        self._rows = data.layers()
        self._known: dict[tuple[int, int], Frames] = {}
        self._before: Frames = [_frame("what is there before", "the model and its inputs")]

    def of(self, call: int) -> Frames:
        if call < 0:
            return self._before
        scope, signature = map(int, self._calls[min(call, len(self._calls) - 1)])
        if (scope, signature) not in self._known:
            modules = [_frame(row["type"], row["path"]) for row in self._around(scope)]
            op = _frame(self._ops[signature], self._rows[scope]["path"])
            self._known[scope, signature] = [op, *modules]
        return self._known[scope, signature]

    def _around(self, scope: int) -> Iterator[dict[str, Any]]:
        while scope >= 0:
            row = self._rows[scope]
            if row["type"]:  # not what no module ran
                yield row
            scope = row["parent"]


def _frame(name: str, where: str) -> dict[str, Any]:
    return {"name": name, "filename": where or "the model", "line": 0}


def _entries(event: Event, frames: _Frames) -> Iterator[dict[str, Any]]:
    action, call, address, size = event
    actions = ("free_requested", "free_completed") if action == "free" else (action,)
    for name in actions:
        yield {
            "action": name,
            "addr": address,
            "size": size,
            "stream": 0,
            "frames": frames.of(call),
        }


@dataclass
class _Segment:
    start: int
    size: int
    call: int  #: that asked for it
    expandable: bool = False
    blocks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + self.size

    def as_dict(self, frames: _Frames) -> dict[str, Any]:
        used = [block for block in self.blocks if block["state"] == "active_allocated"]
        held = sum(block["size"] for block in used)
        return {
            "device": 0,
            "address": self.start,
            "total_size": self.size,
            "allocated_size": held,
            "active_size": held,
            "requested_size": sum(block["requested_size"] for block in used),
            "stream": 0,
            "segment_type": "small" if self.size <= _SMALL_SEGMENT else "large",
            "segment_pool_id": (0, 0),
            "is_expandable": self.expandable,
            "frames": frames.of(self.call),
            "blocks": self.blocks,
        }


def _segments(
    events: Iterable[Event], layout: list[tuple[int, int, bool]], frames: _Frames
) -> Iterator[dict[str, Any]]:
    """Those that are there at the end, each with its blocks."""
    there: dict[int, _Segment] = {}
    in_use: dict[int, Event] = {}
    for action, call, address, size in events:
        if action == "segment_alloc":
            there[address] = _Segment(address, size, call)
        elif action == "segment_free":
            del there[address]
        elif action == "segment_map":
            _map(there, _Segment(address, size, call, expandable=True))
        elif action == "segment_unmap":
            _unmap(there, address, address + size)
        elif action == "alloc":
            in_use[address] = action, call, address, size
        else:
            del in_use[address]
    starts = sorted(there)
    for address, size, used in layout:
        segment = there[starts[bisect_right(starts, address) - 1]]
        segment.blocks.append(_block(address, size, in_use[address] if used else None, frames))
    for start in starts:
        yield there[start].as_dict(frames)


def _map(there: dict[int, _Segment], part: _Segment) -> None:
    """Adds it, as one with what it touches of the same expandable segment."""
    before = next((one for one in there.values() if one.expandable and one.end == part.start), None)
    if before is not None:
        del there[before.start]
        part = _Segment(before.start, before.size + part.size, before.call, expandable=True)
    behind = there.get(part.end)
    if behind is not None and behind.expandable:
        del there[behind.start]
        part = _Segment(part.start, part.size + behind.size, part.call, expandable=True)
    there[part.start] = part


def _unmap(there: dict[int, _Segment], start: int, end: int) -> None:
    """Takes [start, end) out of the expandable segment that it lies in."""
    whole = next(one for one in there.values() if one.start <= start < one.end)
    del there[whole.start]
    for left, right in ((whole.start, start), (end, whole.end)):
        if left < right:
            there[left] = _Segment(left, right - left, whole.call, expandable=True)


def _block(address: int, size: int, event: Event | None, frames: _Frames) -> dict[str, Any]:
    return {
        "address": address,
        "size": size,
        "requested_size": event[3] if event is not None else size,
        "state": "active_allocated" if event is not None else "inactive",
        "frames": frames.of(event[1]) if event is not None else [],
    }
