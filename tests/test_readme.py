"""What the README shows is what its code prints."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import torch

from benchmarks.readme import MARKED, README, TABLES, written
from nnprof.base.packages import import_torchvision
from nnprof.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.alone import Starter

#: A block of Python, and the block of text right behind it where it prints something.
BLOCKS = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)


def unchanging(text: str) -> str:
    """Without times, and without the blanks at the ends of lines.

    And without what the kernels of a CPU take for themselves, on one that has not the instructions
    of the CPU that the README was written on.
    """
    text = re.sub(r"Traced in .*", "Traced in", text)
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        number = r"[\d,.]+ \w?B"
        text = re.sub(
            rf"(Peak memory +)[\d,]+ bytes \({number}\)( at .*: ){number} temporaries",
            r"\1\2",
            text,
        )
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def test_examples_print_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_torchvision()
    pytest.importorskip("pandas")
    blocks = BLOCKS.findall(README.read_text(encoding="utf-8"))
    assert len(blocks) > 5
    monkeypatch.chdir(tmp_path)  # they save files
    names: dict[str, Any] = {}  # each goes on from the ones before
    for code, shown in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), names)
        assert unchanging(printed.getvalue()) == unchanging(shown)


def test_tables_are_the_results() -> None:
    """`python benchmarks/readme.py` writes them anew."""
    text = README.read_text(encoding="utf-8")
    assert {found[1] for found in MARKED.findall(text)} == TABLES.keys()
    assert written(text) == text


#: Commands that print something, and what.
COMMANDS = re.findall(
    r"```console\n\$ nnprof (.*)\n((?s:.*?))```", README.read_text(encoding="utf-8")
)


def printed_by(command: str, run_alone: Starter) -> str:
    """What it prints here; in a process of its own where what is loaded here would be listed."""
    if not command.startswith("rules"):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert main(shlex.split(command)) == 0
        return printed.getvalue()
    run = run_alone("import sys, nnprof.cli; sys.exit(nnprof.cli.main())", *shlex.split(command))
    run.check_returncode()
    return run.stdout


@pytest.mark.parametrize(("command", "shown"), COMMANDS, ids=[line for line, _ in COMMANDS])
def test_commands_print_what_is_shown(command: str, shown: str, run_alone: Starter) -> None:
    import_torchvision()
    if "transformers:" in command:
        pytest.importorskip("transformers")
    printed = printed_by(command, run_alone)
    if not torch.__version__.startswith("2.13."):  # that the README was written with
        shown, printed = (re.sub(r"\d+ operators ruled.*", "", text) for text in (shown, printed))
    assert unchanging(printed) == unchanging(shown)
