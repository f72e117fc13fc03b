"""What changes modules, and hooks on tensors, while a trace runs: the core remembers them before.

A module that the trace was not given is met when it is called, and a program may have changed it by
then: `eval()`, a hook. Torch's own functions get other code for the time, as `scopes.py` has it.
"""

from __future__ import annotations

import functools
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils.hooks import RemovableHandle

from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
    functions = _functions()
    # The default first: another thread may call between the two lines.
    for function, _, (code, needed) in functions:
        function.__kwdefaults__ = needed
        function.__code__ = code
    return [_put_back]


def _put_back() -> None:
    for function, (code, keywords), _ in _functions():
        function.__code__ = code
        function.__kwdefaults__ = keywords


#: Of the hooks that were registered while no trace ran.
_first_handle = 0


_Code = tuple[CodeType, dict[str, Any] | None]


@functools.cache
def _functions() -> list[tuple[FunctionType, _Code, _Code]]:
    """Functions of torch, with their own code and that which tells of each call."""
    told: list[tuple[Mapping[str, Any], str, Callable[..., object]]] = []
    told += [(vars(nn.Module), name, _core.keep_module) for name in _OF_MODULES]
    told += [(vars(nn.Module), name, _core.keep_tree) for name in _OF_TREES]
    told += [(vars(nn.Module), name, _core.note_birth) for name in ("__init__", "__setstate__")]
    told += [(vars(Tensor), name, _core.keep_tensor) for name in _OF_TENSORS]
    told += [(vars(RemovableHandle), "remove", _before_removal)]
    in_file = vars(torch_module)
    told += [(in_file, n, _before_global_hook) for n in in_file if n.startswith("register_module_")]
    return [
        (
            functions[n],
            (functions[n].__code__, functions[n].__kwdefaults__),
            _telling(functions[n], before),
        )
        for functions, n, before in told
    ]


def _before_global_hook(*_: Any) -> None:
    for hooks in _GLOBAL_HOOKS:
        _remember(hooks)


def _before_removal(handle: RemovableHandle) -> None:
    # Of the trace's own no hook may be kept alive: it may hold an activation.
    if handle.id < _first_handle:
        for reference in (handle.hooks_dict_ref, *handle.extra_dict_ref):
            _remember(reference())


def _remember(container: Any) -> None:
    from nnprof.trace import current_trace

    running = current_trace() if _core.tracing() else None
    if running is not None and running.tracer is not None and container is not None:
        running.tracer.remember_container(container)


# --- functions of torch with other code ----------------------------------------------------------


def _telling(function: FunctionType, before: Callable[..., object]) -> _Code:
    """The code with which `function` tells `before` its first argument."""
    code = function.__code__
    own = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    own.__kwdefaults__ = function.__kwdefaults__
    through = (_through_with_a_cell() if code.co_freevars else _through).__code__
    return through, {"nnprof_before": before, "nnprof_own": own}


def _through(*args: Any, nnprof_before: Any, nnprof_own: Any, **kwargs: Any) -> Any:
    nnprof_before(*args[:1])
    return nnprof_own(*args, **kwargs)


def _through_with_a_cell() -> FunctionType:
    """For a method that names `super()`: Python wants as many free variables as it has."""
    cell = None

    def through(*args: Any, nnprof_before: Any, nnprof_own: Any, **kwargs: Any) -> Any:
        _ = cell
        nnprof_before(*args[:1])
        return nnprof_own(*args, **kwargs)

    return cast("FunctionType", through)
