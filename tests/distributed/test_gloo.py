"""One rank in a world does what a real one does: its collectives, and its memory to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

import nnprof
from tests.distributed.cases import CASES
from tests.distributed.real import Ranks

if TYPE_CHECKING:
    from pathlib import Path

#: What every run takes; the others are the long check's.
EVERY_DAY = {
    2: (
        "fsdp offload",
        "fsdp checkpoint",
        "tp sequence",
        "ddp",
        "ddp zero redundancy",
        "1f1b",
        "zbv",
    ),
    4: ("fsdp uneven", "fsdp tp"),
}


def in_a_world(name: str, rank: int) -> nnprof.Profile:
    case = CASES[name]
    with nnprof.world(case.ranks, rank):
        program = case.build("cpu")
        with nnprof.trace(program.model, backward=True, target="cpu") as running:
            with running.unrecorded():
                for _ in range(case.steps_before):
                    program.step()
            torch.empty(0)  # a call before the step: what is held while it runs was there before
            program.step()
        return running.profile()


def above_start(profile: nnprof.Profile) -> int:
    """The most bytes held in the step, beyond those at its start."""
    memory = profile.data.memory()
    assert memory is not None
    return int(memory["highest"].max() - memory["highest"][0])


def seen(name: str, rank: int) -> dict[str, Any]:
    profile = in_a_world(name, rank)
    sent = [[c.op, list(c.argument_bytes)] for c in profile.collectives]
    return {"collectives": sent, "peak": above_start(profile)}


def hold_against_real_ranks(size: int, names: list[str], folder: Path) -> None:
    with Ranks(size, names, folder) as ranks:
        made = {name: [seen(name, rank) for rank in range(size)] for name in names}
        real = ranks.seen()
    for name in names:
        for rank in range(size):
            assert made[name][rank] == real[name][rank], f"{name}, rank {rank}"


@pytest.mark.parametrize("size", [2, 4])
def test_some_programs(size: int, tmp_path: Path) -> None:
    hold_against_real_ranks(size, list(EVERY_DAY[size]), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("size", [2, 4])
def test_all_programs(size: int, tmp_path: Path) -> None:
    names = [name for name, case in CASES.items() if case.ranks == size]
    hold_against_real_ranks(size, names, tmp_path)
