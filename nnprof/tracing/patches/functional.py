"""torch.func in a trace: what a transform differentiates by is shape-only from the start.

Its levels wrap the tensors that they are given, and expect gradients on the device of these. Real
ones would get gradients of what a trace computes, which are on meta. The core is told how many
levels of vmap it is in, which it cannot see where it is called.
"""

from __future__ import annotations

import functools
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import forward_ad, functional
from torch.utils._pytree import tree_map, tree_map_only

from nnprof import _core
from nnprof.errors import GraphNotRecordedError
from nnprof.tracing.patches.backward import NO_GRAPH
from nnprof.tracing.patches.other_code import copy_of, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["switch_on"]


_known: set[str] = set()  # what torch has loaded of it


def switch_on() -> list[Callable[[], object]]:
    """Has transforms wrap stand-ins; returns what undoes it."""
    batching = _newly_loaded("torch._functorch.vmap")
    if batching is not None:
        nesting = batching.vmap_increment_nesting
        replace(nesting, _told_of(copy_of(nesting)))
    transforms = _newly_loaded("torch._functorch.eager_transforms")
    if transforms is not None:
        linearize = transforms.linearize
        replace(linearize, functools.partial(_linearized, copy_of(linearize)))
    return _written_in_c()


def _newly_loaded(name: str) -> Any:
    """The module, where it is loaded and was not known to be."""
    module = sys.modules.get(name)
    if module is not None and name not in _known:
        _known.add(name)
        return module
    return None


def _written_in_c() -> list[Callable[[], object]]:
    transforms: Any = sys.modules.get("torch._functorch.eager_transforms")
    if transforms is None:
        return []
    own = transforms._wrap_for_grad
    transforms._wrap_for_grad = _of_stand_ins(own)
    return [functools.partial(setattr, transforms, "_wrap_for_grad", own)]


def _linearized(torchs: Any, function: Any, *primals: Any) -> Any:
    """Torch makes a graph of the tangents, in which all that is known before them is a number."""
    if not _core.tracing():
        return torchs(function, *primals)
    _ask_for_graph()

    def along(*tangents: Any) -> Any:
        before = _core.set_only_tangents(True)
        try:
            with forward_ad.dual_level():
                duals = tree_map(forward_ad.make_dual, primals, tangents)
                return tree_map_only(Tensor, _tangent_of, function(*duals))
        finally:
            _core.set_only_tangents(before)

    return function(*primals), along


def _tangent_of(output: Tensor) -> Tensor:
    tangent = forward_ad.unpack_dual(output).tangent  # type: ignore[no-untyped-call]
    return torch.zeros_like(output) if tangent is None else tangent


def _ask_for_graph() -> None:
    """Before anything is made that has no place in a graph."""
    if not _core.traces_backward():
        raise GraphNotRecordedError(NO_GRAPH)


@functools.cache
def _of_stand_ins(wrap: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(wrap)
    def wrapping(tensor: Tensor, level: int) -> Any:
        if _core.tracing():
            _ask_for_graph()
            tensor = _core.shadow_for_transform(tensor)
        return wrap(tensor, level)

    return wrapping


def _told_of(nesting: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(nesting)
    @contextmanager
    def telling(*args: Any, **kwargs: Any) -> Iterator[Any]:
        _core.enter_batching(1)
        try:
            with nesting(*args, **kwargs) as level:
                yield level
        finally:
            _core.enter_batching(-1)

    return telling


_preprocess = copy_of(functional._grad_preprocess)


def _with_graph(*args: Any, **kwargs: Any) -> Any:
    """torch.autograd.functional takes outputs without a graph for constants, and returns zeros."""
    if _core.tracing():
        _ask_for_graph()
    return _preprocess(*args, **kwargs)


replace(functional._grad_preprocess, _with_graph)
