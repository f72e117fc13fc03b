"""What a process holds of a GPU beside its tensors, against what out-of-memory messages say."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from nnprof.hardware import find
from nnprof.hardware.process_memory import process_memory

MIB, GIB = 1 << 20, 1 << 30
MESSAGES = Path(__file__).with_name("out_of_memory.csv")


def contexts() -> dict[str, list[float]]:
    """MiB that no allocator knew of, by device, of programs of one process.

    Which device it was is said in the thread, or is what alone has so much memory.
    """
    found = defaultdict(list)
    with MESSAGES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["device"] and row["runs_on"] == "one process":
                of_torch = float(row["allocated_gib"]) + float(row["unallocated_gib"])
                found[row["device"]].append(1024 * (float(row["process_gib"]) - of_torch))
    return found


@pytest.mark.parametrize("name", sorted(contexts()))
def test_contexts_are_in_the_range_of_the_device(name: str) -> None:
    memory = process_memory(find(name))
    seen = contexts()[name]
    low, high = memory.context_low / MIB - 12, memory.context_high / MIB + 12  # rounded to 0.01 GiB
    # Others hold what a library took past PyTorch (TensorRT, a simulator): nobody can know.
    assert sum(low <= context <= high for context in seen) >= 0.6 * len(seen)
    assert sum(context < low for context in seen) <= max(1, 0.1 * len(seen))


def test_most_devices_have_messages() -> None:
    counted = contexts()
    assert len(counted) >= 13
    assert sum(map(len, counted.values())) >= 100


@pytest.mark.parametrize(
    ("name", "workspace"),
    # parseChosenWorkspaceSize of ATen/cuda/CublasHandlePool.cpp
    [("a100", 8_519_680), ("t4", 8_519_680), ("h100", 32 * MIB), ("rtx-5090", 32 * MIB)],
)
def test_blas_workspace(name: str, workspace: int) -> None:
    assert process_memory(find(name)).blas_workspace == workspace


def test_a_device_that_nobody_has_seen_run_out() -> None:
    memory = process_memory(find("mi300x"))
    assert 0.97 * 192 * GIB < memory.total < 192 * GIB
    assert memory.context_low < memory.context < memory.context_high
