"""The entry point: finds the command, and is the only place where errors are printed.

Exit codes: 0 done; 1 the input was wrong, or the model raised; 2 the command line was wrong;
3 a bug in nnprof; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import click

from nnprof.cli import options
from nnprof.cli.explain import explain
from nnprof.cli.fits import fits, max_
from nnprof.cli.grid import grid
from nnprof.cli.hardware import hardware
from nnprof.cli.measure import measure
from nnprof.cli.rules import rules
from nnprof.errors import InternalError, NnprofError, RaisedError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "Exit", "main"]

#: A new command is a file beside this one and its name here.
COMMANDS = (measure, explain, fits, max_, grid, rules, hardware)


class Exit(IntEnum):
    """What the exit code says."""

    OK = 0
    INPUT = 1
    USAGE = 2
    INTERNAL = 3
    INTERRUPTED = 130


def _print_versions(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    import platform

    import torch

    from nnprof import _core

    click.echo(f"nnprof {_core.version}, built against torch {_core.torch_version}")
    click.echo(f"torch {torch.__version__}")
    click.echo(f"python {platform.python_version()} on {platform.platform()}")
    context.exit()


class _ReaderGoneError(Exception):
    """Nobody reads the standard output any more."""


class _Group(click.Group):
    """A group that tells a closed pipe from a failure; click would exit with 1 for both."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGoneError from error


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 the input was wrong or the model raised; "
    "2 the command line was wrong; 3 a bug in nnprof.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Print the versions that a bug report needs.",
)
@options.traceback
def nnprof() -> None:
    """What a PyTorch model costs: parameters, FLOPs, MACs, memory traffic, layer by layer."""


for _command in COMMANDS:
    nnprof.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; `arguments` default to the process's."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = nnprof.main(arguments, prog_name="nnprof", standalone_mode=False)
        sys.stdout.flush()
    except (_ReaderGoneError, BrokenPipeError):
        # As `head` does: nothing is wrong, and nothing more is to be written, not even when the
        # interpreter flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("nnprof: interrupted", err=True)
        return Exit.INTERRUPTED
    except Exception as error:
        return _report(error, with_traceback=options.TRACEBACK in arguments)
    return result if isinstance(result, int) else Exit.OK


def _report(error: Exception, *, with_traceback: bool) -> Exit:
    """Prints one line, or the traceback before it, and says whose error it was."""
    if with_traceback:
        traceback.print_exception(error)
    code, text = _judge(error)
    hint = "" if with_traceback else f" ({options.TRACEBACK} shows where)"
    click.echo(f"nnprof: {text}{hint if code is Exit.INTERNAL else ''}", err=True)
    return code


def _judge(error: Exception) -> tuple[Exit, str]:
    message = " ".join(str(error).split())
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith("nnprof: ")]
    named = f"{type(error).__name__}: {message}".rstrip(": ")
    said = "".join(f" ({note.removeprefix('nnprof: ')})" for note in notes)
    if isinstance(error, RaisedError) or (notes and not isinstance(error, NnprofError)):
        return Exit.INPUT, f"error: the model raised {named}{said}"
    if isinstance(error, NnprofError) and not isinstance(error, InternalError):
        return Exit.INPUT, f"error: {message}{said}"
    return Exit.INTERNAL, f"internal error: {named}"
