"""nnprof beside the tools that people use today: `python benchmarks/peers.py`.

Each cell (a tool on a model) runs in a child process of its own with a time limit, so that a tool
which fails, hangs or eats the memory costs one cell. The ratios that have bars are measured apart:
one child a model runs nnprof, FlopCounterMode and the bare shape-only forward in turns.

Every tool is given the model on the meta device first and, where it cannot work there, real weights
on the CPU if they fit in memory. Times are of whole calls; the first one includes importing the
tool. Prints the tables, writes results/peers.json, and exits with 1 if a count differs from
FlopCounterMode's.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import io
import json
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import conditions, tools
from benchmarks.bars import bar, missed, show_bars
from benchmarks.children import Result, child
from benchmarks.models import BENCHMARK_MODELS
from nnprof.base.packages import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY_LIMIT = 24 * 2**30  # bytes of weights that are tried on the CPU
CELL_SECONDS = 4.0  # repeat a call for about so long...
CELL_RUNS = 15  # ...but no more often than this
ROUNDS = 9
SHORT = ("nnprof", "estimate", "bare")
SHORT_CALLS = 7  # a round's calls of each of these, in turns
MEMORY_MODEL = "Llama-405B at 8192"

# The bars: what each number has to be.
EACH_SPEEDUP = 30.0
MEDIAN_SPEEDUP = 50.0
OVERHEAD = 1.3
ESTIMATE_OVERHEAD = 1.2
MEMORY_GROWTH = 100e6


# In the children --------------------------------------------------------------------------------


def seconds(call: Callable[[], Any]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def cell(tool: str, model_name: str) -> Result:
    """Cold time, median of the warm times, and MACs of one tool on one model."""
    benchmark = BENCHMARK_MODELS[model_name]
    failure = ""
    for device in ("meta", "cpu"):
        if device == "cpu" and benchmark.weight_bytes() > MEMORY_LIMIT:
            return {"note": "n/a (needs weights)", "on_meta": failure}
        model, x = benchmark.build(device), benchmark.example(device)
        gc.collect()
        try:
            macs = 0

            def count(model: Any = model, x: Any = x) -> None:
                nonlocal macs
                macs = tools.counted(tool, model, x)

            cold = seconds(count)
            warm = [seconds(count)]
            while sum(warm) < CELL_SECONDS and len(warm) < CELL_RUNS:
                warm.append(seconds(count))
        except ModuleNotFoundError as error:
            return {"note": f"not installed ({error.name})"}
        except Exception as error:  # whatever a tool raises is its result
            first_line = (str(error).splitlines() or [""])[0]
            failure = f"{type(error).__name__}: {first_line}"
            continue
        median = statistics.median(warm)
        return {"device": device, "cold_s": cold, "warm_s": median, "runs": len(warm), "macs": macs}
    return {"note": f"fails ({failure})"}


def ratios(model_name: str) -> Result:
    """Medians of nnprof, FlopCounterMode and the bare forward, run in turns in one process.

    A busy machine slows down by half from one second to the next: what is compared runs within a
    round, and the ratios are medians over the rounds.
    """
    benchmark = BENCHMARK_MODELS[model_name]
    model, x = benchmark.build("meta"), benchmark.example("meta")
    calls = {
        "nnprof": tools.nnprof,
        "estimate": tools.nnprof_with_estimate,
        "bare": tools.bare,
        "FlopCounterMode": tools.flop_counter_mode,
    }
    rounds: list[dict[str, float]] = []
    with torch.no_grad():
        for warm_up in calls.values():
            warm_up(model, x)
        for _ in range(ROUNDS):
            gc.collect()
            times: dict[str, list[float]] = {name: [] for name in calls}
            for _ in range(SHORT_CALLS):
                for name in SHORT:
                    times[name].append(seconds(functools.partial(calls[name], model, x)))
            flop_counter = functools.partial(calls["FlopCounterMode"], model, x)
            times["FlopCounterMode"] = [seconds(flop_counter)]
            rounds.append({name: statistics.median(taken) for name, taken in times.items()})
    result = {f"{name}_s": statistics.median(r[name] for r in rounds) for name in calls}
    result["speedup"] = statistics.median(r["FlopCounterMode"] / r["nnprof"] for r in rounds)
    result["overhead"] = statistics.median(r["nnprof"] / r["bare"] for r in rounds)
    result["estimate"] = statistics.median(r["estimate"] / r["nnprof"] for r in rounds)
    return result


def memory(model_name: str) -> Result:
    """By how many bytes profiling lets the resident memory of a fresh process grow at its peak."""
    benchmark = BENCHMARK_MODELS[model_name]
    model, x = benchmark.build("meta"), benchmark.example("meta")
    import nnprof  # noqa: F401  its import is no part of a measurement

    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _resident("VmRSS")
    with torch.no_grad():
        tools.nnprof(model, x)
    return {"before_bytes": before, "growth_bytes": _resident("VmHWM") - before}


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


CHILDREN: dict[str, Callable[..., Result]] = {"cell": cell, "ratios": ratios, "memory": memory}


def run_as_child(name: str, arguments: list[str]) -> None:
    """Run one of CHILDREN and print its result; what the tools print goes nowhere."""
    warnings.simplefilter("ignore")
    import_torchvision()  # some tools import it, and may not be able to on their own
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        result = CHILDREN[name](*arguments)
    print(json.dumps(result))


# In the parent ----------------------------------------------------------------------------------


def show_cells(console: Console, model_name: str, cells: dict[str, Result]) -> None:
    reference = cells.get("FlopCounterMode", {}).get("macs")
    table = Table(title=model_name, title_justify="left")
    for heading in ("tool", "device", "first call", "median", "MACs", "off by"):
        table.add_column(heading, justify="left" if heading in ("tool", "device") else "right")
    for tool, result in cells.items():
        if "note" in result:
            table.add_row(tool, "", "", "", result["note"], "")
            continue
        off = f"{result['macs'] / reference - 1:+.2%}" if reference else "?"
        table.add_row(
            tool,
            result["device"],
            f"{result['cold_s'] * 1e3:,.1f} ms",
            f"{result['warm_s'] * 1e3:,.1f} ms",
            f"{result['macs']:,}",
            "exact" if result["macs"] == reference else off,
        )
    console.print(table)


def bars(all_ratios: dict[str, Result], growth: Result) -> list[Result]:
    """Each bar with its value: ``met`` is None where there is nothing to judge."""
    found = []
    speedups = []
    for model, result in all_ratios.items():
        speedup = overhead = None
        if "note" not in result:
            speedup, overhead = result["speedup"], result["overhead"]
            speedups.append(speedup)
        found.append(bar(f"{model}: FlopCounterMode / nnprof", speedup, ">=", EACH_SPEEDUP, "x"))
        found.append(bar(f"{model}: nnprof / bare forward", overhead, "<=", OVERHEAD, "x"))
        estimate = result.get("estimate")
        found.append(
            bar(f"{model}: with estimate / without", estimate, "<=", ESTIMATE_OVERHEAD, "x")
        )
    median = statistics.median(speedups) if speedups else None
    found.append(bar("median FlopCounterMode / nnprof", median, ">=", MEDIAN_SPEEDUP, "x"))
    if growth:
        value = growth["growth_bytes"] / 1e6 if "growth_bytes" in growth else None
        name = f"{MEMORY_MODEL}: growth of peak memory"
        found.append(bar(name, value, "<=", MEMORY_GROWTH / 1e6, " MB"))
    return found


def disagreements(cells: dict[str, dict[str, Result]]) -> list[str]:
    """Where nnprof's MACs are not those of FlopCounterMode, or of neither is there a count."""
    found = []
    for model, by_tool in cells.items():
        ours = by_tool["nnprof"].get("macs")
        reference = by_tool["FlopCounterMode"].get("macs")
        known = BENCHMARK_MODELS[model].macs
        if ours is None or ours != reference or (known is not None and ours != known):
            found.append(
                f"{model}: nnprof {ours}, FlopCounterMode {reference}, known {known or 'nowhere'}"
            )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=BENCHMARK_MODELS, metavar="NAME")
    parser.add_argument("--tools", nargs="+", choices=tools.TOOLS, metavar="NAME")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one cell")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_as_child(options.child[0], options.child[1:])
        return 0

    console = Console(width=None if sys.stdout.isatty() else 120)
    required = ("nnprof", "FlopCounterMode")
    chosen = [t for t in tools.TOOLS if t in required or t in (options.tools or tools.TOOLS)]
    result: Result = {"conditions": conditions.conditions(*chosen), "cells": {}, "ratios": {}}
    for model in options.models or BENCHMARK_MODELS:
        with console.status(model) as status:
            cells = {}
            for tool in chosen:
                status.update(f"{model}: {tool}")
                cells[tool] = child(__file__, options.timeout, "cell", tool, model)
            status.update(f"{model}: ratios")
            result["ratios"][model] = child(__file__, 2 * options.timeout, "ratios", model)
        result["cells"][model] = cells
        show_cells(console, model, cells)
    growth = {}
    if MEMORY_MODEL in result["cells"]:
        growth = result["memory"] = child(__file__, options.timeout, "memory", MEMORY_MODEL)
    result["bars"] = bars(result["ratios"], growth)
    show_bars(console, result["bars"])
    wrong = result["disagreements"] = disagreements(result["cells"])
    for line in wrong:
        console.print(f"[red]MACs disagree[/] {line}")
    if not wrong:
        console.print("MACs agree with FlopCounterMode on every model.")
    console.print(f"written: {conditions.write('peers', result)}")
    return int(bool(wrong) or missed(result["bars"]))


if __name__ == "__main__":
    sys.exit(main())
