"""`nnprof fits MODEL --gpu h100` and `nnprof max MODEL --over batch --gpu h100`: will it fit."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from nnprof.cli import options
from nnprof.cli.model import MODEL_HELP, Asked, checkpoint, context, model_options, phase

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check_optimizer", "fits", "loaded", "max_"]

_OPTIONS = (
    click.option(
        "--gpu",
        required=True,
        metavar="NAME|SIZE",
        help="A GPU (see `nnprof hardware list`), or its memory: 80GB.",
    ),
    click.option("--train", is_flag=True, help="Steps of training rather than a forward."),
    click.option(
        "--optimizer", metavar="NAME", help="Of torch.optim; 'fused adamw'... Default: adamw."
    ),
    checkpoint,
    click.option(
        "--autocast",
        type=options.Dtype(computed=True),
        help="Mixed precision: what products are computed in.",
    ),
    click.option(
        "--lora",
        metavar="r=16,...",
        help="Train peft's adapters alone: r=16,alpha=32,dropout=0.05,dora,target=q_proj|v_proj.",
    ),
    click.option(
        "--quantize",
        metavar="nf4|fp4|int8",
        help="Hold the linear layers' weights as bitsandbytes stores them.",
    ),
    phase,
    context,
    click.option(
        "--alloc-conf",
        metavar="OPTIONS",
        help="As in PYTORCH_ALLOC_CONF; default: what the environment says.",
    ),
)
#: The options but for the GPU, as the command is given them.
_RUN = (
    "train",
    "optimizer",
    "checkpoint",
    "autocast",
    "lora",
    "quantize",
    "phase",
    "context",
    "alloc_conf",
)


def _run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What is asked about besides the model, given to the command as one dict of arguments."""

    @wraps(command)
    def with_run(asked: Asked, gpu: str, **values: Any) -> Any:
        run = {name: values.pop(name) for name in _RUN}
        check_optimizer(run)
        return command(asked, gpu, run, **values)

    decorated: Callable[..., Any] = with_run
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def check_optimizer(run: dict[str, Any]) -> None:
    """Raises `click.UsageError` for an optimizer of what does not train."""
    if run["optimizer"] and not run["train"]:
        raise click.UsageError("--optimizer is for --train")


def loaded(asked: Asked, run: dict[str, Any]) -> tuple[Any, Any]:
    """The model, in the mode that it is to run in, and the dtype of its inputs."""
    model, dtype = asked.load()
    if run["train"] and hasattr(model, "train"):
        model.train()
    return model, dtype


def _model_and_run(asked: Asked, run: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The model as it is to be held, and the other arguments of `nnprof.fits`."""
    from nnprof.fitting.methods import adapted

    run = dict(run)
    lora, quantize = run.pop("lora"), run.pop("quantize")
    with options.progress(f"building {asked.model}", quiet=False):
        model, dtype = loaded(asked, run)
    model, beside = adapted(model, lora, quantize)
    run["checkpoint"] = list(run["checkpoint"]) or None
    sizes = asked.sizes()
    run |= {"dtype": dtype, "batch": sizes.batch, "sequence": sizes.sequence, "beside": beside}
    return model, run


@click.command(
    help="Whether a run of MODEL fits on a GPU, by how much, what holds its memory, and what would "
    f"make it fit.\n\n{MODEL_HELP}",
    epilog="Example: nnprof fits transformers:llama --gpu 24GB --train --optimizer 'fused adamw'",
)
@model_options
@_run_options
@options.traceback
def fits(asked: Asked, gpu: str, run: dict[str, Any]) -> None:
    """Prints the answer."""
    from nnprof.fitting import fits as fits_on

    shape = asked.shape()
    model, arguments = _model_and_run(asked, run)
    with options.progress(f"tracing {asked.model}", quiet=False):
        text = str(fits_on(model, gpu, shape, **arguments))
    click.echo(text)


@click.command(
    "max",
    help=f"The largest batch, or the longest sequence, with which MODEL fits on a GPU.\n\n"
    f"{MODEL_HELP}",
    epilog="Example: nnprof max transformers:llama --over sequence --gpu h100 --batch 1 --train",
)
@click.option(
    "--over",
    type=click.Choice(["batch", "sequence"]),
    default="batch",
    show_default=True,
    help="What grows.",
)
@model_options
@_run_options
@options.traceback
def max_(asked: Asked, gpu: str, run: dict[str, Any], over: str) -> None:
    """Prints the answer."""
    from nnprof.fitting import largest

    if asked.shape() is not None:
        raise click.UsageError(f"the {over} is what is looked for: leave out --shape and --input")
    model, arguments = _model_and_run(asked, run)
    with options.progress(f"tracing {asked.model}", quiet=False):
        text = str(largest(model, gpu, over=over, **arguments))
    click.echo(text)
