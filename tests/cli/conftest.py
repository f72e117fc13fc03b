"""The command line, run in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from nnprof.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(8, 2)

    def forward(self, x):
        return self.second(self.first(x))

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(100, 8)
        self.head = nn.Linear(8, 100)

    def forward(self, input_ids, scale=None):
        hidden = self.embedding(input_ids)
        return self.head(hidden if scale is None else hidden * scale)

class Broken(Net):
    def forward(self, x):
        raise LookupError("a table that\\n  is not there")
"""


@dataclass(frozen=True)
class Result:
    """What a run of the command line left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs `nnprof` with arguments."""

    def run_main(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Result(int(code), *capsys.readouterr())

    return run_main


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A file of models."""
    file = tmp_path / "models_for_cli.py"
    file.write_text(MODEL)
    return file
