"""What all tests share: the root on the path, one seed, the gpu marker, and what may be skipped."""

from __future__ import annotations

import gc
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.alone import Starter

# Tests import what they share (`tests.helpers`) and the models of the benchmarks.
sys.path.insert(0, str(Path(__file__).parents[1]))
pytest.register_assert_rewrite("tests.helpers", "tests.tracing.training.autograd.stories")

# Workers share the cores: would each compute with all of them, they spent more on waiting for one
# another at the end of each parallel region than on what is in it. Processes that tests start
# inherit it.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())

# The same examples at every run: a red build has a cause in the commit.
hypothesis.settings.register_profile("nnprof", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("nnprof")


@pytest.fixture(autouse=True)
def _seed() -> None:
    # For devices that are not there torch.manual_seed notes the stack, a millisecond each.
    cpu_alone = not torch.cuda.is_available()
    (torch.default_generator.manual_seed if cpu_alone else torch.manual_seed)(0)


@pytest.fixture(autouse=True)
def _modes_as_before() -> Iterator[None]:
    """One test that fails may not have the next ones fail."""
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)


@pytest.fixture(scope="session")
def run_alone() -> Iterator[Starter]:
    """Runs a program in a process of its own, in which nothing but torch and nnprof is imported."""
    from tests.helpers.alone import Starter  # not before asserts in it are rewritten

    starter = Starter()
    yield starter
    starter.end()


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Keeps the garbage collector from what lasts as long as the run: modules and the tests
    themselves, millions of objects that it would look through again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


# A test that looks away is a hole in the suite: CI fails on a skip that is not in this list.
ALLOWED_SKIPS = tomllib.loads(
    Path(__file__).with_name("allowed_skips.toml").read_text(encoding="utf-8")
)["skips"]


class SkipsThatAreListed:
    """Keeps the skips that are not, and has the run fail for them where it is CI's."""

    def __init__(self) -> None:
        self.unlisted: list[str] = []

    def _note(self, report: Any) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(re.search(skip["reason"], reason) for skip in ALLOWED_SKIPS):
            self.unlisted.append(f"{report.nodeid}: {reason}")

    pytest_runtest_logreport = pytest_collectreport = _note

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.unlisted:
            terminalreporter.section("skips that are not in tests/allowed_skips.toml")
            terminalreporter.line("\n".join(self.unlisted))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unlisted and os.environ.get("CI"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipsThatAreListed(), "skips-that-are-listed")
