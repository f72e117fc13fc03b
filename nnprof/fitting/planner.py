"""`plan_memory`: which modules to checkpoint for a budget of memory, at the least recomputation.

An integer program over what one trace tells: each module that could be checkpointed saves what it
leaves to the backward, from the end of its forward to the start of its backward, and costs its
forward once more. Selectively, it saves less and costs less: a trace of it says how much. The plan
is traced; where it holds more than the program thought, the program is asked for more.
"""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

from torch import nn

from nnprof.base.modules import looked_through, named_children, named_modules, outwards
from nnprof.base.packages import require
from nnprof.base.quantities import bytes_of
from nnprof.base.units import Unit, format_value
from nnprof.errors import InputError, NnprofError, UnknownLayerError, only_nnprof_errors
from nnprof.measure import measure
from nnprof.tracing.checkpointing import SELECTIVE, WHOLE, checkpointed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nnprof.results.profile import Profile

__all__ = ["MemoryPlan", "plan_memory"]

#: How often the program is asked again.
_ATTEMPTS = 6


@dataclass(frozen=True)
class MemoryPlan:
    """Modules to checkpoint, and what a step then holds and costs."""

    modules: tuple[str, ...]  #: paths; none where the budget is met without
    selective: tuple[str, ...]  #: those of them that keep the results of products and attention
    budget: int  #: bytes
    peak: int  #: bytes of a step as planned, traced: `profile.memory.peak`
    peak_before: int  #: bytes without a checkpoint
    recompute_flops: int  #: of a step, more than without
    recompute_share: float  #: of what a step had

    @property
    def checkpoint(self) -> dict[str, str]:
        """How each module is checkpointed, as `measure(checkpoint=)` takes it."""
        return {path: SELECTIVE if path in self.selective else WHOLE for path in self.modules}

    def apply(self, model: nn.Module) -> Callable[[], None]:
        """Runs the modules under torch.utils.checkpoint from now on; returns what undoes that.

        Raises InputError where `model` has no such modules.
        """
        stack = ExitStack()
        stack.enter_context(checkpointed(looked_through(model), self.checkpoint))
        return stack.close

    def __str__(self) -> str:
        def size(count: int) -> str:
            return format_value(count, Unit.BYTES)

        if not self.modules:
            return f"{size(self.peak)} of {size(self.budget)}: no checkpoint is needed"
        named = [
            f"{path} (selectively)" if path in self.selective else path for path in self.modules
        ]
        return (
            f"{size(self.peak)} of {size(self.budget)} (without: {size(self.peak_before)}), "
            f"{self.recompute_share:+.1%} FLOPs: checkpoint {', '.join(named)}"
        )


@dataclass(frozen=True)
class _Candidate:
    path: str
    way: str
    saved: int  #: bytes
    flops: int
    last_forward: int  #: numbers of calls
    first_backward: int


@only_nnprof_errors
def plan_memory(
    model: nn.Module,
    budget: str | float,
    shape: Any = None,
    *,
    selective: bool = False,
    **training: Any,
) -> MemoryPlan:
    """The modules to checkpoint so that a training step's tensors stay within `budget`.

    Args:
        model: in train mode, as it is trained. It is left as it is: see `MemoryPlan.apply`.
        budget: "24GB" (10^9 bytes), "24GiB", or a number of bytes: at most so much is to be
            `profile.memory.peak` of a step. What an allocator holds besides: see `nnprof.fits`.
        selective: a module may also keep what its products and attention make, and compute only
            the rest again: `torch.utils.checkpoint.create_selective_checkpoint_contexts`.
        shape: as for `measure`, and so are the keywords in `training`: inputs=, loss=,
            optimizer= (default: none), batch=, sequence=, autocast=, ...

    Raises:
        InputError: the budget is no size, or none that can be met: the message has the smallest
            that can. MissingExtraError: scipy, whose solver does it, is not installed.
    """
    require("scipy")
    wanted = bytes_of("budget", budget)
    if not isinstance(looked_through(model), nn.Module):
        raise InputError("plan_memory is for an nn.Module: a function has no modules to checkpoint")
    if training.get("checkpoint"):
        raise InputError("checkpoint= is what is looked for: leave it out")
    run = _Runs(model, shape, training | {"backward": True})
    before = run.traced({})
    if before.memory.peak <= wanted:
        return run.plan({}, wanted)
    ways = (WHOLE, SELECTIVE) if selective else (WHOLE,)
    candidates = _with_real_savings(_candidates(looked_through(model), before), ways, run)
    outer = {
        one.path: WHOLE
        for one in candidates
        if one.way == WHOLE and not _is_inside_another(one, candidates)
    }
    if not outer or run.traced(outer).memory.peak > wanted:
        smallest = run.traced(outer).memory.peak if outer else before.memory.peak
        raise InputError(
            f"budget={budget!r}: the smallest that checkpoints can meet is "
            f"{smallest:,} bytes ({format_value(smallest, Unit.BYTES)})"
        )
    return run.plan(_within(wanted, run, candidates, outer), wanted)


class _Runs:
    """Traces a step with some modules checkpointed in their ways, each choice once."""

    def __init__(self, model: nn.Module, shape: Any, options: dict[str, Any]) -> None:
        self._model, self._shape, self._options = model, shape, options
        self._known: dict[frozenset[tuple[str, str]], Profile] = {}

    def traced(self, ways: Mapping[str, str]) -> Profile:
        chosen = frozenset(ways.items())
        if chosen not in self._known:
            options = self._options | ({"checkpoint": ways} if ways else {})
            self._known[chosen] = measure(self._model, self._shape, **options)
        return self._known[chosen]

    def plan(self, ways: Mapping[str, str], budget: int) -> MemoryPlan:
        before, after = self.traced({}), self.traced(ways)
        more = after.flops - before.flops
        return MemoryPlan(
            modules=tuple(ways),
            selective=tuple(path for path, way in ways.items() if way == SELECTIVE),
            budget=budget,
            peak=after.memory.peak,
            peak_before=before.memory.peak,
            recompute_flops=more,
            recompute_share=more / before.flops if before.flops else 0.0,
        )


def _within(
    budget: int, run: _Runs, candidates: list[_Candidate], outer: dict[str, str]
) -> dict[str, str]:
    """The cheapest choice that a trace finds within the budget."""
    needs = _needs(run.traced({}), candidates)
    best, target = outer, budget
    for _ in range(_ATTEMPTS):
        chosen = _solved(needs, candidates, target)
        if chosen is None:
            break
        traced = run.traced(chosen)
        over = traced.memory.peak - budget
        if over <= 0 and traced.flops < run.traced(best).flops:
            best = chosen
        if over == 0:
            break
        target -= over  # or less is asked for, where it has saved more than it had to
    return _without_needless(best, budget, run, candidates)


def _without_needless(
    chosen: dict[str, str], budget: int, run: _Runs, candidates: list[_Candidate]
) -> dict[str, str]:
    """Less of them, the dearest first, as long as the budget is met."""
    cost = {(candidate.path, candidate.way): candidate.flops for candidate in candidates}
    kept = dict(chosen)
    tried_in_vain: set[int] = set()
    for one in sorted(chosen.items(), key=lambda one: -cost[one]):
        if cost[one] in tried_in_vain:
            continue  # an equal one was needed
        fewer = {path: way for path, way in kept.items() if path != one[0]}
        if run.traced(fewer).memory.peak <= budget:
            kept = fewer
        else:
            tried_in_vain.add(cost[one])
    return kept


def _solved(
    needs: list[tuple[int, list[int]]], candidates: list[_Candidate], budget: int
) -> dict[str, str] | None:
    """The cheapest that saves enough everywhere; None where all together do not."""
    import numpy as np

    optimize = importlib.import_module("scipy.optimize")
    rows, least = [], []
    for peak, alive in needs:
        if peak <= budget:
            continue
        row = np.zeros(len(candidates))
        row[alive] = [candidates[number].saved for number in alive]
        rows.append(row)
        least.append(peak - budget)
    if not rows:
        return {}
    limits = [optimize.LinearConstraint(np.array(rows), lb=np.array(least, dtype=float))]
    limits += _one_of_each(candidates, optimize, np)
    found = optimize.milp(
        c=np.array([max(candidate.flops, 1) for candidate in candidates], dtype=float),
        constraints=limits,
        integrality=np.ones(len(candidates)),
        bounds=optimize.Bounds(0, 1),
        options={"mip_rel_gap": 1e-3, "time_limit": 5},
    )
    if found.x is None:
        return None
    taken = (one for one, chosen in zip(candidates, found.x, strict=True) if chosen > 0.5)
    return {one.path: one.way for one in taken}


def _one_of_each(candidates: list[_Candidate], optimize: Any, np: Any) -> list[Any]:
    """Not two ways of one module, and no module inside of another."""
    limits = []
    for first, one in enumerate(candidates):
        for second, other in enumerate(candidates):
            two_ways = first < second and one.path == other.path
            if two_ways or other.path.startswith(f"{one.path}."):
                row = np.zeros(len(candidates))
                row[[first, second]] = 1
                limits.append(optimize.LinearConstraint(row, ub=1))
    return limits


def _needs(profile: Profile, candidates: list[_Candidate]) -> list[tuple[int, list[int]]]:
    """The most that is held while the same candidates' activations wait for their backward."""
    highest = profile.memory.timeline["highest"]
    bounds = {0, len(highest)}
    for candidate in candidates:
        bounds |= {candidate.last_forward + 1, candidate.first_backward}
    edges = sorted(bounds)
    needs = []
    for start, end in pairwise(edges):
        alive = [
            number
            for number, candidate in enumerate(candidates)
            if candidate.last_forward < start and end <= candidate.first_backward
        ]
        needs.append((int(max(highest[start:end])), alive))
    return needs


def _candidates(model: Any, profile: Profile) -> list[_Candidate]:
    timeline = profile.memory.timeline
    forward: dict[str, int] = {}
    backward: dict[str, int] = {}
    for call, (path, phase) in enumerate(
        zip(timeline["module"].tolist(), timeline["phase"].tolist(), strict=True)
    ):
        for outer in outwards(path):
            if phase == "forward":
                forward[outer] = call
            elif phase == "backward":
                backward.setdefault(outer, call)
    found = []
    for path in _paths(model):
        if path not in forward or path not in backward:
            continue
        try:
            told = profile.memory.checkpointing(path)
        except UnknownLayerError:
            continue
        if told.saved_bytes > 0:
            ends = forward[path], backward[path]
            found.append(_Candidate(path, WHOLE, told.saved_bytes, told.recompute_flops, *ends))
    return found


def _with_real_savings(
    candidates: list[_Candidate], ways: tuple[str, ...], run: _Runs
) -> list[_Candidate]:
    """What a checkpoint of each really leaves less to the backward, and costs, in each way.

    Equal ones are traced once.
    """
    known: dict[tuple[int, int, str], tuple[int, int]] = {}
    found = []
    for one, way in product(candidates, ways):
        alike = one.saved, one.flops, way
        if alike not in known:
            known[alike] = _effect(one.path, way, run)
        saved, flops = known[alike]
        found.append(replace(one, way=way, saved=saved, flops=flops))
    return [one for one in found if one.saved > 0]


def _effect(path: str, way: str, run: _Runs) -> tuple[int, int]:
    """Bytes less that the backward begins with, and FLOPs more; nothing where it cannot be."""
    before = run.traced({})
    try:
        after = run.traced({path: way})
    except NnprofError:  # such as by a cache inside, which a second run finds filled
        return 0, 0
    return _kept(before) - _kept(after), after.flops - before.flops


def _kept(profile: Profile) -> int:
    """Bytes that are held when the backward begins."""
    timeline = profile.memory.timeline
    backward = (timeline["phase"] == "backward").argmax()
    return int(timeline["live"][backward - 1])


def _paths(model: nn.Module) -> list[str]:
    """Members of lists of modules, the outermost lists', and the modules right inside of them."""
    found: list[str] = []
    for path, module in named_modules(model):
        is_list = isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) > 1
        if not is_list or any(path.startswith(f"{outer}.") for outer in found):
            continue
        for name, block in named_children(module):
            member = f"{path}.{name}" if path else name
            found.append(member)
            found += [f"{member}.{inner}" for inner, _ in named_children(block)]
    return found


def _is_inside_another(one: _Candidate, candidates: list[_Candidate]) -> bool:
    return any(one.path.startswith(f"{other.path}.") for other in candidates)
