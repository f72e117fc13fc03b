"""One model of the zoo: what nnprof says of it in each way of running, and what the oracle says.

Runs in the child processes of `zoo.py`; a `Result` is what goes through the pipe and into the file.
"""

from __future__ import annotations

import copy
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree

import nnprof
from benchmarks import zoo_oracle
from benchmarks.zoo_models import FAMILIES, Case

if TYPE_CHECKING:
    from collections.abc import Callable

Result = dict[str, Any]

#: The oracle takes some fifty times as long: it need not run more often than this.
ORACLE_RUNS = 3


def run_model(family: str, name: str, runs: int) -> Result:
    """Everything that is to be known of one model.

    Times are of the fastest of `runs` calls: others work on the machine.
    """
    result: Result = {"family": family, "name": name}
    try:
        case = FAMILIES[family].case(name)
    except Exception as error:
        return result | {"not_built": reason(error)}
    _detach(case.model)
    # A class may give its own modules the same name as one it inherits, or build on the CPU: the
    # model that all ways run is the one on meta.
    real = None if _is_meta(case.model) else case
    with torch.no_grad():
        try:
            profile, seconds = _measured(case, runs)
        except Exception as error:
            result["failed"] = reason(error)
        else:
            result |= _told(profile) | {"nnprof_s": seconds}
        on_meta = _moved_to_meta(case)
        if "failed" not in result:
            bare = on_meta if real is None else _with_meta_parameters(real)
            result["differ"], result["not_run"] = _other_ways(bare, real, profile)
        return result | _oracle(on_meta, real, min(runs, ORACLE_RUNS))


def reason(error: BaseException) -> str:
    """The error's class and its first line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"


def _detach(model: torch.nn.Module) -> None:
    """Makes leaves of what weight_norm keeps in modules, which cannot be copied else."""
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                setattr(module, name, value.detach())


def _is_meta(model: torch.nn.Module) -> bool:
    return all(tensor.is_meta for tensor in model.parameters())


def _moved_to_meta(case: Case) -> Case:
    return (
        case if _is_meta(case.model) else replace(case, model=copy.deepcopy(case.model).to("meta"))
    )


def _with_meta_parameters(case: Case) -> Case:
    """The case with its parameters on meta and its buffers as they are: a forward may read them."""
    model = copy.deepcopy(case.model)
    moved = {
        id(parameter): torch.nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        for parameter in model.parameters()
    }
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = moved[id(parameter)]
    return replace(case, model=model)


def _measure(case: Case) -> nnprof.Profile:
    return nnprof.measure(case.model, inputs=case.args, kwargs=case.kwargs or None)


def _measured(case: Case, runs: int) -> tuple[nnprof.Profile, float]:
    """The profile, and the seconds until its totals were known."""
    times = []
    for _ in range(runs + 1):  # the first one warms up
        start = time.perf_counter()
        profile = _measure(case)
        _ = profile.macs
        times.append(time.perf_counter() - start)
    return profile, min(times[1:])


def _told(profile: nnprof.Profile) -> Result:
    coverage = profile.coverage
    return {
        "macs": profile.macs,
        "flops": profile.flops,
        "params": profile.params,
        "active_params": profile.active_params,
        "calls": coverage.calls,
        "generic": dict(coverage.generic),
        "assumptions": len(profile.assumptions),
    }


# The same model, run in another way -------------------------------------------------------------


def _in_bfloat16(case: Case) -> Case:
    model = copy.deepcopy(case.model).to(torch.bfloat16)
    args, kwargs = _pytree.tree_map_only(
        torch.Tensor,
        lambda tensor: tensor.to(torch.bfloat16) if tensor.dtype == torch.float32 else tensor,
        (case.args, case.kwargs),
    )
    return Case(model, args, kwargs)


def _ways(case: Case, real: Case | None) -> dict[str, tuple[Any, Callable[[], Case | None]]]:
    """The way's name -> the context it runs in, and the case."""
    return {
        "meta": (nullcontext(), lambda: case),
        "grad": (torch.enable_grad(), lambda: case),
        "inference_mode": (torch.inference_mode(), lambda: case),
        "real": (nullcontext(), lambda: real or zoo_oracle.materialized(case)),
        "bfloat16": (nullcontext(), lambda: _in_bfloat16(case)),
    }


def _other_ways(
    case: Case, real: Case | None, profile: nnprof.Profile
) -> tuple[dict[str, Any], dict[str, str]]:
    """The ways that count differently (way -> macs and flops), and those that did not run."""
    expected = [profile.macs, profile.flops]
    differ: dict[str, Any] = {}
    not_run: dict[str, str] = {}
    for way, (context, make) in _ways(case, real).items():
        try:
            with context:
                other = make()
                if other is None:
                    not_run[way] = "too big"
                    continue
                found = _measure(other)
        except Exception as error:
            not_run[way] = reason(error)
        else:
            if [found.macs, found.flops] != expected:
                differ[way] = [found.macs, found.flops]
    return differ, not_run


# The oracle -------------------------------------------------------------------------------------


def _oracle(case: Case, real: Case | None, runs: int) -> Result:
    """What the oracle counts, in the first of these ways in which the model runs."""
    ways: dict[str, Callable[[], Case | None]] = {
        "meta": lambda: _inputs_on_meta(case),
        "meta, real integers": lambda: case,
        # The same products; some operators take no float32.
        "meta, bfloat16": lambda: _in_bfloat16(_inputs_on_meta(case)),
        "cpu": lambda: zoo_oracle.materialized(real or case),
    }
    notes = []
    for on, make in ways.items():
        try:
            made = make()
            if made is None:
                notes.append(f"{on}: too big")
                continue
            counted = zoo_oracle.count(made, 1 if on == "cpu" else runs)
        except Exception as error:  # whatever it raises: the next way is what is left
            notes.append(f"{on}: {reason(error)}")
            continue
        result = {"oracle_flops": counted.flops, "oracle_on": on, "corrected": counted.corrected}
        return result | ({} if on == "cpu" else {"oracle_s": counted.seconds})
    return {"oracle_note": "; ".join(notes)}


def _inputs_on_meta(case: Case) -> Case:
    args, kwargs = _pytree.tree_map_only(
        torch.Tensor, lambda tensor: tensor.to("meta"), (case.args, case.kwargs)
    )
    return replace(case, args=args, kwargs=kwargs)
