"""Full-size public models against their published numbers: `python benchmarks/large.py`.

Each model runs in a child process of its own: its parameters and active parameters beside the
published ones, its MACs beside FlopCounterMode's on the meta device (with the operators that it
takes for free counted by hand, see zoo_oracle.py), and the time of `nnprof.measure` beside that of
the bare shape-only forward, in turns. Prints a table, writes results/large.json, and exits with 1
if a count differs or a bar is missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from rich.console import Console
from rich.table import Table

import nnprof
from benchmarks import conditions, peers, zoo_oracle
from benchmarks.bars import bar, missed, show_bars
from benchmarks.children import Result, child
from benchmarks.large_models import LARGE_MODELS, LargeModel
from benchmarks.zoo_models import Case
from nnprof.tracing.trace import bare

ROUNDS = peers.ROUNDS
SHORT_CALLS = peers.SHORT_CALLS


# In the children ---------------------------------------------------------------------------------


def measured(name: str) -> Result:
    """All that the table shows of one model."""
    large = LARGE_MODELS[name]
    start = time.perf_counter()
    model, inputs = large.build(), large.example()
    result: Result = {"build_s": time.perf_counter() - start}
    with torch.no_grad():
        profile = nnprof.measure(model, inputs=inputs)
        result |= {
            "params": profile.params,
            "active_params": profile.active_params,
            "embedding": _embedding(model),
            "macs": profile.macs,
            "calls": profile.coverage.calls,
            "generic": profile.coverage.generic,
        }
        result |= times(model, inputs)
        result |= oracle(model, inputs)
    return result


def _embedding(model: Any) -> int:
    try:
        return model.get_input_embeddings().weight.numel()
    except (AttributeError, NotImplementedError):
        return 0


def times(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> Result:
    """Medians of nnprof and of the bare forward; the ratio is the median of those of the rounds."""

    def profiled() -> tuple[int, ...]:
        profile = nnprof.measure(model, inputs=inputs)
        # Up to readable totals: nothing may be put off until it is asked for.
        return profile.active_params, profile.macs, profile.flops, profile.bytes

    def forward() -> None:
        with bare():
            model(**inputs)

    rounds = []
    for _ in range(ROUNDS):
        gc.collect()
        taken: dict[str, list[float]] = {"nnprof": [], "bare": []}
        for _ in range(SHORT_CALLS):
            taken["nnprof"].append(peers.seconds(profiled))
            taken["bare"].append(peers.seconds(forward))
        rounds.append({name: statistics.median(values) for name, values in taken.items()})
    return {
        "nnprof_s": statistics.median(r["nnprof"] for r in rounds),
        "bare_s": statistics.median(r["bare"] for r in rounds),
        "overhead": statistics.median(r["nnprof"] / r["bare"] for r in rounds),
    }


def oracle(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> Result:
    """FlopCounterMode's MACs, or why it has none."""
    try:
        counted = zoo_oracle.count(Case(model, (), inputs), runs=1)
    except Exception as error:  # whatever it raises is its result
        return {"oracle_note": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
    return {
        "oracle_macs": counted.flops // 2,
        "oracle_s": counted.seconds,
        "by_hand": counted.corrected,
    }


# In the parent -----------------------------------------------------------------------------------


def disagreements(large: LargeModel, result: Result) -> list[str]:
    """What is not as published or as the oracle counts."""
    if "note" in result:
        return [f"{large.name}: {result['note']}"]
    found = []
    params = result["params"] - large.more_params
    if not large.params.agrees(params):
        found.append(f"{large.name}: {params:,} params, published {large.params.text}")
    active = result["active_params"]
    if large.active is None:
        if active != result["params"]:
            found.append(f"{large.name}: {active:,} active of {result['params']:,}, but no experts")
    else:
        active -= result["embedding"] if large.active_without_embedding else 0
        if not large.active.agrees(active):
            found.append(f"{large.name}: {active:,} active, published {large.active.text}")
    if result.get("oracle_macs", result["macs"]) != result["macs"]:
        found.append(f"{large.name}: {result['macs']:,} MACs, oracle {result['oracle_macs']:,}")
    return found


def show(console: Console, results: dict[str, Result]) -> None:
    table = Table(title="Full-size models", title_justify="left")
    columns = ("model", "params", "active", "MACs", "against", "nnprof", "bare", "ratio", "FCM")
    for heading in columns:
        table.add_column(heading, justify="left" if heading in ("model", "against") else "right")
    for name, result in results.items():
        if "note" in result:
            table.add_row(name, result["note"])
            continue
        against = "no oracle"
        if "oracle_macs" in result:
            same = result["oracle_macs"] == result["macs"]
            against = "exact" if same else f"{result['macs'] / result['oracle_macs'] - 1:+.3%}"
        few = result["active_params"] != result["params"]
        table.add_row(
            name,
            f"{result['params']:,}",
            f"{result['active_params']:,}" if few else "",
            f"{result['macs']:,}",
            against,
            f"{result['nnprof_s'] * 1e3:,.1f} ms",
            f"{result['bare_s'] * 1e3:,.1f} ms",
            f"{result['overhead']:.2f}",
            f"{result['oracle_s'] * 1e3:,.0f} ms" if "oracle_s" in result else "",
        )
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=LARGE_MODELS, metavar="NAME")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one model")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        warnings.simplefilter("ignore")
        print(json.dumps(measured(options.child)))
        return 0

    console = Console(width=None if sys.stdout.isatty() else 160)
    results = {}
    for name in options.models or LARGE_MODELS:
        with console.status(name):
            results[name] = child(__file__, options.timeout, name)
    show(console, results)
    wrong = [line for name, r in results.items() for line in disagreements(LARGE_MODELS[name], r)]
    overheads = {name: result.get("overhead") for name, result in results.items()}
    bars = [
        bar(f"{name}: nnprof / bare forward", overhead, "<=", peers.OVERHEAD, "x")
        for name, overhead in overheads.items()
    ]
    show_bars(console, bars)
    for line in wrong:
        console.print(f"[red]differs[/] {line}")
    written = {
        "conditions": conditions.conditions("transformers"),
        "models": results,
        "bars": bars,
        "disagreements": wrong,
    }
    console.print(f"written: {conditions.write('large', written)}")
    return int(bool(wrong) or missed(bars))


if __name__ == "__main__":
    sys.exit(main())
