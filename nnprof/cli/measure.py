"""`nnprof measure MODEL --shape 1,3,224,224`: what one forward of a model costs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nnprof.cli import options
from nnprof.cli.model import MODEL_HELP, Asked, model_options
from nnprof.errors import InputError
from nnprof.phases import LANGUAGE_PHASES
from nnprof.report import REPORTS, TableOptions
from nnprof.report.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnprof.profile import Profile
    from nnprof.report import Report

__all__ = ["measure"]

_STDOUT = "-"
_READ = [report for report in REPORTS if report.suffix is None]
_WRITTEN = [report for report in REPORTS if report.suffix is not None]


def _file_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option for each report that is a file: --json PATH|-."""
    for report in reversed(_WRITTEN):
        text = f"Write {report.help} to a file; {_STDOUT} for the standard output."
        command = click.option(f"--{report.name}", metavar="PATH|-", help=text)(command)
    return command


@click.command(
    help=f"What one forward of MODEL costs, without computing it.\n\n{MODEL_HELP}",
    epilog="Example: nnprof measure torchvision:resnet50 --shape 1,3,224,224",
)
@model_options
@click.option(
    "--phase",
    type=click.Choice(LANGUAGE_PHASES),
    help="Of a language model of transformers: its prompt, or one token with its cache.",
)
@click.option("--context", type=click.IntRange(1), help="Tokens of the prompt or in the cache.")
@click.option(
    "--depth", type=click.IntRange(0), help="Levels of modules shown; default: what fits a screen."
)
@click.option(
    "--sort",
    type=click.Choice([metric.name for metric in METRICS]),
    help="Put the modules with most of it first; default: in call order.",
)
@click.option(
    "--report",
    type=click.Choice([report.name for report in _READ]),
    default=_READ[0].name,
    show_default=True,
    help="What to print: " + "; ".join(f"{r.name}, {r.help}" for r in _READ) + ".",
)
@_file_options
@click.option("--strict", is_flag=True, help="Fail where an operator has no rule or was guessed.")
@click.option("-q", "--quiet", is_flag=True, help="Print no report and no progress.")
@options.traceback
def measure(
    asked: Asked,
    phase: str | None,
    context: int | None,
    depth: int | None,
    sort: str | None,
    report: str,
    strict: bool,
    quiet: bool,
    **files: str | None,
) -> None:
    """Measures, writes the files, prints the report."""
    profile = _profile(asked, phase, context, strict=strict, quiet=quiet)
    chosen = TableOptions(depth, sort)
    for written in _WRITTEN:
        _write(written, profile, chosen, files[written.name])
    if not quiet and _STDOUT not in files.values():
        _print(next(r for r in _READ if r.name == report), profile, chosen)


def _profile(
    asked: Asked, phase: str | None, context: int | None, *, strict: bool, quiet: bool
) -> Profile:
    from nnprof import measure as measure_model

    shape, sizes = asked.shape(), asked.sizes()
    with options.progress(f"building {asked.model}", quiet=quiet):
        model, dtype = asked.load()
    with options.progress(f"tracing {asked.model}", quiet=quiet):
        return measure_model(
            model,
            shape,
            dtype=dtype,
            phase=phase,
            batch=sizes.batch,
            sequence=sizes.sequence,
            context=context,
            strict=strict,
        )


def _write(report: Report, profile: Profile, chosen: TableOptions, path: str | None) -> None:
    if path is None:
        return
    text = report.render(profile, chosen)
    if path == _STDOUT:
        click.echo(text, nl=False)
        return
    try:
        Path(path).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def _print(report: Report, profile: Profile, chosen: TableOptions) -> None:
    if report.document is not None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        options.print_document(report.document(profile, chosen, width))
    else:
        click.echo(report.render(profile, chosen))
