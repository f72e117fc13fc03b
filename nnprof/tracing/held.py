"""The models that a measured function reaches: found before it runs and may change them."""

from __future__ import annotations

import functools
import sys
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["held_by"]

#: Values to look at: a program may hold more, a measured function hardly does.
_MOST = 4096
_LEAVES = (str, bytes, int, float, complex, torch.Tensor, torch.dtype, torch.device, type(None))


def held_by(*callables: Any) -> Iterator[Any]:
    """Modules that the callables can reach, and objects that hold some; the callables' own first.

    Through closures, globals that they name, defaults, bound objects, `functools.partial`, lists
    and dicts, and attributes of objects and of their classes. What a function itself holds (a list
    that it collects results in) is its own affair.
    """
    waiting = [(value, True) for value in callables]
    seen: set[int] = set()
    namespaces: set[int] = set()
    while waiting and len(seen) < _MOST:
        value, called = waiting.pop()
        if isinstance(value, _LEAVES) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module):
            yield value
            continue
        if isinstance(value, torch._C.ScriptMethod):
            yield value.owner
            continue
        if not isinstance(value, (FunctionType, type, *_CONTAINERS)) and _is_model(value, called):
            yield value
        if isinstance(value, FunctionType) and called:
            namespaces.add(id(value.__globals__))
        waiting += _inside(value, namespaces)


_CONTAINERS = (list, tuple, dict, set, frozenset)


def _is_model(value: Any, called: bool) -> bool:
    """It is called, or holds modules: what it holds is put back as a module's attributes are."""
    if isinstance(value, (MethodType, ModuleType, functools.partial)):
        return False
    held = getattr(value, "__dict__", {}).values()
    return called or any(isinstance(item, nn.Module) for item in held)


def _inside(value: Any, namespaces: set[int]) -> Iterable[tuple[Any, bool]]:
    """What is in `value`, and whether it is called when `value` is."""
    if isinstance(value, FunctionType):
        return [(item, isinstance(item, FunctionType)) for item in _named_by(value, namespaces)]
    if isinstance(value, MethodType):
        return [(value.__func__, True), (value.__self__, True)]
    if isinstance(value, functools.partial):
        given = (*value.args, *value.keywords.values())
        return [(value.func, True), *((item, False) for item in given)]
    if isinstance(value, dict):
        return [(item, False) for item in value.values()]
    if isinstance(value, _CONTAINERS):
        return [(item, False) for item in value]
    if isinstance(value, type):
        return [(item, True) for item in _of_class(value, namespaces)]
    if isinstance(value, ModuleType):
        return ()
    classes = () if _is_foreign(type(value)) else type(value).__mro__
    attributes = [(item, False) for item in getattr(value, "__dict__", {}).values()]
    return [*attributes, *((kind, False) for kind in classes if not _is_foreign(kind))]


def _named_by(function: FunctionType, namespaces: set[int]) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from vars(function).values()  # what a decorator wraps
    if id(function.__globals__) not in namespaces:
        return
    names = list(_names(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, FunctionType):
            if id(value.__globals__) in namespaces:
                yield value
        elif isinstance(value, ModuleType):
            # `models.net(x)` names both.
            held = (vars(value).get(attribute) for attribute in names)
            yield from (item for item in held if isinstance(item, nn.Module))
        elif not isinstance(value, type) or not _is_foreign(value):
            yield value


def _names(code: CodeType) -> Iterator[str]:
    """Of the function and those that it makes."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _of_class(kind: type, namespaces: set[int]) -> Iterator[Any]:
    """Its attributes, and methods where functions of the same file are followed too."""
    for value in vars(kind).values():
        value = getattr(value, "__func__", value)
        if not isinstance(value, FunctionType) or id(value.__globals__) in namespaces:
            yield value


def _is_foreign(kind: type) -> bool:
    package = str(getattr(kind, "__module__", "")).partition(".")[0]
    return package == "torch" or (package != "__main__" and package in sys.stdlib_module_names)
