"""What stands around a model and is not part of it: wrappers that are looked through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["looked_through"]

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
