"""Module scopes: `nn.Module.__call__` passes through the core while a trace is active.

Torch's own function gets other code for that time. Replacing the attribute of the class instead
would make Python forget what it knows of each of its hundreds of subclasses, which takes longer
than tracing a ResNet.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any, cast

from torch import nn
from torch.nn.modules import module

from nnprof import _core
from nnprof.tracing.lazy import in_scope

__all__ = ["install_scopes", "uninstall_scopes"]

_call = cast("FunctionType", nn.Module._wrapped_call_impl)
_own_code = _call.__code__


def _through_the_core(self: Any, *args: Any, nnprof_scoped_call: Any, **kwargs: Any) -> Any:
    return nnprof_scoped_call(self, args, kwargs)


def install_scopes() -> None:
    """Sends every module call of the process through the core."""
    # The default first: another thread may call between the two lines.
    _call.__kwdefaults__ = {"nnprof_scoped_call": _core.scoped_call}
    _call.__code__ = _through_the_core.__code__


def uninstall_scopes() -> None:
    """Gives torch's function its own code back."""
    _call.__code__ = _own_code
    _call.__kwdefaults__ = None


_core.set_original_calls(
    FunctionType(_own_code, _call.__globals__, _call.__name__),
    nn.Module._call_impl,
    in_scope,
    # The hooks of all modules, which `_call_impl` looks into.
    module._global_backward_pre_hooks,
    module._global_backward_hooks,
    module._global_forward_hooks,
    module._global_forward_pre_hooks,
)
