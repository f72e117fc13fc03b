"""What reads a tensor's memory must know where it is, whatever device it shows to the program.

In a trace tensors show the device of the model's parameters and inputs (csrc/bindings/
shown_devices.cpp). Functions of torch that print, copy or store a tensor, or make a FakeTensor of
it, ask for its device to learn whether it has any data: they get the true one.
"""

from __future__ import annotations

import copy
import functools
import sys
from typing import TYPE_CHECKING, Any

from torch import Tensor, _tensor_str

from nnprof import _core
from nnprof.tracing.patches.other_code import copy_of, replace

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on"]


def switch_on() -> list[Callable[[], object]]:
    """Tells these functions of torch where tensors are; returns what undoes it."""
    fakes: Any = sys.modules.get("torch._subclasses.fake_tensor")
    methods = () if fakes is None else _methods_of(fakes)
    for owner, name, _, knowing in methods:
        setattr(owner, name, knowing)
    return [functools.partial(setattr, owner, name, own) for owner, name, own, _ in methods]


@functools.cache
def _methods_of(fakes: Any) -> tuple[tuple[type, str, Any, Any], ...]:
    """Owner, name, the method itself, and the one that knows."""
    methods = (
        (fakes.FakeTensor, "__new__"),
        (fakes.FakeTensor, "__torch_dispatch__"),
        (fakes.FakeTensorConverter, "from_real_tensor"),
        (fakes.FakeTensorMode, "__torch_dispatch__"),
    )
    return tuple((o, name, vars(o)[name], _knowing_method(vars(o)[name])) for o, name in methods)


@functools.cache
def _knowing(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def knowing(*args: Any, **kwargs: Any) -> Any:
        return _core.with_true_devices(function, *args, **kwargs)

    return knowing


def _knowing_method(own: Any) -> Any:
    kind = type(own)
    return kind(_knowing(own.__func__)) if kind in (classmethod, staticmethod) else _knowing(own)


# --- methods of tensors --------------------------------------------------------------------------


_format, _deepcopy = _knowing(copy_of(Tensor.__format__)), _knowing(copy_of(Tensor.__deepcopy__))


def _formatted(self: Tensor, spec: str) -> str:
    """A number written in a format of its own has to be known; else the tensor tells what it is."""
    if spec and _core.tracing() and self.dim() == 0 and type(self) is Tensor:
        return self.detach().item().__format__(spec)
    return _format(self, spec)  # type: ignore[no-any-return]


def _deepcopied(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """By an operator: storages, copied as they are, know nothing of what the trace has written."""
    if not _core.tracing() or type(self) is not Tensor or id(self) in memo or not self.is_leaf:
        return _deepcopy(self, memo)  # type: ignore[no-any-return]
    copied = self.detach().clone().requires_grad_(self.requires_grad)
    memo[id(self)] = copied
    copied.grad = copy.deepcopy(self.grad, memo)
    copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return copied


replace(Tensor.__format__, _formatted)
replace(Tensor.__deepcopy__, _deepcopied)
for _function in (Tensor.__reduce_ex__, _tensor_str._str):
    replace(_function, _knowing(copy_of(_function)))
