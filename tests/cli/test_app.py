"""What all commands share: versions, help, exit codes, errors, pipes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

import nnprof
from nnprof.cli import app
from nnprof.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_version_tells_what_a_bug_report_needs(run: Callable[..., Any]) -> None:
    result = run("--version")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == f"nnprof {nnprof.__version__}, built against torch {torch.__version__}"
    assert lines[1] == f"torch {torch.__version__}"
    assert lines[2].startswith("python 3.")


@pytest.mark.parametrize("command", [[], *([command.name] for command in app.COMMANDS)])
def test_every_command_has_help(command: list[str], run: Callable[..., Any]) -> None:
    for flag in ("-h", "--help"):
        result = run(*command, flag)
        assert result.code == 0
        assert result.out.startswith("Usage: nnprof")


def test_the_help_lists_the_commands(run: Callable[..., Any]) -> None:
    text = run("--help").out
    assert all(command.name in text for command in app.COMMANDS)
    assert "Exit codes" in text


def test_no_command_and_an_unknown_one_are_code_2(run: Callable[..., Any]) -> None:
    assert run().code == 2
    assert run("mesure").code == 2


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ZeroDivisionError("of ours"), 3, "internal error: ZeroDivisionError: of ours"),
        (InternalError("impossible"), 3, "internal error: InternalError: impossible"),
        (RuntimeError(), 3, "internal error: RuntimeError (--traceback shows where)"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_other_errors(
    error: BaseException,
    code: int,
    text: str,
    run: Callable[..., Any],
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(nnprof, "measure", fail)
    result = run("measure", f"{models}:Net", "--shape", "3,4")
    assert result.code == code
    assert text in result.err
    assert len(result.err.split("\n")) <= 3  # click ends the line that shows ^C


def test_traceback_shows_it(run: Callable[..., Any], models: Path) -> None:
    result = run("measure", f"{models}:Broken", "--shape", "3,4", "--traceback")
    assert result.code == 1
    assert "Traceback (most recent call last)" in result.err
    assert 'raise LookupError("a table' in result.err


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "nnprof", *map(str, arguments)]


def test_as_a_module_into_a_closed_pipe(models: Path) -> None:
    process = subprocess.Popen(
        command("measure", f"{models}:Net", "--shape", "3,4"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), errors) == (0, b"")


def test_a_terminal_gets_colours_and_its_own_width(models: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("measure", f"{models}:Net", "--shape", "3,4"),
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "70", "TERM": "xterm-256color", "NO_COLOR": ""},
    )
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 65536):
            text += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    shown = text.decode()
    assert "\x1b[" in shown
    assert "tracing" in shown
    assert "144 MACs" in shown
