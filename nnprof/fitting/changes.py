"""What people change to make a run fit, each tried out: traced and simulated as the run itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from nnprof.base.modules import named_modules, parameters_of
from nnprof.base.units import Unit, format_value
from nnprof.errors import NnprofError
from nnprof.hardware.alloc_conf import text_of
from nnprof.tracing.checkpointing import WHOLE
from nnprof.tracing.optimizers import NamedOptimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nnprof.fitting.fit import Fit, Plan

__all__ = ["Change", "changes_for"]

_WANTED = 3
_NOTHING = 5e-4  # of the FLOPs
_FUSED = ("SGD", "Adam", "AdamW", "Adagrad")
#: What matrix units take where they have no bfloat16.
_HALF = {"volta": torch.float16, "turing": torch.float16}


@dataclass(frozen=True)
class Change:
    """What to do, and what it costs beside the run as it was asked for."""

    what: str  #: what to do, as one would write it
    reserved: int  #: bytes with it
    spare: int  #: bytes left on the GPU with it
    flops: int  #: of a step or a forward, more than without
    flops_share: float  #: of what it had
    seconds: float | None  #: estimated, more than without; None where the GPU is not known

    def __str__(self) -> str:
        more = abs(self.flops_share) > _NOTHING
        cost = f"{self.flops_share:+.1%} FLOPs" if more else "no more FLOPs"
        if self.seconds is not None:
            sign = "+" if self.seconds >= 0 else ""
            cost += f", {sign}{format_value(self.seconds, Unit.SECONDS)}"
        return f"{self.what}: {format_value(self.spare, Unit.BYTES)} to spare, {cost}"


@dataclass(frozen=True)
class _Try:
    what: str
    apply: Callable[[Plan], Plan]


def changes_for(plan: Plan, fit: Fit) -> list[Change]:
    """The cheapest that make it fit: alone, and where too few do, two together."""
    from nnprof.fitting.fit import fit_of

    tries = list(_tries(plan))
    found: dict[tuple[_Try, ...], Change] = {}
    for size in (1, 2):
        for chosen in combinations(tries, size):
            if any((one,) in found for one in chosen):
                continue  # it is enough
            changed = plan
            for one in chosen:
                changed = one.apply(changed)
            try:
                after = fit_of(changed)
                fitting = after.verdict == "yes"
            except NnprofError:
                continue  # such as a module that cannot be checkpointed
            if fitting:
                what = " and ".join(one.what for one in chosen)
                found[chosen] = _change(what, fit, after, changed)
    return sorted(found.values(), key=_cost)[:_WANTED]


def _cost(change: Change) -> tuple[float, float, int]:
    return (change.seconds or 0.0, change.flops_share, -change.spare)


def _change(what: str, before: Fit, after: Fit, plan: Plan) -> Change:
    training = plan.call.training
    steps = training.from_scratch if training is not None else 1
    old = before.profile.flops // steps
    new = after.profile.flops * plan.accumulate // steps
    seconds = None
    if before.profile.estimated_s is not None and after.profile.estimated_s is not None:
        longer = after.profile.estimated_s * plan.accumulate - before.profile.estimated_s
        seconds = longer / steps
    return Change(
        what=what,
        reserved=after.memory.reserved,
        spare=after.spare,
        flops=new - old,
        flops_share=(new - old) / old if old else 0.0,
        seconds=seconds,
    )


def _tries(plan: Plan) -> Iterator[_Try]:
    conf = text_of(plan.alloc_conf)
    if "expandable_segments" not in conf:
        wider = f"{conf},expandable_segments:True".lstrip(",")
        yield _Try(f"PYTORCH_ALLOC_CONF={wider}", partial(replace, alloc_conf=wider))
    training = plan.call.training
    if training is not None:
        yield from _of_training(plan)
    yield from _of_batches(plan)


def _of_batches(plan: Plan) -> Iterator[_Try]:
    rows = _rows(plan.call.arguments, plan.call.keywords)
    for parts in (2, 4, 8):
        if rows is None or rows % parts or rows == 0:
            return
        what = f"batches of {rows // parts}"
        if plan.call.training is not None:
            what += f", gradients of {parts} added up"
        yield _Try(what, partial(_in_parts, parts=parts))


def _of_training(plan: Plan) -> Iterator[_Try]:
    training = plan.call.training
    assert training is not None
    optimizer = training.optimizer
    if isinstance(optimizer, NamedOptimizer) and _can_be_fused(optimizer):
        yield _Try("a fused optimizer", _with_fused)
    if plan.call.autocast is None and _all_float32(plan.call.model):
        dtype = _HALF.get(plan.hardware.architecture, torch.bfloat16)
        name = str(dtype).removeprefix("torch.")
        yield _Try(f"autocast to {name}", partial(_casting, dtype=dtype))
    blocks = blocks_of(plan.call.model)
    if blocks is not None and not training.checkpoint:
        yield _Try(f"activation checkpointing of {blocks}", partial(_checkpointing, blocks=blocks))


def _can_be_fused(optimizer: NamedOptimizer) -> bool:
    return optimizer.class_name in _FUSED and not optimizer.is_fused


def _with_training(plan: Plan, **values: Any) -> Plan:
    assert plan.call.training is not None
    return replace(plan, call=replace(plan.call, training=replace(plan.call.training, **values)))


def _casting(plan: Plan, dtype: torch.dtype) -> Plan:
    return replace(plan, call=replace(plan.call, autocast=dtype))


def _all_float32(model: Any) -> bool:
    return isinstance(model, nn.Module) and all(
        parameter.dtype == torch.float32 for parameter in parameters_of(model)
    )


def _with_fused(plan: Plan) -> Plan:
    assert plan.call.training is not None
    optimizer = plan.call.training.optimizer
    assert isinstance(optimizer, NamedOptimizer)
    return _with_training(plan, optimizer=optimizer.fused())


def _checkpointing(plan: Plan, blocks: str) -> Plan:
    return _with_training(plan, checkpoint={blocks: WHOLE})


def blocks_of(model: Any) -> str | None:
    """The glob of the largest list of equal modules, as "model.layers.*"."""
    if not isinstance(model, nn.Module):
        return None
    best, most = None, 0
    for path, module in named_modules(model):
        if not isinstance(module, (nn.ModuleList, nn.Sequential)) or len(module) < 2:
            continue
        if len({type(child) for child in module}) != 1:
            continue
        held = sum(parameter.numel() for parameter in parameters_of(module))
        if held > most:
            best, most = f"{path}.*" if path else "*", held
    return best


def _rows(arguments: Any, keywords: Any) -> int | None:
    """The first dimension that all tensors of the call share."""
    rows = set()

    def note(tensor: Tensor) -> Tensor:
        rows.add(tensor.size(0) if tensor.dim() else None)
        return tensor

    tree_map_only(Tensor, note, (arguments, keywords))
    return rows.pop() if len(rows) == 1 else None


def _in_parts(plan: Plan, parts: int) -> Plan:
    rows = _rows(plan.call.arguments, plan.call.keywords)
    assert rows is not None

    def part(tensor: Tensor) -> Tensor:
        return tensor.detach()[: rows // parts].clone()

    with torch.no_grad():
        arguments, keywords = tree_map_only(Tensor, part, (plan.call.arguments, plan.call.keywords))
    call = replace(plan.call, arguments=arguments, keywords=keywords)
    return replace(plan, call=call, accumulate=plan.accumulate * parts)
