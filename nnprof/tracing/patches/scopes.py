"""Module scopes: `nn.Module.__call__` passes through the core while a trace is active.

Torch's own function gets other code for that time (`other_code.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from torch import nn
from torch.nn.modules import module

from nnprof import _core
from nnprof.tracing.lazy import in_scope
from nnprof.tracing.patches.other_code import copy_of, replace

if TYPE_CHECKING:
    from types import FunctionType

__all__: list[str] = []


def _packed(self: Any, *args: Any, nnprof_by: Any, **kwargs: Any) -> Any:
    """The core takes the arguments as they come: it would pack them again."""
    return nnprof_by(self, args, kwargs)


_call = cast("FunctionType", nn.Module._wrapped_call_impl)

_core.set_original_calls(
    copy_of(_call),
    nn.Module._call_impl,
    in_scope,
    # The hooks of all modules, which `_call_impl` looks into.
    module._global_backward_pre_hooks,
    module._global_backward_hooks,
    module._global_forward_hooks,
    module._global_forward_pre_hooks,
)
replace(_call, _core.scoped_call, through=_packed)
