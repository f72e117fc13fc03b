"""What all tests share: the root on the path, one seed, and the gpu marker."""

from __future__ import annotations

import sys
from pathlib import Path

import hypothesis
import pytest
import torch

# Tests import what they share (`tests.helpers`) and the models of the benchmarks.
sys.path.insert(0, str(Path(__file__).parents[1]))
pytest.register_assert_rewrite("tests.helpers", "tests.tracing.training.autograd.stories")

# The same examples at every run: a red build has a cause in the commit.
hypothesis.settings.register_profile("nnprof", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("nnprof")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
