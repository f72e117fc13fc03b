"""Optimizers in a trace: calls made in a `step()` belong to the optimizer phase.

And they are made as on the device that the trace is for: torch.optim picks list operators or a loop
by the device of the parameters, which may be meta, and groups tensors by theirs.
"""

from __future__ import annotations

import copy
import functools
import inspect
from typing import TYPE_CHECKING, Any

from torch.amp import GradScaler
from torch.optim import LBFGS, lr_scheduler, optimizer
from torch.utils import _foreach_utils

from nnprof import _core
from nnprof.base.current import current_trace
from nnprof.tracing.optimizers import OptimizerState
from nnprof.tracing.patches.other_code import copy_of, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import torch

    from nnprof.tracing.trace import trace

__all__ = ["switch_on"]


def switch_on() -> list[Callable[[], object]]:
    """Tells the core when an optimizer steps; returns what undoes it."""
    before = optimizer.register_optimizer_step_pre_hook(_enter)
    after = optimizer.register_optimizer_step_post_hook(_leave)
    return [before.remove, after.remove]


def _running() -> trace | None:
    if not _core.tracing():
        return None
    return current_trace()


def _enter(stepping: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    running = _running()
    if running is None:
        return None
    running.keep(stepping, OptimizerState(stepping).restore)
    if isinstance(stepping, LBFGS):
        _go_on_to_the_end(stepping)
    _core.enter_optimizer()
    # `step(self, closure=None)`: it runs the forward and the backward again.
    if len(args) > 1 and callable(args[1]):
        return (args[0], _as_training(args[1]), *args[2:]), kwargs
    if callable(kwargs.get("closure")):
        return args, kwargs | {"closure": _as_training(kwargs["closure"])}
    return None


def _go_on_to_the_end(stepping: LBFGS) -> None:
    """It stops early where losses or directions change by less than a number, but none is known."""
    for group in stepping.param_groups:
        if group["max_iter"] > 1:
            _core.assume(f"LBFGS makes all of its {group['max_iter']} iterations in a step")
        # Less than what is compared with it, every number of which reads 1. Put back with the rest.
        group["tolerance_change"] = -2.0


def _as_training(closure: Callable[..., Any]) -> Callable[..., Any]:
    """What the closure calls outside of modules, a loss, is no part of the optimizer's step."""

    @functools.wraps(closure)
    def in_forward(*args: Any, **kwargs: Any) -> Any:
        if not _core.tracing():
            return closure(*args, **kwargs)
        around = _core.enter_closure()
        try:
            return closure(*args, **kwargs)
        finally:
            _core.leave_stage(around)

    return in_forward


def _leave(stepping: Any, args: Any, kwargs: Any) -> None:
    if _core.tracing():
        _core.leave_optimizer()


# --- scalers and schedules -----------------------------------------------------------------------


def _keeping(method: Callable[..., Any]) -> Callable[..., Any]:
    """Puts objects whose method runs in a trace back after it."""
    own = copy_of(method)

    def keeping(self: Any, *args: Any, **kwargs: Any) -> Any:
        running = _running()
        if running is not None:
            running.keep(self, _restoring(self))
        return own(self, *args, **kwargs)

    return keeping


def _restoring(owner: Any) -> Callable[[], None]:
    held = {name: _copied(value) for name, value in owner.__dict__.items()}

    def restore() -> None:
        owner.__dict__.clear()
        owner.__dict__.update(held)

    return restore


def _copied(value: Any) -> Any:
    """Lists and dicts are changed in place, and so are those in them."""
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if isinstance(value, dict):
        copied = copy.copy(value)  # it may be one with defaults
        copied.update((key, _copied(item)) for key, item in value.items())
        return copied
    return value


def _is_schedule(value: Any) -> bool:
    """Of torch, with a `step` of its own: others inherit it."""
    own = inspect.isclass(value) and "step" in vars(value)
    return own and issubclass(value, lr_scheduler.LRScheduler)


replace(GradScaler.scale, _keeping(GradScaler.scale))
for _schedule in set(filter(_is_schedule, vars(lr_scheduler).values())):
    replace(_schedule.step, _keeping(_schedule.step))


# --- what torch asks of devices ------------------------------------------------------------------

_group = inspect.unwrap(_foreach_utils._group_tensors_by_device_and_dtype)
_group_original = copy_of(_group)


def _devices_of(function: Any, always: tuple[str, ...]) -> Callable[[], Iterable[str]]:
    """The devices that torch names; in a trace for an accelerator also those of stand-ins."""
    original = copy_of(function)

    def devices() -> list[str]:
        running = _running()
        names: list[str] = original()
        if running is None:
            return names
        return [*names, *always, *(("cpu", "meta") if running.accelerator else ())]

    return devices


def _group_in_trace(lists: list[list[Any]], with_indices: bool = False) -> Any:
    """By dtype alone: parameters may be real and their states shape-only, for one device."""
    if not _core.tracing():
        return _group_original(lists, with_indices)
    grouped: dict[tuple[torch.device, torch.dtype], Any] = {}
    for index, first in enumerate(lists[0]):
        key = (lists[0][0].device, first.dtype)
        columns, indices = grouped.setdefault(key, ([[] for _ in lists], []))
        for column, tensors in zip(columns, lists, strict=True):
            if tensors:
                column.append(tensors[index])
        indices.append(index)
    return grouped


replace(_group, _group_in_trace)
for _question, _always in (
    (_foreach_utils._get_foreach_kernels_supported_devices, ()),
    (_foreach_utils._get_fused_kernels_supported_devices, ("meta",)),
):
    replace(_question, _devices_of(_question, _always))
