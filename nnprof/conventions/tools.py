"""The other tools, run on copies: what each really prints for a model.

Each is imported when it is run. The user's model is never touched: a tool gets a deep copy, with
made-up weights where the model has none. Nothing here computes a number of ours.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import inspect
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from nnprof.base.modules import buffers_of, looked_through, modules_of, parameters_of
from nnprof.errors import InputError
from nnprof.tracing.lazy import consumed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Run = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], float]

__all__ = ["MOST_PARAMETERS", "RUNS", "Printed", "published", "run_tool"]

#: Larger models get no weights made up for them: 8 GB in float32.
MOST_PARAMETERS = 2_000_000_000
_SEED = 20_240_229


@dataclass(frozen=True)
class Printed:
    """What a tool printed, or why it printed nothing."""

    number: int | None
    note: str  #: where it ran ("on the CPU"), or what kept it from running
    rounding: int = 0  #: the number is right to so much


# The tools. Each takes a model that is its own and the arguments of one call.


def run_torch(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """FLOPs of `torch.utils.flop_counter.FlopCounterMode`."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        consumed(model(*args, **kwargs), keep=False)
    return int(counter.get_total_flops())


def run_fvcore(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """The total of `fvcore.nn.FlopCountAnalysis`, which calls a multiply-add one flop."""
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model, _positional(model, args, kwargs))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(analysis.total())


def run_ptflops(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], backend: str = "pytorch"
) -> int:
    """MACs of `ptflops.get_model_complexity_info`. Raises RuntimeError where it gives none."""
    from ptflops import get_model_complexity_info

    # It passes on one tensor, or a dict of keyword arguments.
    inputs = args[0] if len(args) == 1 and not kwargs else _by_name(model, args, kwargs)
    macs, _ = get_model_complexity_info(
        model,
        (1,),
        input_constructor=lambda _: inputs,
        as_strings=False,
        print_per_layer_stat=False,
        backend=backend,
    )
    if macs is None:
        raise RuntimeError("the forward failed under ptflops")
    return int(macs)


def run_ptflops_aten(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """MACs of ptflops' other backend."""
    return run_ptflops(model, args, kwargs, backend="aten")


def run_thop(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """MACs of `thop.profile`."""
    from thop import profile

    return int(profile(model, inputs=_positional(model, args, kwargs), verbose=False)[0])


def run_deepspeed(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """FLOPs of DeepSpeed's `get_model_profile`."""
    from deepspeed.profiling.flops_profiler import get_model_profile

    flops, _, _ = get_model_profile(
        model, args=list(args), kwargs=kwargs, print_profile=False, warm_up=0, as_string=False
    )
    return int(flops)


def _positional(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, ...]:
    """The arguments for a tool that knows no keywords: those left out get their defaults."""
    if not kwargs:
        return args
    bound = inspect.signature(model.forward).bind(*args, **kwargs)
    last = list(bound.arguments)[-1]
    bound.apply_defaults()
    values = list(bound.args)
    if bound.kwargs:
        raise InputError("it takes positional arguments only")
    return tuple(values[: list(bound.arguments).index(last) + 1])


def _by_name(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments for a tool that passes keywords on."""
    bound = inspect.signature(model.forward).bind_partial(*args)
    return {**bound.arguments, **kwargs}


#: By the names of `nnprof.conventions`; torchvision runs nothing, see `published`.
RUNS: dict[str, Run] = {
    "torch": run_torch,
    "fvcore": run_fvcore,
    "ptflops": run_ptflops,
    "ptflops-aten": run_ptflops_aten,
    "thop": run_thop,
    "deepspeed": run_deepspeed,
}


# Running one.


def run_tool(
    tool: str, package: str, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Printed:
    """What `tool` prints for one call of a copy of `model`; never raises for what the tool does.

    The model runs for real, on its own device; one without weights on the CPU, with made-up ones.
    One of more than `MOST_PARAMETERS` runs on the meta device, which not every tool can do.
    """
    if importlib.util.find_spec(package) is None:
        return Printed(None, f"not installed: pip install {package}")
    model = looked_through(model)
    if not isinstance(model, nn.Module):
        return Printed(None, "takes an nn.Module only")
    device = _device(model)
    try:
        with _quietly():
            args, kwargs = tree_map(lambda value: _real(value, device), (args, kwargs))
            return Printed(int(RUNS[tool](_copy(model, device), args, kwargs)), f"on {device}")
    except Exception as error:  # whatever a tool raises is its result
        reason = str(error).strip().partition("\n")[0]
        failed = f"{type(error).__name__}: {reason}".removesuffix(": ")
        if device.type == "meta":
            failed += "; it needs weights, and the model is too big to make them up"
        return Printed(None, f"failed on {device}: {failed}")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keeps what is printed off the screen and PyTorch's random numbers as they were."""
    nowhere = io.StringIO()
    with (
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        warnings.simplefilter("ignore")
        yield


def _device(model: nn.Module) -> torch.device:
    """Where the copy runs."""
    tensors = [*parameters_of(model), *buffers_of(model)]
    if not any(tensor.is_meta for tensor in tensors):
        return tensors[0].device if tensors else torch.device("cpu")
    too_big = sum(parameter.numel() for parameter in parameters_of(model)) > MOST_PARAMETERS
    return torch.device("meta" if too_big else "cpu")


def _copy(model: nn.Module, device: torch.device) -> nn.Module:
    """A deep copy; on a real `device` its meta tensors are filled, shared ones once."""
    copied = copy.deepcopy(model)
    if device.type == "meta":
        return copied.to(device)
    filled: dict[int, torch.Tensor] = {}
    for module in modules_of(copied):
        for own in (module._parameters, module._buffers):
            for name, tensor in own.items():
                if tensor is not None and tensor.is_meta:
                    # All meta tensors were there before the first was replaced: ids differ.
                    if id(tensor) not in filled:
                        filled[id(tensor)] = _filled(tensor, device)
                    own[name] = filled[id(tensor)]  # type: ignore[assignment]
    return copied


def _filled(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A real tensor like the meta `tensor`: small random numbers, or zeros for integers."""
    values = torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)
    if not isinstance(tensor, nn.Parameter):
        return values + 1 if tensor.is_floating_point() else values  # variances are not negative
    if tensor.is_floating_point():
        values.normal_(std=0.02)
    return nn.Parameter(values, requires_grad=tensor.requires_grad)


def _real(value: Any, device: torch.device) -> Any:
    """A made input on `device`, with values where it had none."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.is_meta and device.type != "meta":
        made = torch.zeros(value.shape, dtype=value.dtype, device=device)
        return made.uniform_() if value.is_floating_point() else made
    return value.to(device)


# torchvision publishes its numbers.


def published(text: str, size: int | None) -> Printed:
    """The `_ops` of a torchvision model's weights: of those tested at `size` pixels, if any are.

    `text` names the model as the command line does, "torchvision:resnet50".
    """
    prefix, _, name = text.partition(":")
    if prefix != "torchvision":
        return Printed(None, "publishes numbers of its own models only")
    from nnprof.base.packages import import_torchvision

    weights = list(import_torchvision().models.get_model_weights(name))
    if not weights:
        return Printed(None, "publishes no weights of this model")
    chosen = next((entry for entry in weights if _tested_at(entry) == size), weights[0])
    tested = _tested_at(chosen)
    where = f" at {tested} pixels" if tested else ""
    number = round(chosen.meta["_ops"] * 1e9)
    return Printed(number, f"published for {chosen.name}{where}", rounding=500_000)


def _tested_at(weights: Any) -> int | None:
    """Pixels that the images are cropped to."""
    crop = getattr(weights.transforms(), "crop_size", None)
    return int(crop[0]) if crop else None
