"""The rooms of the package stand in one order: each imports its own and those below it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import nnprof

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(nnprof.__file__).parent

#: From the lowest up; on a line, what stands equally high. Only nnprof/__init__.py is outside: it
#: joins the rooms, and fills the registry that lets a profile print itself.
ORDER = (
    {"errors", "_build", "_core"},
    {"base"},
    {"hardware"},
    {"results"},
    {"calls"},
    {"tracing"},
    {"timing", "distributed"},
    {"conventions"},
    {"report"},
    {"measure", "models", "rules"},
    {"fitting"},
    {"cli", "__main__"},
)
HEIGHT = {room: height for height, rooms in enumerate(ORDER) for room in rooms}
MODULES = {
    path.relative_to(PACKAGE).with_suffix("").parts: path
    for path in PACKAGE.rglob("*.py")
    if path != PACKAGE / "__init__.py"
}


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Line and room of each import of ours, lazy ones too, but for those that only types need."""
    tree = ast.parse(source)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            package, _, rest = node.module.partition(".")
            names = [rest] if rest else [alias.name for alias in node.names]
            yield from ((node.lineno, n.partition(".")[0]) for n in names if package == "nnprof")
        elif isinstance(node, ast.Import):
            parts = [alias.name.split(".") for alias in node.names]
            yield from ((node.lineno, n[1]) for n in parts if n[0] == "nnprof" and len(n) > 1)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # importlib.import_module("nnprof.room"), and what is looked up by such a name.
            package, _, rest = node.value.partition(".")
            if package == "nnprof" and rest.partition(".")[0] in HEIGHT and "\n" not in rest:
                yield node.lineno, rest.partition(".")[0]


@pytest.mark.parametrize("parts", MODULES, ids="/".join)
def test_no_arrow_points_up(parts: tuple[str, ...]) -> None:
    height = HEIGHT[parts[0]]
    up = [
        f"line {line}: {room}"
        for line, room in imported(MODULES[parts].read_text(encoding="utf-8"))
        if room in HEIGHT and HEIGHT[room] > height
    ]
    assert not up


def test_every_room_has_its_place() -> None:
    assert {parts[0] for parts in MODULES} | {"_core"} == HEIGHT.keys()


def test_imports_of_every_kind_are_seen() -> None:
    source = """
from __future__ import annotations
import nnprof.cli.app
from nnprof import measure
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from nnprof.report import save
def late():
    from nnprof.timing.replay import replay
    importlib.import_module("nnprof.models")
"""
    assert [room for _, room in imported(source)] == ["cli", "measure", "timing", "models"]


def test_the_root_stays_small() -> None:
    files = [path.name for path in PACKAGE.iterdir() if path.is_file()]
    assert len([name for name in files if not name.startswith("_core.c")]) <= 10


TESTS = Path(__file__).parent


def test_no_test_imports_another() -> None:
    """What several share stands in a file of its own, without tests."""
    found = [
        f"{path.relative_to(TESTS)}:{node.lineno}"
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and ".test_" in f".{node.module}"
    ]
    assert not found


@pytest.mark.parametrize(("root", "most"), [(PACKAGE, 500), (TESTS, 700)], ids=["nnprof", "tests"])
def test_files_can_be_read_in_one_go(root: Path, most: int) -> None:
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in root.rglob("*.py")}
    long = {str(path.relative_to(root)): count for path, count in lines.items() if count > most}
    assert not long
