"""The tensors in what a forward returns, however they are nested."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

__all__ = ["tensors_in"]

#: Parts of a program, which an output may refer to but which are no output.
_NO_OUTPUT = (
    nn.Module,
    torch.optim.Optimizer,
    type,
    types.ModuleType,
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    functools.partial,
    torch.device,
    torch.dtype,
    torch.Size,
    torch.Generator,
    str,
    bytes,
    bytearray,
    memoryview,
    int,
    float,
    complex,
    range,
)


def tensors_in(output: Any) -> Iterator[Tensor]:
    """Each tensor once, in the order in which a reader of the output meets it.

    Looks into sequences, sets, mappings, dataclasses, attrs classes and the attributes of any other
    object, in any nesting; not into modules, nor into the caches of a language model, which are
    kept for its next call. Iterators are left alone: see `nnprof.tracing.lazy`.
    """
    seen: set[int] = set()
    kept: list[Any] = []  # an object made on the way may not lend its id to a later one
    waiting: list[Iterator[Any]] = [iter((output,))]
    while waiting:
        value = next(waiting[-1], _END)
        if value is _END:
            waiting.pop()
        elif value is None or isinstance(value, _NO_OUTPUT) or id(value) in seen:
            continue
        else:
            seen.add(id(value))
            kept.append(value)
            if isinstance(value, Tensor):
                yield value
            elif not _is_cache(type(value)):  # type: ignore[arg-type]
                waiting.append(iter(_parts(value)))


_END = object()


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Iterator):
        return ()
    items: list[Any] = []
    if isinstance(value, Mapping):
        items += [value[key] for key in value]
    elif isinstance(value, (Sequence, Set)):
        items += value
    elif type(value) in _pytree.SUPPORTED_NODES:
        return _pytree.SUPPORTED_NODES[type(value)].flatten_fn(value)[0]
    return items + [getattr(value, name, None) for name in _attributes(value)]


def _attributes(value: Any) -> list[str]:
    """Fields in the order of their declaration, then all others in that of their assignment."""
    kind = type(value)
    names = [*getattr(kind, "__dataclass_fields__", ())]
    names += [field.name for field in getattr(kind, "__attrs_attrs__", ())]
    for base in reversed(kind.__mro__):
        slots = vars(base).get("__slots__", ())
        names += [slots] if isinstance(slots, str) else [*slots]
    names += getattr(value, "__dict__", {})
    return [name for name in dict.fromkeys(names) if name not in ("__dict__", "__weakref__")]


@functools.cache
def _is_cache(kind: type) -> bool:
    return any(
        base.__name__ == "Cache" and base.__module__.startswith("transformers.")
        for base in kind.__mro__
    )
