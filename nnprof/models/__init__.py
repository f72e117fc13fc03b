"""Models named by a string, as the command line takes them.

    torchvision:resnet50              timm:convnext_large
    transformers:path/to/config.json  transformers:llama
    diffusers:path/to/config.json     diffusers:UNet2DConditionModel
    package.module:attr               file.py:attr

Built on the meta device, so without weights and in no time, unless a constructor needs real values.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nnprof.base.packages import import_torchvision, require
from nnprof.errors import ModelError
from nnprof.tracing.quantization import store_as_config_says

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

__all__ = ["SOURCES", "Source", "load_model"]

#: Anything to call; that of a `Source` is an nn.Module.
Model = Any


@dataclass(frozen=True)
class Source:
    """A place models come from: `prefix:name`."""

    prefix: str
    name: str  # what stands after the colon, for help texts
    build: Callable[[str], Model]


def load_model(text: str) -> Model:
    """The model that `text` names, on the meta device where its constructor can do without data.

    Models of the libraries are in eval mode, one's own as it was made.

    Raises `ModelError` where there is no such model, with the closest names, or where building it
    fails; `MissingExtraError`, which is one, where a package is not installed.
    """
    prefix, colon, name = text.rpartition(":")
    if not colon or not prefix or not name:
        forms = ", ".join(f"{source.prefix}:{source.name}" for source in SOURCES)
        raise ModelError(f"{text!r} names no model: use {forms}, package.mod:attr or file.py:attr")
    for source in SOURCES:
        if source.prefix == prefix:
            return source.build(name).eval()
    return _build_attribute(prefix, name)


def _build(text: str, build: Callable[[], Model], *, on_meta: bool = True) -> Model:
    """`build()` on the meta device, else on the CPU: some constructors read computed values."""
    try:
        if on_meta:
            with suppress(RuntimeError, NotImplementedError, ValueError), torch.device("meta"):
                return build()
        return build()
    except Exception as error:
        raise ModelError(f"building {text} failed: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__


def _unknown(what: str, name: str, known: Iterable[str]) -> ModelError:
    near = get_close_matches(name, list(known), n=3)
    hint = f": did you mean {' or '.join(near)}?" if near else ""
    return ModelError(f"{what} has no model {name!r}{hint}")


# torchvision and timm.


def _build_torchvision(name: str) -> Model:
    models = import_torchvision().models
    try:
        builder = models.get_model_builder(name)
    except ValueError:
        raise _unknown("torchvision", name, models.list_models()) from None
    # Detectors and segmenters would fetch a trained backbone by default.
    options: dict[str, Any] = {"weights": None}
    if "weights_backbone" in _parameter_names(builder):
        options["weights_backbone"] = None
    return _build(f"torchvision:{name}", lambda: builder(**options))


def _parameter_names(function: Callable[..., Any]) -> Iterable[str]:
    import inspect

    return inspect.signature(function).parameters


def _build_timm(name: str) -> Model:
    require("timm")
    import_torchvision()
    import timm

    if not timm.is_model(name):
        raise _unknown("timm", name, timm.list_models())
    return _build(f"timm:{name}", lambda: timm.create_model(name, pretrained=False))


# transformers.


def _build_transformers(name: str) -> Model:
    require("transformers")
    if importlib.util.find_spec("torchvision") is not None:
        import_torchvision()  # transformers would import it, and fail where this one does not

    from nnprof.models.transformers_names import DEFAULTS, ON_CPU, TYPES, model_class_of

    if name.endswith(".json"):
        config = _transformers_config(name)
    else:
        config = _config_of_type(TYPES.get(name, name), DEFAULTS.get(name))
    make = model_class_of(config)
    if make is None:
        raise ModelError(
            f"transformers has a config for {name}, but no model: it is a part of another's"
        )
    on_meta = config.model_type not in ON_CPU
    build = partial(make._from_config, config)
    model = _build(f"transformers:{name}", build, on_meta=on_meta)
    store_as_config_says(model, config)
    return model


def _transformers_config(name: str) -> Any:
    values = _read_config(name)
    model_type = values.pop("model_type", None)
    if not isinstance(model_type, str):
        raise ModelError(f"{name} is no transformers config: it has no 'model_type'")
    return _config_of_type(model_type, values)


def _read_config(name: str) -> dict[str, Any]:
    """The values of a config.json."""
    path = Path(name)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"cannot read the config {name}: {_reason(error)}") from error
    return values if isinstance(values, dict) else {}


def _config_of_type(model_type: str, values: dict[str, Any] | None = None) -> Any:
    from transformers import CONFIG_MAPPING, AutoConfig

    if model_type not in CONFIG_MAPPING:
        raise _unknown("transformers", model_type, CONFIG_MAPPING.keys())
    try:
        return AutoConfig.for_model(model_type, **(values or {}))
    except Exception as error:
        raise ModelError(f"the config of {model_type} is refused: {_reason(error)}") from error


# diffusers.


def _build_diffusers(name: str) -> Model:
    """By a config.json, which names the class, or a class with its constructor's defaults."""
    require("diffusers")
    if importlib.util.find_spec("torchvision") is not None:
        import_torchvision()  # some models import it
    values = _read_config(name) if name.endswith(".json") else {"_class_name": name}
    class_name = values.get("_class_name")
    if not isinstance(class_name, str):
        raise ModelError(f"{name} is no diffusers config: it has no '_class_name'")
    model_class = _diffusers_class(class_name)
    return _build(f"diffusers:{name}", lambda: model_class.from_config(values))


def _diffusers_class(name: str) -> Any:
    import diffusers

    found = getattr(diffusers, name, None)
    if not (isinstance(found, type) and issubclass(found, diffusers.ModelMixin)):
        raise _unknown("diffusers", name, diffusers._import_structure["models"])
    return found


# The user's own.


def _build_attribute(place: str, name: str) -> Model:
    """`package.module:attr` or `file.py:attr`; a class or a function is called, bare."""
    module = _import_file(place) if place.endswith(".py") else _import_module(place)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise _unknown(place, name, [n for n in dir(found) if n[0] != "_"]) from None
    if isinstance(found, torch.nn.Module):
        return found
    if not callable(found):
        kind = type(found).__name__
        raise ModelError(f"{place}:{name} is a {kind}, neither a module nor what makes one")
    return _made(f"{place}:{name}", _build(f"{place}:{name}", found))


def _made(text: str, made: Any) -> Model:
    if not callable(made):
        raise ModelError(f"{text} made a {type(made).__name__}, not a module")
    return made


def _import_module(name: str) -> ModuleType:
    if "" not in sys.path:  # the command line does not look where it is started, python -m does
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            sources = [source.prefix for source in SOURCES]
            near = get_close_matches(name, sources, n=1)
            hint = f"did you mean {near[0]}:?" if near else "is it installed?"
            raise ModelError(f"no module {name!r}: {hint}") from error
        raise ModelError(f"importing {name} failed: {_reason(error)}") from error
    except Exception as error:
        raise ModelError(f"importing {name} failed: {_reason(error)}") from error


def _import_file(name: str) -> ModuleType:
    path = Path(name).resolve()
    if not path.is_file():
        raise ModelError(f"there is no file {name}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{name} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    # As `python file.py` has it: its neighbours can be imported, and pickle finds its classes.
    sys.path.insert(0, str(path.parent))
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"importing {name} failed: {_reason(error)}") from error
    return module


SOURCES = (
    Source("torchvision", "NAME", _build_torchvision),
    Source("timm", "NAME", _build_timm),
    Source("transformers", "CONFIG.json|MODEL_TYPE", _build_transformers),
    Source("diffusers", "CONFIG.json|CLASS", _build_diffusers),
)
