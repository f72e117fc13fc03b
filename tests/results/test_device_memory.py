"""A profile's memory on a GPU: reserved, process, and what it cannot say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

import nnprof
from nnprof.errors import InputError
from nnprof.hardware import find
from nnprof.hardware.process_memory import process_memory

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def measured(hardware: str | None = None) -> nnprof.Profile:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(1024, 4096), nn.ReLU(), nn.Linear(4096, 1024))
    return nnprof.measure(model, (256, 1024), backward=True, hardware=hardware)


def test_reserved_and_process_are_those_of_the_profiles_hardware() -> None:
    memory = measured("h100").memory
    on_it = memory.on("h100")
    assert (memory.reserved, memory.process) == (on_it.reserved, on_it.process)
    assert memory.peak <= on_it.allocated <= on_it.reserved < on_it.process
    assert on_it.process - on_it.reserved == on_it.context
    assert on_it.reserved % (2 * MIB) == 0


def test_each_thread_that_multiplies_has_a_workspace() -> None:
    """Forward and backward: two of 8,519,680 bytes, on Hopper of 32 MiB."""
    memory = measured().memory
    more = memory.on("h100").allocated - memory.on("a100").allocated
    assert more == 2 * (32 * MIB - 8_519_680)


def test_a_device_with_little_memory_gives_back_what_is_cached_first() -> None:
    memory = measured().memory.on("a100")
    assert memory.allocated <= memory.needed <= memory.reserved
    assert memory.retries == 0
    assert memory.out_of_memory is None
    assert memory.verdict == "yes"


def test_a_timeline_of_both() -> None:
    profile = measured()
    timeline = profile.memory.on("a100").timeline
    assert len(timeline["reserved"]) == len(timeline["allocated"]) == profile.calls
    assert (timeline["allocated"] <= timeline["reserved"]).all()


def test_beside_is_held_all_the_while() -> None:
    memory = measured().memory
    plain, more = memory.on("a100"), memory.on("a100", beside=1 << 30)
    assert more.allocated - plain.allocated == 1 << 30


def test_fits_means_the_process() -> None:
    profile = measured()
    reserved = profile.memory.on("a100").reserved
    total = process_memory(find("a100")).total
    # Beside it, so much that its tensors still have room, and its process has not.
    beside = total - profile.memory.peak - 64 * MIB
    assert profile.memory.fits("a100")
    assert profile.memory.on("a100", beside=beside).verdict != "yes"
    assert reserved > profile.memory.peak


def test_needs_a_gpu() -> None:
    with pytest.raises(InputError, match="on which GPU"):
        _ = measured().memory.reserved
    with pytest.raises(InputError, match="is no GPU"):
        measured().memory.on("x86")


def test_of_a_model_on_the_cpu_nothing_is_known() -> None:
    profile = nnprof.measure(nn.Linear(8, 8), (4, 8))
    with pytest.raises(InputError, match="the model is on the CPU"):
        profile.memory.on("a100")
    assert nnprof.measure(nn.Linear(8, 8), (4, 8), hardware="a100").memory.reserved >= 2 * MIB


def test_a_saved_profile_answers_as_the_first_one(tmp_path: Path) -> None:
    profile = measured("a100")
    profile.save(tmp_path / "profile.json")
    loaded = nnprof.Profile.load(tmp_path / "profile.json").memory
    assert loaded.reserved == profile.memory.reserved
    for gpu in ("a100", "t4"):
        first, second = profile.memory.on(gpu), loaded.on(gpu)
        assert repr(first) == repr(second)
        assert (first.needed, first.spare) == (second.needed, second.spare)
        assert first.timeline["reserved"].tolist() == second.timeline["reserved"].tolist()


def test_a_profile_of_a_cpu_or_of_an_older_version_has_no_allocations(tmp_path: Path) -> None:
    on_cpu = nnprof.measure(nn.Linear(8, 8), (4, 8)).memory
    with pytest.raises(InputError, match="no allocations of a GPU are known"):
        on_cpu.on("a100")
    stored = measured("a100").to_dict()
    del stored["requests"]
    (tmp_path / "old.json").write_text(json.dumps(stored))
    old = nnprof.Profile.load(tmp_path / "old.json").memory
    with pytest.raises(InputError, match="no allocations of a GPU are known"):
        _ = old.reserved
    assert old.fits("a100")
