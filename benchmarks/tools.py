"""The tools that `peers` compares: each counts the MACs of a model on one input.

Every function imports its tool when called, so a missing tool is a failed cell and no more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from nnprof.conventions.tools import run_fvcore, run_ptflops, run_thop, run_torch

Count = Callable[[nn.Module, Tensor], int]


def nnprof(model: nn.Module, x: Tensor, hardware: Any = None) -> int:
    import nnprof

    known: dict[str, Any] = {} if x.is_floating_point() else {"inputs": x}
    shape = x.shape if x.is_floating_point() else None
    profile = nnprof.measure(model, shape, hardware=hardware, **known)
    # Up to readable totals: nothing may be put off until it is asked for.
    totals = (profile.params, profile.macs, profile.flops, profile.bytes, profile.estimated_s)
    return int(totals[1])


def nnprof_with_estimate(model: nn.Module, x: Tensor) -> int:
    """The same with the time of every call on an H200 estimated."""
    return nnprof(model, x, _h200())


@cache
def _h200() -> Any:
    from nnprof.hardware import find

    return find("h200")


def bare(model: nn.Module, x: Tensor) -> int:
    """The model's forward, shape-only, with nothing recorded: what `nnprof` may not go below."""
    from nnprof.tracing.trace import bare

    with bare():
        model(x)
    return 0


def flop_counter_mode(model: nn.Module, x: Tensor) -> int:
    return run_torch(model, (x,), {}) // 2


def fvcore(model: nn.Module, x: Tensor) -> int:
    return run_fvcore(model, (x,), {})  # fvcore calls one multiply-add one flop


def ptflops(model: nn.Module, x: Tensor) -> int:
    return run_ptflops(model, (x,), {})


def thop(model: nn.Module, x: Tensor) -> int:
    return run_thop(model, (x,), {})


def torchinfo(model: nn.Module, x: Tensor) -> int:
    from torchinfo import summary

    return int(summary(model, input_data=x, device=x.device, verbose=0).total_mult_adds)


def calflops(model: nn.Module, x: Tensor) -> int:
    from calflops import calculate_flops

    _, macs, _ = calculate_flops(model, args=[x], print_results=False, output_as_string=False)
    return int(macs)


def torchprofile(model: nn.Module, x: Tensor) -> int:
    from torchprofile import profile_macs

    return int(cast("int", profile_macs(model, x)))


TOOLS: dict[str, Count] = {
    "nnprof": nnprof,
    "FlopCounterMode": flop_counter_mode,
    "fvcore": fvcore,
    "ptflops": ptflops,
    "thop": thop,
    "torchinfo": torchinfo,
    "calflops": calflops,
    "torchprofile": torchprofile,
}


def counted(tool: str, model: nn.Module, x: Tensor) -> int:
    """The MACs that ``tool`` gives for one call of ``model``, as for inference."""
    with torch.no_grad():
        return TOOLS[tool](model, x)
