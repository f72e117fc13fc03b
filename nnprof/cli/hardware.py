"""`nnprof hardware`: which devices estimates can be made for, and with which numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nnprof.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from rich.table import Table

    from nnprof.errors import InputError
    from nnprof.hardware import Hardware

__all__ = ["hardware"]

_TITLES = ("Name", "Device", "Units", "bf16", "fp16", "fp32", "GiB", "GB/s", "Source")
_LEFT = {"Name", "Device", "Source", "Calibration", "Date"}
_UNITS = {"gpu": "units", "cpu": "cores"}


@click.group()
def hardware() -> None:
    """The devices that estimates can be made for."""


@hardware.command("list")
@options.traceback
def list_() -> None:
    """Every device with a data file; peaks are dense, in TFLOP/s of a matrix product. Then the
    calibrations that are kept: when they were made, and the mean error that remained."""
    from nnprof.hardware import find, names, stored

    options.print_table(_table(find(name) for name in names()))
    calibrations = stored()
    if calibrations:
        click.echo()
        options.print_table(_calibrations(calibrations))


@hardware.command()
@click.argument("name")
@options.traceback
def forget(name: str) -> None:
    """Remove the calibration NAME, as `nnprof hardware list` calls it: estimates for its device go
    on with the datasheet's numbers."""
    from nnprof.hardware import forget as remove

    click.echo(f"removed {remove(name)}")


@hardware.command()
@click.argument("device", metavar="NAME|PATH|cpu|cuda")
@options.traceback
def show(device: str) -> None:
    """All numbers of one device, and where each is from.

    NAME is one of the list, a short form such as h100, or what a driver calls the device; PATH a
    .toml or .json with a device's numbers; cpu and cuda are the devices of this machine.
    """
    from nnprof.hardware import find

    click.echo("\n".join(_lines(find(device))))


@hardware.command()
@click.argument("device", metavar="cpu|cuda", default="cpu")
@click.option(
    "--time-budget",
    type=click.FloatRange(1, 60),
    default=60.0,
    show_default=True,
    help="Seconds for measuring, at most.",
)
@click.option(
    "--output", metavar="PATH", help="Write the JSON there; default: the user's cache directory."
)
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@options.traceback
def calibrate(device: str, time_budget: float, output: str | None, quiet: bool) -> None:
    """Time calls on a device that is here, and fit the time model to them.

    What it finds is used from then on wherever times are estimated for this device. Leave the
    machine alone meanwhile: what was disturbed, or fits badly, is not kept.
    """
    from nnprof.base.progress import shown
    from nnprof.timing.calibrate import calibrate as measure
    from nnprof.timing.calibrate import save

    options.check_writable([output] if output is not None else [])
    with shown(False if quiet else None, "calibrating") as told:
        fitted = measure(device, time_budget=time_budget, progress=told)
    if output is not None:
        fitted.save(output)
    path = output or save(fitted, device)
    click.echo("\n".join(_residual_lines(fitted)))
    click.echo(f"written to {path}")


def _residual_lines(fitted: Hardware) -> Iterator[str]:
    yield f"{fitted.title}: errors that remain, of the calls that were timed"
    for name, found in sorted(fitted.residuals.items()):
        yield (
            f"  {name:14} {found['n']:4.0f} calls, mean {100 * found['mape']:5.1f} %, "
            f"90 % below {100 * found['p90']:5.1f} %"
        )


def _calibrations(every: Mapping[Path, Hardware | InputError]) -> Table:
    from rich.text import Text

    from nnprof.hardware.stored import mean_residual

    table = _plain_table(("Calibration", "Device", "Date", "Error"))
    for path, one in every.items():
        if isinstance(one, Exception):
            facts = "", "", f"cannot be read: {one}"
        else:
            date = str(one.calibration.get("date", "")).partition("T")[0]
            residual = mean_residual(one)
            facts = one.title, date, "" if residual is None else f"{residual:.1%}"
        table.add_row(*map(Text, (path.stem, *facts)))
    return table


def _plain_table(titles: Iterable[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.pad_edge = table.show_edge = False
    for title in titles:
        table.add_column(title, justify="left" if title in _LEFT else "right")
    return table


def _table(every: Iterable[Hardware]) -> Table:
    from rich.text import Text

    table = _plain_table(_TITLES)
    for one in every:
        peaks = (_tera(one.flops.get(name)) for name in ("bf16", "fp16", "fp32"))
        memory = f"{one.memory_bytes / 2**30:.4g}", f"{one.bandwidth / 1e9:.0f}"
        row = (one.name, one.title, str(one.compute_units), *peaks, *memory, one.source)
        table.add_row(*map(Text, row))
    return table


def _lines(one: Hardware) -> Iterator[str]:
    yield one.title
    yield from _columns(_facts(one))
    for title, values in (
        ("Dense peak of a matrix product", {k: _peak(k, v) for k, v in one.flops.items()}),
        ("Peak of the ordinary units", {k: _peak(k, v) for k, v in one.vector_flops.items()}),
        ("Constants of the time model", _constants(one)),
        ("Errors of estimates here, by class", _residuals(one)),
        ("Calibrated on", {k: str(v) for k, v in one.calibration.items()}),
    ):
        if values:
            yield from ("", title, *_columns(values))
    for title, texts in (("Sources", one.sources), ("Notes", one.notes)):
        if texts:
            yield from ("", title, *(f"  {text}" for text in texts))


def _facts(one: Hardware) -> dict[str, str]:
    facts = {
        "name": ", ".join((one.name, *one.aliases)),
        "drivers say": ", ".join(one.match),
        "kind": f"{one.kind}, {one.architecture}",
        "units": f"{one.compute_units} {_UNITS[one.kind]} at {one.clock_hz / 1e6:.0f} MHz",
        "memory": f"{one.memory_bytes / 2**30:.4g} GiB at {one.bandwidth / 1e9:.4g} GB/s",
        "cache": f"{one.cache_bytes / 2**20:.4g} MiB",
        "numbers": one.source if one.source == "measured" else f"{one.source}, not calibrated",
    }
    return {name: value for name, value in facts.items() if value}


def _constants(one: Hardware) -> dict[str, str]:
    own = one.constants
    return {
        name: f"{value:g}{' (its own)' if name in own else ''}"
        for name, value in one.model_constants().items()
    }


def _residuals(one: Hardware) -> dict[str, str]:
    return {
        name: ", ".join(f"{key} {value:g}" for key, value in values.items())
        for name, values in one.residuals.items()
    }


def _columns(values: Mapping[str, str]) -> Iterator[str]:
    width = max(map(len, values))
    for name, value in values.items():
        yield f"  {name:{width}}  {value}"


def _peak(precision: str, value: float) -> str:
    what = "OP/s" if precision.startswith("int") else "FLOP/s"
    return f"{_tera(value)} T{what}" if value >= 1e12 else f"{value / 1e9:.4g} G{what}"


def _tera(value: float | None) -> str:
    return "" if value is None else f"{value / 1e12:.4g}"
