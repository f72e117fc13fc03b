"""One rank in a world does what a real one does: its collectives, and its memory to the byte."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch

import nnprof
from tests.distributed.cases import CASES
from tests.distributed.real import seen_by_ranks

if TYPE_CHECKING:
    from pathlib import Path

EVERY_RANK = [(name, rank) for name, case in CASES.items() for rank in range(case.ranks)]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("gloo")

    @cache
    def of_size(size: int) -> dict[str, list[dict[str, Any]]]:
        (folder / str(size)).mkdir()
        return seen_by_ranks(size, folder / str(size))

    return of_size


def in_a_world(name: str, rank: int) -> nnprof.Profile:
    case = CASES[name]
    with nnprof.world(case.ranks, rank):
        program = case.build("cpu")
        with nnprof.trace(program.model, backward=True, target="cpu") as running:
            with running.unrecorded():
                for _ in range(case.steps_before):
                    program.step()
            torch.empty(0)  # a call before the step: what is held after it was there before
            program.step()
        return running.profile()


def above_start(profile: nnprof.Profile) -> int:
    """The most bytes held in the step, beyond those at its start."""
    memory = profile.data.memory()
    assert memory is not None
    return int(memory["highest"].max() - memory["live"][0])


@pytest.mark.parametrize(("name", "rank"), EVERY_RANK)
def test_a_step_is_that_of_a_real_rank(name: str, rank: int, real: Any) -> None:
    expected = real(CASES[name].ranks)[name][rank]
    profile = in_a_world(name, rank)
    sent = [[c.op, list(c.argument_bytes)] for c in profile.collectives]
    assert sent == expected["collectives"]
    assert above_start(profile) == expected["peak"]
