"""`nnprof grid MODEL --gpu 24GB --gpu h100 --method full --method lora`: which runs fit where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nnprof.cli import options
from nnprof.cli.fits import check_optimizer, fits, loaded
from nnprof.cli.model import Asked

if TYPE_CHECKING:
    import torch

__all__ = ["grid"]

#: Those options of `nnprof fits` that mean the same here.
_OF_FITS = (
    "model",
    "dtype",
    "train",
    "optimizer",
    "checkpoint",
    "autocast",
    "lora",
    "phase",
    "context",
    "alloc_conf",
)


class _Numbers(click.ParamType[Any]):
    """`1,4`: whole numbers."""

    name = "N,N..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return tuple(map(int, value.split(",")))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers: write 1,4", param, ctx)


@click.command(
    params=[parameter for parameter in fits.params if parameter.name in _OF_FITS],
    help="Which runs of MODEL fit which GPUs, by method, batch and sequence.\n\nMODEL is one of a "
    "library, as for `nnprof fits`. A method is full, lora, qlora (lora on weights in nf4), nf4, "
    "fp4 or int8; +checkpoint behind it: with activation checkpointing of the model's blocks.",
    epilog="Example: nnprof grid transformers:llama --gpu 24GB --gpu h100 --train --batch 1,4 "
    "--sequence 2048,8192 --method full --method full+checkpoint",
)
@click.option(
    "--gpu",
    "gpus",
    required=True,
    multiple=True,
    metavar="NAME|SIZE",
    help="A GPU (see `nnprof hardware list`), or its memory: 80GB. Repeat it for each.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME[+checkpoint]",
    help="How it is held and trained; repeat it for each. Default: full.",
)
@click.option("--batch", type=_Numbers(), help="Of the usual inputs; default: the library's.")
@click.option("--sequence", type=_Numbers(), help="Tokens of the usual inputs, likewise.")
@click.option("--plot", metavar="FILE", help="Draw it, too: .png, .svg or .pdf (matplotlib).")
@options.traceback
def grid(
    model: str,
    dtype: torch.dtype | None,
    gpus: tuple[str, ...],
    methods: tuple[str, ...],
    lora: str | None,
    plot: str | None,
    **run: Any,
) -> None:
    """Prints the table, and draws the plot."""
    from nnprof.fitting import fits_grid, methods_of
    from nnprof.report.grid_plot import check_plot

    methods = methods or ("full",)
    _check(methods, lora, run)
    if plot is not None:
        check_plot(plot)
        options.check_writable([plot])
    asked = Asked(model, (), (), dtype, None, None)
    run["checkpoint"] = list(run["checkpoint"]) or None

    def build() -> tuple[Any, dict[str, Any]]:
        """The model, and the dtype of its inputs."""
        built, of_inputs = loaded(asked, run)
        return built, {"dtype": of_inputs}

    named = methods_of(build, methods, lora=lora)
    with options.progress(f"tracing {model}", quiet=False):
        found = fits_grid(named, gpus, **run)
    click.echo(str(found))
    if plot is not None:
        found.plot(plot)


def _check(methods: tuple[str, ...], lora: str | None, run: dict[str, Any]) -> None:
    """Raises `click.UsageError` for options that do not go together."""
    checkpointed = [method for method in methods if method.endswith("+checkpoint")]
    check_optimizer(run)
    if checkpointed and not run["train"]:
        raise click.UsageError(f"--method {checkpointed[0]} is for --train")
    if checkpointed and run["checkpoint"]:
        raise click.UsageError(f"--method {checkpointed[0]} chooses: leave out --checkpoint")
    if lora and not any("lora" in method for method in methods):
        raise click.UsageError("--lora is for --method lora or qlora")
