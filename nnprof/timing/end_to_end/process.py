"""The process as it was before a forward: random generators, grad mode and other switches."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch

from nnprof.base.process import GeneratorsState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["kept_process", "uncompiled"]

#: Switches of the whole process or thread that a forward may turn: how to read and to set each.
_SWITCHES: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (
        lambda: torch.backends.cudnn.benchmark,
        lambda on: setattr(torch.backends.cudnn, "benchmark", on),
    ),
)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Runs the Python of what torch.compile made, which would compile again for a copy."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    stance = torch.compiler.set_stance("force_eager")  # in force from here on
    try:
        yield
    finally:
        stance.__exit__(None, None, None)


@contextmanager
def kept_process(device: torch.device) -> Iterator[None]:
    """Puts back the generators of torch (the device's too), Python and NumPy, and the switches.

    A device that failed may refuse its generator's state; that is not worth an error over the one
    that is being told already.
    """
    generators = GeneratorsState()
    of_device = _device_generator(device)
    switches = [(put, get(), get) for get, put in _SWITCHES]
    try:
        yield
    finally:
        for put, value, get in switches:
            if get() != value:
                put(value)
        generators.restore()
        if of_device is not None:
            with suppress(RuntimeError):
                torch.get_device_module(device).set_rng_state(of_device, *_indexed(device))


def _device_generator(device: torch.device) -> torch.Tensor | None:
    if device.type == "cpu":
        return None
    with suppress(RuntimeError, AssertionError, AttributeError):  # a device that is not here
        module: Any = torch.get_device_module(device)
        state: torch.Tensor = module.get_rng_state(*_indexed(device))
        return state
    return None


def _indexed(device: torch.device) -> tuple[torch.device, ...]:
    """Devices of which there is but one, such as mps, take no device in these calls."""
    return (device,) if ":" in str(device) else ()
