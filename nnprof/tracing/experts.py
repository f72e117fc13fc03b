"""Mixture-of-experts models: how many of their parameters a token makes use of.

A *group of experts* is found in the module tree: parameters with the experts in their first
dimension, or a list of children that are alike. What a token meets of it the trace tells: beside
the experts a router picks k of E, with a `topk` over a dimension of size E. Where it picks in
another way, the modules and the configuration are asked.

Which implementation computes the experts (a loop, batched or grouped matmuls, all experts for every
token and most results thrown away) makes no difference.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from nnprof.base.modules import children_of, outwards, parameters_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import torch

    from nnprof import _core

__all__ = ["idle_expert_params"]

# What the models of public libraries call the number of experts, and of those that a token meets.
_EXPERTS = (
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "num_routed_experts",
    "moe_num_experts",
    "n_experts",
)
_EXPERTS_PER_TOKEN = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "experts_per_token",
    "num_selected_experts",
    "top_k_experts",
    "moe_top_k",
    "moe_topk",
    "moe_k",
    "top_k",
    "topk",
)

# Operators that say which experts a token meets: k at once, or the best one.
_PICKS_SOME = "aten::topk"
_PICKS_ONE = ("aten::argmax", "aten::max.dim")

# A router stands beside its experts, or beside the module around them.
_LEVELS_UP = 2


class Pick(NamedTuple):
    """Calls in one module that pick `picked` of `experts`, which that module did `times` a call."""

    path: str
    operator: str
    experts: int
    picked: int
    times: int


Places = dict[tuple[str, int], list[Pick]]


class Group(NamedTuple):
    """Equal experts: `path` is the module that holds them, `lineage` it and those around it."""

    path: str
    lineage: tuple[nn.Module, ...]
    experts: int
    parameters: list[nn.Parameter]
    stacked: bool


def idle_expert_params(model: Any, result: _core.TraceResult) -> int:
    """Parameter elements of `model` in experts that one token is not routed to.

    With k of E experts picked for a token, (E - k)/E of their elements. Zero for a model without
    experts, and for one whose router is not understood. What is not routed (shared experts, the
    router) is never idle.
    """
    if not isinstance(model, nn.Module):
        return 0
    picks = _picks(result)
    configured = {n for config in _configs((model,)) for n in _numbers(config, _EXPERTS)}
    sizes = {pick.experts for pick in picks} | configured
    if not sizes - {0, 1}:
        return 0
    places = _by_place(picks)
    # Of each parameter its elements, and (k, E) of the groups it is in: experts may hold experts.
    shares: dict[int, tuple[int, tuple[tuple[int, int], ...]]] = {}
    for group in _groups(model, sizes - {0, 1}, places):
        share = _experts_met(group, places), group.experts
        for parameter in group.parameters:
            _, outer = shares.get(id(parameter), (0, ()))
            shares[id(parameter)] = parameter.numel(), (*outer, share)
    elements: Counter[tuple[tuple[int, int], ...]] = Counter()
    for numel, chain in shares.values():
        elements[chain] += numel
    return int(sum(n * (1 - prod(Fraction(*s) for s in chain)) for chain, n in elements.items()))


# What the trace tells -----------------------------------------------------------------------------


def _picks(result: _core.TraceResult) -> list[Pick]:
    recorded = result.calls_of(_PICKS_SOME, *_PICKS_ONE)
    calls: Counter[tuple[str, str, int, int, int]] = Counter()
    for path, scope_calls, operator, sizes, picked_sizes in recorded:
        if sizes and (pick := _picked(operator, sizes, picked_sizes)):
            calls[path, operator, *pick, scope_calls] += 1
    return [
        Pick(path, operator, experts, picked, count // max(scope_calls, 1))
        for (path, operator, experts, picked, scope_calls), count in calls.items()
    ]


def _picked(
    operator: str, sizes: Sequence[int], picked_sizes: Sequence[int]
) -> tuple[int, int] | None:
    """(choices, picked) of one call; None where it is no choice along one dimension."""
    if operator == _PICKS_SOME:
        changed = [pair for pair in zip(sizes, picked_sizes, strict=True) if pair[0] != pair[1]]
        return changed[0] if changed else (sizes[-1], sizes[-1])
    of_rows = prod(picked_sizes) * sizes[-1] == prod(sizes)
    return (sizes[-1], 1) if of_rows else None


def _by_place(picks: list[Pick]) -> Places:
    """The picks in a module and all below it, by its path and the number of experts."""
    places: Places = {}
    for pick in picks:
        for path in outwards(pick.path):
            places.setdefault((path, pick.experts), []).append(pick)
    return places


def _experts_met(group: Group, places: Places) -> int:
    """How many of the group's experts a token is routed to."""
    near = _nearest(group, places)
    some = [pick for pick in near if pick.operator == _PICKS_SOME]
    if some:
        return some[-1].picked  # the ones before it pick groups of experts
    # A maximum is taken for much else, and a model may have as many layers as it has experts.
    if not _are_called_experts(group):
        return group.experts
    configured = _configured(group)
    if configured:
        return configured
    for operator in _PICKS_ONE:
        times = sum(pick.times for pick in near if pick.operator == operator)
        if times:
            return min(times, group.experts)
    return group.experts


def _nearest(group: Group, places: Places) -> list[Pick]:
    """The picks among as many, in the innermost module around the group that has any."""
    for path in islice(outwards(group.path), _LEVELS_UP + 1):
        near = places.get((path, group.experts), [])
        if near and not group.stacked:  # a router inside an expert is not theirs
            near = [pick for pick in near if not pick.path.startswith(f"{group.path}.")]
        if near:
            return near
    return []


# In the module tree ------------------------------------------------------------------------------


def _groups(model: nn.Module, sizes: set[int], places: Places) -> Iterator[Group]:
    """What may be groups of experts, where `sizes` are the numbers of experts there can be."""
    fewest = min(sizes)
    for path, lineage in _walk(model, None if not places else {path for path, _ in places}):
        module = lineage[-1]
        if module._parameters:
            for experts in sizes:
                parameters = _stacked(module, experts)
                if parameters:
                    yield Group(path, lineage, experts, parameters, stacked=True)
        # Others may be among them, such as a dropout, but never fewer.
        enough = len(module._modules) >= fewest
        if enough and isinstance(module, (nn.ModuleList, nn.ModuleDict)):
            children = [child for child in children_of(module) if _has_parameters(child)]
            if len(children) in sizes and len(set(map(_shapes, children))) == 1:
                parameters = list(parameters_of(module))
                yield Group(path, lineage, len(children), parameters, stacked=False)


def _walk(model: nn.Module, near: set[str] | None) -> Iterator[tuple[str, tuple[nn.Module, ...]]]:
    """Each module that may hold experts once: its path, and the modules from the outermost to it.

    With `near`, only modules of these paths and what is `_LEVELS_UP` levels below one of them.
    """
    seen = set()
    pending: list[tuple[str, tuple[nn.Module, ...], int]] = [("", (model,), 0)]
    while pending:
        path, lineage, away = pending.pop()
        if lineage[-1] in seen:
            continue
        seen.add(lineage[-1])
        yield path, lineage
        for name, child in lineage[-1]._modules.items():
            if child is None or _holds_no_group(child):
                continue
            child_path = f"{path}.{name}" if path else name
            child_away = 0 if near is None or child_path in near else away + 1
            if child_away <= _LEVELS_UP:
                pending.append((child_path, (*lineage, child), child_away))


def _holds_no_group(module: nn.Module) -> bool:
    """Most modules: without children, and of torch.nn or without parameters."""
    return not module._modules and (not module._parameters or _is_torchs(module))


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _has_parameters(module: nn.Module) -> bool:
    return next(parameters_of(module), None) is not None


def _shapes(module: nn.Module) -> tuple[torch.Size, ...]:
    return tuple(p.shape for p in parameters_of(module))


def _stacked(module: nn.Module, experts: int) -> list[nn.Parameter]:
    """The module's own parameters that hold something for each of `experts`."""
    # A convolution's first dimension is its output channels.
    if _is_torchs(module) or isinstance(module, nn.modules.conv._ConvNd):
        return []
    own = [(name, p) for name, p in module._parameters.items() if p is not None and p.dim() > 1]
    if any(p.dim() > 2 and p.shape[0] == experts for _, p in own):
        # A matrix of as many rows is the router's, unless it is a bias.
        return [p for n, p in own if p.shape[0] == experts and (p.dim() > 2 or "bias" in n)]
    # The rows of all experts one below the other; as many rows as experts is the router again.
    rows = [p for _, p in own if p.shape[0] > experts and p.shape[0] % experts == 0]
    return rows if rows and experts in _numbers(module, _EXPERTS) else []


# What the modules and the configuration say ------------------------------------------------------


def _are_called_experts(group: Group) -> bool:
    names = (group.path, *(type(module).__name__ for module in group.lineage[-2:]))
    return any("expert" in name.lower() for name in names)


def _configured(group: Group) -> int:
    """Experts a token, as the modules around the group or the configuration say; 0: they do not."""
    nearest = reversed(group.lineage[-1 - _LEVELS_UP :])
    for owner in (*nearest, *_configs(group.lineage)):
        numbers = _numbers(owner, _EXPERTS_PER_TOKEN)
        fitting = [n for n in numbers if 1 <= n <= group.experts]
        if fitting and group.experts in (_numbers(owner, _EXPERTS) or (group.experts,)):
            return fitting[0]
    return 0


def _configs(modules: Iterable[nn.Module]) -> Iterator[Any]:
    """The configurations of the modules, and those inside them."""
    for module in modules:
        config = vars(module).get("config")
        if config is not None and hasattr(config, "__dict__"):
            yield config
            yield from (v for v in vars(config).values() if hasattr(v, "attribute_map"))


def _numbers(owner: Any, names: Iterable[str]) -> list[int]:
    values = vars(owner)
    found = (values.get(name) for name in names)
    return [n for n in found if isinstance(n, int) and not isinstance(n, bool)]
