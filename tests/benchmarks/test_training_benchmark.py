"""The benchmarks of training steps: their programs in short, and what they take for a workspace.

How long anything took is no matter here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_training, training
from benchmarks.gpu_training import Allocation, peaks

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # One thread: others that run beside this test would make each parallel region wait for them.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCHMARKS / program), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def measured(part: str, model: str) -> dict[str, Any]:
    done = run("training.py", "--child", part, model)
    assert done.returncode == 0, done.stderr
    return result_of(done.stdout, model)


def result_of(printed: str, model: str) -> dict[str, Any]:
    return {model: json.loads(printed.splitlines()[-1])}


def missed(bars: list[dict[str, Any]]) -> list[str]:
    return [bar["name"] for bar in bars if not bar["met"]]


@pytest.mark.long  # other tests compare the same, in this process
def test_real_steps() -> None:
    assert not missed(training.bars_of_real(measured("real_model", "lstm")))


@pytest.mark.long
def test_checkpointing() -> None:
    assert not missed(training.bars_of_checkpointing(measured("checkpointing", "llama-2-layers")))


def test_step_on_meta(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(training, "ROUNDS", 1)
    monkeypatch.setattr(training, "TURNS", 1)
    training.run_as_child("full_size", "small Llama")
    results = result_of(capsys.readouterr().out, "small Llama")
    assert not missed(training.bars_of_macs(results))
    assert all(bar["met"] is not None for bar in training.bars_of_times(results))


def test_model_that_failed_meets_no_bar() -> None:
    results = {"lstm": {"note": "fails"}}
    bars = [
        *training.bars_of_real(results),
        *training.bars_of_checkpointing(results),
        *training.bars_of_macs(results),
        *training.bars_of_times(results),
        *gpu_training.bars(results),
    ]
    assert all(bar["met"] is None for bar in bars)


# --- the GPU's ------------------------------------------------------------------------------------


def test_gpu_program_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here but for the model, which it measures in a process of its own."""
    arguments = ["gpu_training.py", "--device", "cpu", "--models", "lstm"]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert gpu_training.main() == 0, capsys.readouterr()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_device_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_training.py"])
    assert gpu_training.main() == 2
    assert "cannot measure on 'cuda'" in capsys.readouterr().err


def test_workspace_is_what_a_call_of_a_library_gives_back() -> None:
    events = [
        Allocation(0, 100, address=1, library_until_ns=5),  # an output: it stays
        Allocation(1, 70, address=2, library_until_ns=5),
        Allocation(2, -70, address=2),
        Allocation(6, -100, address=1),
        Allocation(7, 150, address=2),  # no library's, at an address that was one's
        Allocation(8, -150, address=2),
    ]
    assert peaks(events) == (170, 150)
