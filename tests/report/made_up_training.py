"""A training step made of a forward: each call comes again in the backward, and one steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnprof.results.profile import Profile
from nnprof.results.records import PHASES, StoredTrace

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["trained"]

_COSTS = ("macs", "flops", "flops_needed", "bytes_read", "bytes_written")
#: The optimizer's one call: it reads a parameter and its gradient, and writes the parameter.
_STEP = {"op": "aten::_foreach_add_.List", "scope": 0, "macs": 0, "dtype": "float32"}
_STEP |= {"input_shapes": [[8]], "output_shapes": [], "ruled": True, "saved_bytes": 0}


def trained(profile: Profile, checkpointed: str) -> Profile:
    """The same profile with a backward and a step; `checkpointed` is computed once more."""
    stored = StoredTrace.to_dict(profile.data)
    rows = [
        index
        for index, row in enumerate(stored["layers"])
        if f"{row['path']}.".startswith(f"{checkpointed}.")
    ]
    forward = _calls(stored["ops"])
    again = [call for call in forward if call["scope"] in rows]
    calls = [
        *forward,
        *(call | {"phase": "backward", "recomputed": True, "flops_needed": 0} for call in again),
        *(call | {"phase": "backward", "saved_bytes": 0} for call in reversed(forward)),
        _step(stored, profile.params),
    ]
    stored["ops"] = {name: [call[name] for call in calls] for name in calls[0]}
    stored["totals"] = {phase or "all": _totals(calls, phase) for phase in (None, *PHASES)}
    _add_to_layers(stored["layers"], calls)
    stored["memory"] = _memory(stored["memory"], calls, rows, 4 * profile.params)
    return Profile(StoredTrace(stored), profile.facts, profile.trace_s)


def _calls(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _step(stored: dict[str, Any], params: int) -> dict[str, Any]:
    signatures = stored["signatures"]
    number = len(signatures["op"])
    for name, column in signatures.items():
        column.append(_STEP.get(name, 0))
    costs = dict.fromkeys(("flops", "flops_executed", "flops_needed"), 2 * params)
    costs |= {"bytes_read": 8 * params, "bytes_written": 4 * params}
    return _STEP | costs | {"signature": number, "phase": "optimizer", "recomputed": False}


def _totals(calls: Iterable[dict[str, Any]], phase: str | None) -> dict[str, int]:
    those = [call for call in calls if phase in (None, call["phase"])]
    totals = {name: sum(call[name] for call in those) for name in _COSTS}
    return totals | {"flops_executed": totals["flops"], "int_ops": 0, "calls": len(those)}


def _add_to_layers(rows: list[dict[str, Any]], calls: Iterable[dict[str, Any]]) -> None:
    for call in calls:
        if call["phase"] == "forward":
            continue  # it is there
        for name in _COSTS:
            rows[call["scope"]][f"own_{name}"] += call[name]
            row = call["scope"]
            while row >= 0:
                rows[row][name] += call[name]
                row = rows[row]["parent"]


def _memory(
    forward: dict[str, Any], calls: list[dict[str, Any]], without: list[int], params: int
) -> dict[str, Any]:
    """The forward keeps what it writes, but in `without`; the backward lets go of it by and by."""
    kept = [
        (row, kinds["activations"])
        for row, kinds in forward["at_peak_by_layer"]
        if "activations" in kinds and row not in without
    ]
    resident = {"parameters": params, "inputs": forward["at_peak"]["inputs"]}
    full = {**resident, "activations": sum(bytes_ for _, bytes_ in kept)}
    most = full | {"temporaries": 3_200_000}
    done = resident | {"gradients": params}
    first = next(n for n, call in enumerate(calls) if call["phase"] == "backward")
    live = np.concatenate(
        [
            np.linspace(sum(resident.values()), sum(full.values()), first),
            np.linspace(sum(full.values()), sum(done.values()), len(calls) - first),
        ]
    ).astype("int64")
    highest = live.copy()
    highest[first] = sum(most.values())
    return {
        "peak": sum(most.values()),
        "peak_call": first,
        "at_peak": most,
        "phases": {
            "forward": {"peak": int(live[first - 1]), "after": full},
            "backward": {"peak": sum(most.values()), "after": done},
            "optimizer": {"peak": sum(done.values()), "after": done},
        },
        "at_peak_by_layer": [
            (1, {"inputs": resident["inputs"]}),
            *((row, {"activations": bytes_}) for row, bytes_ in kept),
        ],
        "kept_by_layer": kept,
        "live": live.tolist(),
        "highest": highest.tolist(),
    }
