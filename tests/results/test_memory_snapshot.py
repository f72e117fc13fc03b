"""Snapshots of the simulated allocator, as PyTorch's own viewer of snapshots reads them."""

from __future__ import annotations

import pickle
import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.cuda import _memory_viz as viewer

import nnprof
from nnprof.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from nnprof.results.device_memory import DeviceMemory

CONFIGURATIONS = [
    "",
    "expandable_segments:True",
    "max_split_size_mb:21",
    "roundup_power2_divisions:4",
]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(1024, 1024, device="meta") for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = x + block(x).relu()
        return x


def device_memory(conf: str = "", optimizer: str | None = "adamw") -> DeviceMemory:
    profile = nnprof.measure(
        Net().train(), (3000, 1024), hardware="h100", backward=True, optimizer=optimizer
    )
    return profile.memory.on("h100", conf)


@pytest.mark.parametrize("conf", CONFIGURATIONS)
def test_segments_and_blocks_add_up(conf: str) -> None:
    memory = device_memory(conf)
    snapshot = memory.snapshot()
    text = viewer.segsum(snapshot)  # raises where blocks do not fill their segment
    assert "total_reserved" in text
    reserved = sum(segment["total_size"] for segment in snapshot["segments"])
    allocated = sum(segment["allocated_size"] for segment in snapshot["segments"])
    assert reserved == memory.timeline["reserved"][-1]
    assert allocated == memory.timeline["allocated"][-1]
    for segment in snapshot["segments"]:
        at = segment["address"]
        for block in segment["blocks"]:
            assert block["address"] == at
            at += block["size"]
        assert at == segment["address"] + segment["total_size"]


@pytest.mark.parametrize("conf", CONFIGURATIONS)
def test_events_lead_to_the_peaks(conf: str) -> None:
    """Segments to the most reserved, and blocks never on each other or outside of a segment."""
    memory = device_memory(conf)
    reserved = most = 0
    in_use: dict[int, int] = {}
    for event in memory.snapshot()["device_traces"][0]:
        action, address, size = event["action"], event["addr"], event["size"]
        reserved += {"segment_alloc": size, "segment_map": size}.get(action, 0)
        reserved -= {"segment_free": size, "segment_unmap": size}.get(action, 0)
        most = max(most, reserved)
        if action == "alloc":
            assert not any(at < address + size and address < at + in_use[at] for at in in_use)
            in_use[address] = size
        elif action == "free_completed":
            assert in_use.pop(address) == size
    assert most == memory.reserved


def test_each_event_says_where_it_comes_from() -> None:
    trace = device_memory().snapshot()["device_traces"][0]
    frames = {
        tuple((frame["name"], frame["filename"]) for frame in event["frames"]) for event in trace
    }
    linear = ("aten::linear", "blocks.2"), ("Linear", "blocks.2")
    assert any(found[:2] == linear and found[-1] == ("Net", "the model") for found in frames)


def test_a_file_that_the_viewer_opens(tmp_path: Path) -> None:
    memory = device_memory(optimizer=None)
    memory.save_snapshot(tmp_path / "snapshot.pickle")
    snapshot: dict[str, Any] = pickle.loads((tmp_path / "snapshot.pickle").read_bytes())
    assert snapshot == memory.snapshot()
    written = viewer.trace(snapshot)
    assert len(re.findall("cudaMalloc", written)) == sum(
        event["action"] == "segment_alloc" for event in snapshot["device_traces"][0]
    )
    assert "Active Memory Timeline" in viewer.trace_plot(snapshot)


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(InputError, match="cannot write the snapshot to /nowhere/at/all"):
        device_memory().save_snapshot("/nowhere/at/all/snapshot.pickle")
