"""What stands around a model: wrappers that are looked through. And what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

__all__ = [
    "buffers_of",
    "children_of",
    "looked_through",
    "model_of_inputs",
    "modules_of",
    "named_modules",
    "parameters_of",
]

#: Wrapper classes, by name so that none needs importing, and the attribute that holds the model.
_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
}


def looked_through(model: Any) -> Callable[..., Any]:
    """The model inside DataParallel, DistributedDataParallel and torch.compile.

    Raises InputError when there is nothing to call.
    """
    while type(model).__name__ in _WRAPPERS and isinstance(model, nn.Module):
        model = getattr(model, _WRAPPERS[type(model).__name__])
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise InputError(
            f"model is the class {model.__name__}, not a model: pass {model.__name__}(...)"
        )
    if not callable(model):
        raise InputError(
            f"model is a {type(model).__name__}, which cannot be called: "
            "pass an nn.Module or a function"
        )
    return model  # type: ignore[no-any-return]


def model_of_inputs(model: Any) -> Any:
    """The model inside that says what `model` takes: that of a PEFT model, else itself.

    A PEFT model is no mere wrapper: what it adds is measured, too.
    """
    while _is_of_peft(model):
        inside = model.get_base_model() if hasattr(model, "get_base_model") else model.model
        if inside is model or not isinstance(inside, nn.Module):
            break
        model = inside
    return model


def _is_of_peft(model: Any) -> bool:
    """A `PeftModel`, or a tuner such as `LoraModel`, which calls the model it holds."""
    if not isinstance(model, nn.Module):
        return False
    names = {base.__name__ for base in type(model).__mro__ if base.__module__.startswith("peft.")}
    return bool(names & {"PeftModel", "PeftMixedModel", "BaseTuner"})


# --- what is in a model --------------------------------------------------------------------------
# nn.Module's own methods call each other by name, and a model may have attributes of these names:
# `self.modules = [...]`, `self.parameters = {...}`.


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """As `model.named_modules()`: each module once, with its path, parents first."""
    seen: set[int] = set()
    waiting: list[tuple[str, nn.Module]] = [("", model)]
    while waiting:
        path, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield path, module
        prefix = f"{path}." if path else ""
        waiting += reversed([(prefix + name, child) for name, child in named_children(module)])


def modules_of(model: nn.Module) -> Iterator[nn.Module]:
    """As `model.modules()`, in the order of `named_modules`, whose paths take longer to make."""
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield module
        if module._modules:
            waiting += [child for child in reversed(module._modules.values()) if child is not None]


def children_of(module: nn.Module) -> Iterator[nn.Module]:
    """As `module.children()`: each once."""
    return iter({id(child): child for _, child in named_children(module)}.values())


def parameters_of(model: nn.Module, *, recurse: bool = True) -> Iterator[nn.Parameter]:
    """As `model.parameters()`: each once."""
    return _members(model, "_parameters", recurse)


def buffers_of(model: nn.Module, *, recurse: bool = True) -> Iterator[Tensor]:
    """As `model.buffers()`: each once."""
    return _members(model, "_buffers", recurse)


def outwards(path: str) -> Iterator[str]:
    """The path itself, then those of the modules around it; the last one is ""."""
    yield path
    while path:
        path = path.rpartition(".")[0]
        yield path


def named_children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """As `module.named_children()`, a child under each of its names."""
    return [(name, child) for name, child in module._modules.items() if child is not None]


def _members(model: nn.Module, holder: str, recurse: bool) -> Iterator[Any]:
    seen: set[int] = set()
    for module in modules_of(model) if recurse else (model,):
        for member in getattr(module, holder).values():
            if member is not None and id(member) not in seen:
                seen.add(id(member))
                yield member
