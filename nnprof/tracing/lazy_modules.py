"""Lazy modules: their parameters get shapes on a copy of the model, from the input of one call."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from nnprof.base.modules import buffers_of, modules_of, parameters_of
from nnprof.calls.inputs import explain_call_failure
from nnprof.calls.model_call import ModelCall
from nnprof.errors import InputError
from nnprof.tracing.run import run

if TYPE_CHECKING:
    from nnprof.errors import LazyModuleError
    from nnprof.tracing.questions import Assume

__all__ = ["has_lazy", "refuse_lazy", "with_shapes"]


def with_shapes(
    call: ModelCall, error: LazyModuleError, *, assume: Assume | None = None, filled: bool = False
) -> nn.Module:
    """A copy of a lazy model that is lazy no more, found by one shape-only call.

    It shares the tensors that have shapes with the model. The others are zeros; `filled`, what
    their modules fill them with. Raises `error`, which a trace has raised, again where the call
    leaves a module lazy.
    """
    model = call.model
    assert isinstance(model, nn.Module)
    copied = _copy(model)
    lazy = [module for module in modules_of(copied) if _is_lazy(module)]
    made: list[tuple[nn.Module, _Made]] = []

    def make(given: dict[str, Any], _: nn.Module = copied) -> dict[str, Any]:
        copied(*call.arguments, **given)
        made.extend((module, _Made(module)) for module in lazy)
        return given

    def nothing(*args: Any, _called: Any = make, **kwargs: Any) -> None:
        """The trace puts back what `make` changes."""

    try:
        run(ModelCall(nothing, call.arguments, call.keywords, make), assume=assume)
    except Exception as failure:
        explain_call_failure(model, call.arguments, call.keywords, failure)
        raise
    for module, found in made:
        found.put_into(module)
    if has_lazy(copied):
        raise error
    if filled:
        _fill(lazy)
    return copied


class _Made:
    """What a call has made of a lazy module."""

    def __init__(self, module: nn.Module) -> None:
        self._class = type(module)
        self._held = {
            name: copy.copy(value) if isinstance(value, (dict, list, set)) else value
            for name, value in vars(module).items()
            if name != "_modules"
        }
        own = (*module._parameters.values(), *module._buffers.values())
        self._tensors: list[tuple[Any, type, torch.Size]] = [
            (tensor, type(tensor), tensor.shape)
            for tensor in own
            if tensor is not None and not is_lazy(tensor)
        ]

    def put_into(self, module: nn.Module) -> None:
        module.__class__ = self._class
        children = module._modules
        vars(module).clear()
        vars(module).update(self._held, _modules=children)
        for tensor, kind, shape in self._tensors:
            if is_lazy(tensor):
                data = tensor.data
                tensor.data = torch.zeros(shape, dtype=data.dtype, device=data.device)
                tensor.__class__ = kind


def _copy(model: nn.Module) -> nn.Module:
    """Of all but the tensors that have shapes; a lazy buffer does not let itself be copied."""
    tensors = (*parameters_of(model), *buffers_of(model))
    memo = {id(t): _new_lazy(t) if is_lazy(t) else t for t in tensors}
    return copy.deepcopy(model, memo)


def _new_lazy(tensor: Any) -> Any:
    data = tensor.data
    return type(tensor)(requires_grad=tensor.requires_grad, device=data.device, dtype=data.dtype)


def _fill(modules: list[nn.Module]) -> None:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for module in modules:
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()


def has_lazy(model: Any) -> bool:
    """Has some parameter or buffer of the model no shape yet?"""
    return isinstance(model, nn.Module) and any(map(_is_lazy, modules_of(model)))


def _is_lazy(module: nn.Module) -> bool:
    own = (*module._parameters.values(), *module._buffers.values())
    return any(is_lazy(tensor) for tensor in own if tensor is not None)


def refuse_lazy(optimizer: Any) -> None:
    """Raises `InputError` for an optimizer of parameters that have no shape yet."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        return
    if any(is_lazy(p) for group in optimizer.param_groups for p in group["params"]):
        raise InputError(
            "optimizer= is one of parameters that have no shape yet, and a copy of the model is "
            "measured: pass its name (optimizer='adamw'), or run the model once before"
        ) from None
