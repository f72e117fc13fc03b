"""`nnprof measure MODEL --shape 1,3,224,224`: what one forward of a model costs."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from nnprof.base.files import write_text
from nnprof.base.progress import shown
from nnprof.cli import options
from nnprof.cli.model import MODEL_HELP, Asked, model_options
from nnprof.cli.model import checkpoint as checkpoint_option
from nnprof.cli.model import context as context_option
from nnprof.cli.model import phase as phase_option
from nnprof.report import REPORTS, TableOptions
from nnprof.report.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from nnprof import Hardware
    from nnprof.report import Report
    from nnprof.results.profile import Profile

__all__ = ["measure"]

_READ = [report for report in REPORTS if report.suffix is None]
_TRAIN_MODE = "measured in train mode: dropout drops, batch norms use the batch's own statistics"
_WRITTEN = [report for report in REPORTS if report.suffix is not None]


def _file_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option for each report that is a file: --json PATH|-."""
    for report in reversed(_WRITTEN):
        text = f"Write {report.help} to a file; {options.STDOUT} for the standard output."
        command = click.option(f"--{report.name}", metavar="PATH|-", help=text)(command)
    return command


@click.command(
    help=f"What one forward of MODEL costs, without computing it, and how long it takes.\n\n"
    f"{MODEL_HELP}",
    epilog="Example: nnprof measure torchvision:resnet50 --shape 1,3,224,224 --hardware h200",
)
@model_options
@phase_option
@context_option
@click.option(
    "--backward",
    is_flag=True,
    help="Measure a backward pass, too, of the model in train mode: see --optimizer.",
)
@click.option(
    "--optimizer",
    metavar="NAME",
    help="Measure a whole training step, with this optimizer of torch.optim: sgd, adamw...",
)
@checkpoint_option
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
@click.option(
    "--hardware",
    metavar="NAME|PATH",
    help="Estimate times for this device, which need not be here: see `nnprof hardware list`. "
    "Default: that of --device.",
)
@click.option(
    "--device",
    metavar="cpu|cuda",
    help="Measure times here, too: of each unique call alone, and of the whole forward.",
)
@click.option(
    "--time-budget",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="For measuring on --device; what gets no time is estimated. Default: 60.",
)
@click.option("--strict", is_flag=True, help="Fail where an operator has no rule or was guessed.")
@click.option("-q", "--quiet", is_flag=True, help="Print no report and no progress.")
@options.traceback
def measure(
    asked: Asked,
    phase: str | None,
    context: int | None,
    backward: bool,
    optimizer: str | None,
    checkpoint: tuple[str, ...],
    depth: int | None,
    sort: str | None,
    report: str,
    hardware: str | None,
    device: str | None,
    time_budget: float | None,
    strict: bool,
    quiet: bool,
    **files: str | None,
) -> None:
    """Measures, writes the files, prints the report.

    Raises `click.Abort` in the end where Ctrl-C cut the measuring short.
    """
    if time_budget is not None and device is None:
        raise click.UsageError("--time-budget is for measuring: give --device too")
    options.check_writable(path for path in files.values() if path is not None)
    wanted = _Wanted(
        phase=phase,
        context=context,
        training=_training(backward, optimizer, checkpoint),
        strict=strict,
        hardware=_hardware(hardware),
        device=_device(device),
        time_budget=time_budget,
    )
    profile = _profile(asked, wanted, quiet=quiet)
    chosen = TableOptions(depth, sort)
    for written in _WRITTEN:
        _write(written, profile, chosen, files[written.name])
    if not quiet and options.STDOUT not in files.values():
        _print(next(r for r in _READ if r.name == report), profile, chosen)
    if profile.times is not None and profile.times.interrupted:
        raise click.Abort


@dataclass(frozen=True)
class _Wanted:
    """What `nnprof.measure` is told besides the model and its inputs."""

    phase: str | None
    context: int | None
    training: dict[str, Any]
    strict: bool
    hardware: Hardware | None
    device: torch.device | None
    time_budget: float | None


def _training(backward: bool, optimizer: str | None, checkpoint: tuple[str, ...]) -> dict[str, Any]:
    """What was asked of training, as `nnprof.measure` takes it."""
    asked = {"backward": backward, "optimizer": optimizer, "checkpoint": list(checkpoint)}
    return {name: value for name, value in asked.items() if value}


# Both are looked up before a model is built, which may take long: a wrong name is said at once.


def _hardware(name: str | None) -> Hardware | None:
    from nnprof.hardware import find

    return find(name) if name is not None else None


def _device(name: str | None) -> torch.device | None:
    from nnprof.timing.replay import present_device

    return present_device(name) if name is not None else None


def _profile(asked: Asked, wanted: _Wanted, *, quiet: bool) -> Profile:
    from torch import nn

    from nnprof import measure as measure_model

    shape, sizes = asked.shape(), asked.sizes()
    with options.progress(f"building {asked.model}", quiet=quiet):
        model, dtype = asked.load()
    if "backward" in wanted.training and isinstance(model, nn.Module):
        model.train()
        if not quiet:
            click.echo(_TRAIN_MODE, err=True)
    told = partial(
        measure_model,
        model,
        shape,
        dtype=dtype,
        phase=wanted.phase,
        batch=sizes.batch,
        sequence=sizes.sequence,
        context=wanted.context,
        **wanted.training,
        strict=wanted.strict,
        hardware=wanted.hardware,
    )
    if wanted.device is None:
        with options.progress(f"tracing {asked.model}", quiet=quiet):
            return told()
    if wanted.time_budget is not None:
        told = partial(told, time_budget=wanted.time_budget)
    with shown(False if quiet else None, f"measuring {asked.model}:") as progress:
        return told(device=wanted.device, progress=progress or False)


def _write(report: Report, profile: Profile, chosen: TableOptions, path: str | None) -> None:
    if path is None:
        return
    text = report.render(profile, chosen)
    if path == options.STDOUT:
        click.echo(text, nl=False)
    else:
        write_text(path, text)


def _print(report: Report, profile: Profile, chosen: TableOptions) -> None:
    if report.document is not None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        options.print_document(report.document(profile, chosen, width))
    else:
        click.echo(report.render(profile, chosen))
