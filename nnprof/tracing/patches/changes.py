"""What changes modules, and hooks on tensors, while a trace runs: the core remembers them before.

A module that the trace was not given is met when it is called, and a program may have changed it by
then: `eval()`, a hook.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils.hooks import RemovableHandle

from nnprof import _core
from nnprof.base.current import current_trace
from nnprof.tracing.patches.other_code import copy_of, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["switch_on"]

_OF_MODULES = (
    "__setattr__",
    "__delattr__",
    "register_buffer",
    "register_parameter",
    "add_module",
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
    "register_backward_hook",
    "_apply",
)
_OF_TREES = ("requires_grad_", "zero_grad")
_OF_TENSORS = ("register_hook", "register_post_accumulate_grad_hook")
_GLOBAL_HOOKS = [
    hooks
    for name, hooks in vars(torch_module).items()
    if name.startswith("_global_") and isinstance(hooks, dict)
]


def switch_on() -> list[Callable[[], object]]:
    """Tells the core of each change; returns what undoes it."""
    global _first_handle
    _first_handle = RemovableHandle.next_id
    return []


#: Of the hooks that were registered while no trace ran.
_first_handle = 0


def _before_global_hook(*_: Any) -> None:
    for hooks in _GLOBAL_HOOKS:
        _remember(hooks)


def _before_removal(handle: RemovableHandle) -> None:
    # Of the trace's own no hook may be kept alive: it may hold an activation.
    if handle.id < _first_handle:
        for reference in (handle.hooks_dict_ref, *handle.extra_dict_ref):
            _remember(reference())


def _remember(container: Any) -> None:
    running = current_trace() if _core.tracing() else None
    if running is not None and running.tracer is not None and container is not None:
        running.tracer.remember_container(container)


def _telling(before: Callable[..., object], function: Callable[..., Any]) -> None:
    own = copy_of(function)

    def telling(*args: Any, **kwargs: Any) -> Any:
        before(*args[:1])
        return own(*args, **kwargs)

    replace(function, telling)


def _tell(before: Callable[..., object], owner: Any, names: Iterable[str]) -> None:
    """`before` is called with the first argument of each of these functions, before it is."""
    for name in names:
        _telling(before, getattr(owner, name))


_tell(_core.keep_module, nn.Module, _OF_MODULES)
_tell(_core.keep_tree, nn.Module, _OF_TREES)
_tell(_core.note_birth, nn.Module, ("__init__", "__setstate__"))
_tell(_core.keep_tensor, Tensor, _OF_TENSORS)
_tell(_before_removal, RemovableHandle, ("remove",))
_tell(
    _before_global_hook,
    torch_module,
    [name for name in vars(torch_module) if name.startswith("register_module_")],
)
