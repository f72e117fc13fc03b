"""`nnprof explain MODEL --shape 1,3,224,224`: why other tools give another number."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from nnprof.cli import options
from nnprof.cli.model import MODEL_HELP, Asked, model_options

if TYPE_CHECKING:
    from nnprof.conventions import Convention
    from nnprof.conventions.tools import Printed
    from nnprof.results.profile import Profile

__all__ = ["explain"]


@click.command(
    help="What other tools' conventions make of one forward of MODEL, and why.\n\n"
    f"{MODEL_HELP}\n\nWithout --run no other tool is needed: the numbers are sums over nnprof's "
    "own records.",
    epilog="Example: nnprof explain torchvision:resnet50 --shape 1,3,224,224 --run",
)
@model_options
@click.option(
    "--run", is_flag=True, help="Run the tools that are installed, on copies; show what they print."
)
@click.option("-q", "--quiet", is_flag=True, help="Print no progress.")
@options.traceback
def explain(asked: Asked, run: bool, quiet: bool) -> None:
    """Measures, runs the tools if asked to, prints the table."""
    from nnprof import conventions, measure
    from nnprof.calls.inputs import make_inputs
    from nnprof.report import explain as report
    from nnprof.tracing.run import bare_output

    shape = asked.shape()
    with options.progress(f"building {asked.model}", quiet=quiet):
        model, dtype = asked.load()
    args, kwargs = make_inputs(model, shape, dtype=dtype, sizes=asked.sizes(), run=bare_output)
    with options.progress(f"tracing {asked.model}", quiet=quiet):
        profile = measure(model, inputs=args, kwargs=kwargs)
    printed = {}
    for convention in conventions.CONVENTIONS if run else ():
        with options.progress(f"running {convention.name}", quiet=quiet):
            printed[convention.name] = _run(convention, asked, model, args, kwargs, profile)
    explanations = conventions.explain(profile.data)
    if sys.stdout.isatty():
        options.print_document(report.document(profile, explanations, printed))
    else:
        click.echo(report.render(profile, explanations, printed))


def _run(
    convention: Convention,
    asked: Asked,
    model: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    profile: Profile,
) -> Printed:
    from nnprof.conventions import tools

    if convention.name == "torchvision":
        image = profile.layers[0].input_shapes[:1]
        return tools.published(asked.model, image[0][-1] if image and image[0] else None)
    return tools.run_tool(convention.name, convention.package, model, args, kwargs)
