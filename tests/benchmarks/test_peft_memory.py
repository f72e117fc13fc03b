"""The benchmark of runs that peft publishes: what is read and judged of them, without peft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import peft_memory
from benchmarks.peft_runs import GPU, SUITES, BlockDiagonal, Published, read, reserved, step_starts
from tests.benchmarks.training_steps import steps_of_training

CALIBRATION = Published("suite", "a--calibration", 1000, 1)


def test_runs_of_a_table(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    table.write_text("run,max_reserved_bytes,trainable_params\nsuite/lora--small-r8,20,3\n")
    (run,) = read(table)
    assert run == Published("suite", "lora--small-r8", 20, 3)
    assert run.experiment(Path("all")) == Path("all/suite/experiments/lora/small-r8")


def test_a_cache_that_is_never_emptied_reserves_as_the_profile_says() -> None:
    profile = steps_of_training(2)
    assert reserved(profile, steps=2) == profile.memory.on(GPU).reserved


def test_an_emptied_cache_reserves_no_more_here() -> None:
    profile = steps_of_training(3)
    assert reserved(profile, steps=1) <= profile.memory.on(GPU).reserved


def test_steps_begin_with_a_forward() -> None:
    assert step_starts([0, 0, 1, 2, 2, 0, 1, 0, 1, 2]) == [0, 5]


def test_block_diagonal_is_torchs() -> None:
    blocks = [torch.ones(2, 3, requires_grad=True), torch.ones(1, 2, requires_grad=True)]
    whole = BlockDiagonal.apply(*blocks)
    assert whole.shape == torch.block_diag(*blocks).shape
    whole.sum().backward()
    assert [block.grad.shape for block in blocks if block.grad is not None] == [(2, 3), (1, 2)]


def judged(**predicted: int) -> dict[str, float | None]:
    """Values of the bars, by what they are called, of runs that really reserved as in their name.

    The calibration's prediction is its real 1000 bytes.
    """
    runs = [Published("suite", name.strip("_"), int(name.strip("_")), 1) for name in predicted]
    found: list[dict[str, Any]] = [
        {"run": run.name, "reserved": size}
        for run, size in zip(runs, predicted.values(), strict=True)
    ]
    result = {
        "suite": "suite",
        "calibration": {"run": CALIBRATION.name, "reserved": 1000},
        "runs": [*found, {"run": "broken", "error": "cannot be built"}],
    }
    bars = peft_memory.judge(result, [CALIBRATION, *runs])
    return {bar["name"].partition(": ")[2]: bar["value"] for bar in bars}


def test_differences_are_judged() -> None:
    found = judged(_1200=1100, _1100=1100, _1010=990)
    assert found == {
        "differences over 5 % of the wrong sign": 0,
        "median error of these": pytest.approx(25),
        "median error of all differences": pytest.approx(50),
        "median error of the whole": pytest.approx(100 * 20 / 1010),
        "and with the calibration for all": pytest.approx(100 / 11),
    }


def test_wrong_sign_counts_where_the_difference_matters() -> None:
    found = judged(_1200=900, _1010=990)
    assert found["differences over 5 % of the wrong sign"] == 1


def test_each_suite_is_known_by_its_name() -> None:
    assert list(SUITES) == ["MetaMathQA", "image-gen"]
