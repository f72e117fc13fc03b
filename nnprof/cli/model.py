"""What the commands that take a MODEL share: its name, the sizes of its inputs, its dtype."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from nnprof.calls.examples import NO_SIZES, Sizes
from nnprof.calls.phases import LANGUAGE_PHASES
from nnprof.cli import options
from nnprof.models import SOURCES, load_model

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

__all__ = ["MODEL_HELP", "Asked", "checkpoint", "context", "model_options", "phase"]

_MODELS = ", ".join(f"{source.prefix}:{source.name}" for source in SOURCES)

#: For the help text of a command.
MODEL_HELP = (
    f"MODEL is one of {_MODELS}, package.module:attr or file.py:attr. It is built without weights. "
    "Its inputs are those the library's model usually takes; for models of one's own, or other "
    "sizes, give --shape or --input, batch included."
)


@dataclass(frozen=True)
class Asked:
    """What the command line asks of a model. Every field is an option of `model_options`."""

    model: str
    shapes: tuple[Any, ...]
    inputs: tuple[tuple[str, Any], ...]
    dtype: torch.dtype | None

    batch: int | None
    sequence: int | None

    def shape(self) -> Any:
        """As `nnprof.measure` takes it, None for the usual inputs.

        Raises `click.UsageError` for too much.
        """
        if self.shapes and self.inputs:
            raise click.UsageError("give --shape or --input, not both")
        if (self.shapes or self.inputs) and self.sizes() != NO_SIZES:
            raise click.UsageError(
                "--batch and --sequence are of the usual inputs: leave out --shape and --input"
            )
        return dict(self.inputs) or list(self.shapes) or None

    def sizes(self) -> Sizes:
        """Of the usual inputs."""
        return Sizes(self.batch, self.sequence)

    def load(self) -> tuple[Any, torch.dtype | None]:
        """The model, in a floating --dtype, which its inputs then follow; an integer one is theirs.

        With the dtype that is left for the inputs.
        """
        model = load_model(self.model)
        if self.dtype is None or not self.dtype.is_floating_point or not hasattr(model, "to"):
            return model, self.dtype
        return model.to(self.dtype), None


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """MODEL and what says of its inputs: given to the command as one `Asked`, before all else."""

    @wraps(command)
    def with_asked(**values: Any) -> Any:
        asked = Asked(**{field.name: values.pop(field.name) for field in fields(Asked)})
        return command(asked, **values)

    decorated: Callable[..., Any] = with_asked
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


_OPTIONS = (
    click.argument("model"),
    click.option(
        "--shape",
        "shapes",
        type=options.Shape(),
        multiple=True,
        help="Sizes of an input; repeat it for each positional argument.",
    ),
    click.option(
        "--input",
        "inputs",
        type=options.NamedShape(),
        multiple=True,
        help="Sizes of an input by its name; may be repeated.",
    ),
    click.option(
        "--dtype",
        type=options.Dtype(computed=True),
        help="Floating: of model and inputs. Integer: of the inputs.",
    ),
    click.option(
        "--batch", type=click.IntRange(1), help="Of the usual inputs; default: the library's."
    ),
    click.option(
        "--sequence", type=click.IntRange(1), help="Tokens of the usual inputs, likewise."
    ),
)

# What the commands ask that run it in more than one way.

phase = click.option(
    "--phase",
    type=click.Choice(LANGUAGE_PHASES),
    help="Of a language model of transformers: its prompt, or one token with its cache.",
)
context = click.option(
    "--context", type=click.IntRange(1), help="Tokens of the prompt or in the cache."
)
checkpoint = click.option(
    "--checkpoint",
    metavar="MODULE",
    multiple=True,
    help="Activation checkpointing of the modules at this path, or glob such as 'layers.*'; may be "
    "repeated.",
)
