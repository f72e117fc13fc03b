"""What the commands that take a MODEL share: its name, the sizes of its inputs, its dtype."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from nnprof.cli import options
from nnprof.models import SOURCES, load_model

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

__all__ = ["MODEL_HELP", "Asked", "model_options"]

_MODELS = ", ".join(f"{source.prefix}:{source.name}" for source in SOURCES)

#: For the help text of a command.
MODEL_HELP = (
    f"MODEL is one of {_MODELS}, package.module:attr or file.py:attr. It is built without weights. "
    "Give its inputs' sizes, batch included, with --shape or --input."
)


@dataclass(frozen=True)
class Asked:
    """What the command line asks of a model. Every field is an option of `model_options`."""

    model: str
    shapes: tuple[Any, ...]
    inputs: tuple[tuple[str, Any], ...]
    dtype: torch.dtype | None

    def shape(self) -> Any:
        """As `nnprof.measure` takes it; raises `click.UsageError` for too much or too little."""
        if bool(self.shapes) == bool(self.inputs):
            raise click.UsageError(
                "give --shape or --input, not both"
                if self.shapes
                else "the inputs' sizes are missing: give --shape 1,3,224,224 (batch included) or "
                "--input NAME=SIZES[:DTYPE]"
            )
        return dict(self.inputs) if self.inputs else list(self.shapes)

    def load(self) -> tuple[Any, torch.dtype | None]:
        """The model, in a floating --dtype, which its inputs then follow; an integer one is theirs.

        With the dtype that is left for the inputs.
        """
        model = load_model(self.model)
        if self.dtype is None or not self.dtype.is_floating_point or not hasattr(model, "to"):
            return model, self.dtype
        return model.to(self.dtype), None


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """MODEL, --shape, --input, --dtype: given to the command as one `Asked`, before all else."""

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
        type=options.Dtype(),
        help="Floating: of model and inputs. Integer: of the inputs.",
    ),
)
