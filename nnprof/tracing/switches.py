"""What traces switch on in the process, and off when the last of them ends."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import torch

from nnprof import _core
from nnprof.base.process import Undo, undo_all
from nnprof.tracing import patches
from nnprof.tracing.patches.flex_attention import OPERATOR as FLEX_ATTENTION

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["switch_on_process"]


class _Shared:
    """A process-wide switch that is on while at least one thread wants it."""

    def __init__(self, switch_on: Callable[[], list[Undo]]) -> None:
        self._switch_on = switch_on
        self._undo: list[Undo] = []
        self._users = 0
        self._lock = threading.Lock()

    def switch_on(self) -> Undo:
        with self._lock:
            if self._users == 0:
                self._undo = self._switch_on()
            self._users += 1
        return self._leave

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                undo_all(self._undo)


_known_higher_order_ops = 0


def _meet_torch_modules() -> None:
    """Tells the core and torch of each other, for what torch has loaded by now."""
    global _known_higher_order_ops
    fakes = sys.modules.get("torch._subclasses.fake_tensor")
    if fakes is not None:
        _core.set_fake_tensor_type(fakes.FakeTensor)
    operators = sys.modules["torch._ops"]._higher_order_ops
    if len(operators) != _known_higher_order_ops:
        # A higher-order operator refuses a dispatch key it does not know: ours is passed through,
        # and the operators inside come to us.
        for name, operator in operators.items():
            if name != FLEX_ATTENTION:
                operator.fallthrough(_core.intercept_key())
        _known_higher_order_ops = len(operators)


def _switch_on() -> list[Undo]:
    _meet_torch_modules()
    undo: list[Undo] = patches.switch_on()
    if "torch._dynamo" in sys.modules:
        # A compiled function would compile again for the trace: run its Python instead.
        stance = torch.compiler.set_stance("force_eager")  # in force from here on
        undo.append(lambda: stance.__exit__(None, None, None))
    if not torch.cuda.is_available():
        # A forward that names device="cuda" traces without one: nothing is ever put there.
        _core.set_device_needs_no_init(True)
        undo.append(lambda: _core.set_device_needs_no_init(False))
    return undo


_switches = _Shared(_switch_on)


def switch_on_process() -> Undo:
    """For one more trace; returns what takes it back."""
    return _switches.switch_on()
