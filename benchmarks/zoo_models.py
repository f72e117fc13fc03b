"""The models of the zoo: names from the libraries' own lists, and an input for each.

Every family gives names and, for a name, a model on the meta device (or on the CPU, where its
constructor needs values) with the arguments of one call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnprof.base.packages import import_torchvision
from nnprof.calls.examples import NO_SIZES, example_inputs
from nnprof.models import load_model
from nnprof.tracing.run import bare_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


@dataclass
class Case:
    """A model and one call of it."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Family:
    """Names that belong together, and how to make a case of one."""

    names: Callable[[], list[str]]
    case: Callable[[str], Case]


def usual_case(text: str) -> Case:
    """The model that `text` names, with the inputs that nnprof makes for it."""
    model = load_model(text)
    arguments = example_inputs(model, NO_SIZES, bare_output)
    assert arguments is not None
    return Case(model, *arguments)


# torchvision ------------------------------------------------------------------------------------


def _torchvision_names(package: str) -> list[str]:
    torchvision = import_torchvision()
    module = torchvision.models if not package else getattr(torchvision.models, package)
    return list(torchvision.models.list_models(module=module))


def _torchvision(name: str) -> Case:
    return usual_case(f"torchvision:{name}")


# timm -------------------------------------------------------------------------------------------


def _timm_names() -> list[str]:
    import_torchvision()
    import timm

    return list(timm.list_models())


# transformers -----------------------------------------------------------------------------------


def _transformers() -> Any:
    from benchmarks import zoo_transformers

    return zoo_transformers


# diffusers --------------------------------------------------------------------------------------


def _diffusers() -> Any:
    from benchmarks import zoo_diffusers

    return zoo_diffusers


FAMILIES = {
    "torchvision": Family(lambda: _torchvision_names(""), _torchvision),
    "torchvision.segmentation": Family(lambda: _torchvision_names("segmentation"), _torchvision),
    "torchvision.detection": Family(lambda: _torchvision_names("detection"), _torchvision),
    "torchvision.video": Family(lambda: _torchvision_names("video"), _torchvision),
    "torchvision.optical_flow": Family(lambda: _torchvision_names("optical_flow"), _torchvision),
    "timm": Family(_timm_names, lambda name: usual_case(f"timm:{name}")),
    "transformers": Family(
        lambda: _transformers().names(), lambda name: _transformers().case(name)
    ),
    "diffusers": Family(lambda: _diffusers().names(), lambda name: _diffusers().case(name)),
}
