"""nnprof on every model that the libraries list: `python benchmarks/zoo.py`.

The models run in batches, each batch in a child process of its own, so that a model which crashes
or hangs costs no more than itself. What is done is kept in results/zoo.jsonl, one line a model, and
not done again: interrupt it and go on later. `--fresh N` takes N models never run before, drawn
with a printed seed.

The oracle is FlopCounterMode on the meta device, in the same process. Prints a table by family, and
exits with 1 if a count differs from the oracle's.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import conditions
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from zoo_models import FAMILIES, Case

import nnprof

Result = dict[str, Any]

RECORDS = conditions.RESULTS / "zoo.jsonl"
BATCH = 12  # models a child process
SECONDS = 120.0  # for one model, its oracle included


# In the children --------------------------------------------------------------------------------


def timed(call: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


def profiled(case: Case) -> Result:
    """What nnprof says; the time is that of the second call."""

    def measure() -> nnprof.Profile:
        return nnprof.measure(case.model, inputs=case.args, kwargs=case.kwargs or None)

    profile = measure()
    again_s, _ = timed(lambda: measure().macs)
    generic = profile.coverage.generic
    return {
        "macs": profile.macs,
        "flops": profile.flops,
        "params": profile.params,
        "calls": sum(profile.coverage.ruled.values()) + sum(generic.values()),
        "generic": dict(generic),
        "assumptions": len(profile.assumptions),
        "nnprof_s": again_s,
    }


def oracle(case: Case) -> Result:
    """What FlopCounterMode counts on meta; afterwards the model has lost its values."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    model = case.model.to("meta")  # some constructors need values and were run on the CPU

    def count() -> None:
        with counter:
            model(*case.args, **case.kwargs)

    try:
        seconds, _ = timed(count)
    except Exception as error:  # whatever it raises: there is nothing to compare with
        return {"oracle_note": reason(error)}
    return {"oracle_flops": counter.get_total_flops(), "oracle_s": seconds}


def run_model(family: str, name: str) -> Result:
    result: Result = {"family": family, "name": name}
    try:
        case = FAMILIES[family].case(name)
    except Exception as error:
        return result | {"not_built": reason(error)}
    with torch.no_grad():
        try:
            result |= profiled(case)
        except Exception as error:
            result["failed"] = reason(error)
        return result | oracle(case)


def run_as_child(family: str, names: list[str]) -> None:
    warnings.simplefilter("ignore")
    for name in names:
        print(json.dumps(run_model(family, name)), flush=True)


# In the parent ----------------------------------------------------------------------------------


def done_before() -> dict[tuple[str, str], Result]:
    if not RECORDS.exists():
        return {}
    results = [json.loads(line) for line in RECORDS.read_text().splitlines()]
    return {(result["family"], result["name"]): result for result in results}


def run_batch(family: str, names: list[str]) -> list[Result]:
    """The results of one child; where it dies or hangs, the model it was at failed."""
    command = [sys.executable, __file__, "--child", family, *names]
    note = "the process died"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=SECONDS * len(names)
        )
        output = done.stdout
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if error.stdout else ""
        note = f"more than {SECONDS * len(names):.0f} s"
    results = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    if len(results) < len(names):
        stuck = names[len(results)]
        results.append({"family": family, "name": stuck, "failed": note})
    return results


def verdict(result: Result) -> str:
    if "not_built" in result:
        return "not built"
    if "failed" in result:
        return "failed"
    if "oracle_flops" not in result:
        return "not comparable"
    return "right" if 2 * result["macs"] == result["oracle_flops"] else "wrong"


VERDICTS = ("right", "wrong", "failed", "not comparable", "not built")


def show(console: Console, results: list[Result]) -> None:
    table = Table(title="The zoo", title_justify="left")
    table.add_column("family")
    for heading in ("models", *VERDICTS, "calls ruled", "speed-up", "worst"):
        table.add_column(heading, justify="right")
    for family in (*FAMILIES, "all"):
        own = [r for r in results if family in (r["family"], "all")]
        if own:
            table.add_row(*_row(family, own))
    console.print(table)
    for result in results:
        if verdict(result) in ("wrong", "failed"):
            ours, theirs = 2 * result.get("macs", 0), result.get("oracle_flops")
            why = result.get("failed") or f"2 x MACs {ours:,}, oracle {theirs:,}"
            console.print(f"[red]{verdict(result)}[/] {result['family']}:{result['name']} {why}")


def _row(family: str, own: list[Result]) -> list[str]:
    counts = [sum(verdict(r) == v for r in own) for v in VERDICTS]
    calls = sum(r.get("calls", 0) for r in own)
    generic = sum(sum(r.get("generic", {}).values()) for r in own)
    ruled = f"{1 - generic / calls:.3%}" if calls else "-"
    ratios = [r["oracle_s"] / r["nnprof_s"] for r in own if "oracle_s" in r and "nnprof_s" in r]
    speed = f"{statistics.median(ratios):.0f}x" if ratios else "-"
    worst = f"{min(ratios):.0f}x" if ratios else "-"
    return [family, str(len(own)), *map(str, counts), ruled, speed, worst]


def chosen(
    families: list[str], again: list[str], fresh: int | None, seed: int
) -> list[tuple[str, str]]:
    """What is to be run: what was not run before, or ended in one of the verdicts ``again``."""
    before = {key for key, result in done_before().items() if verdict(result) not in again}
    todo = [(f, name) for f in families for name in FAMILIES[f].names() if (f, name) not in before]
    if fresh is None:
        return todo
    return sorted(random.Random(seed).sample(todo, min(fresh, len(todo))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--fresh", type=int, metavar="N", help="only N models, drawn at random")
    parser.add_argument("--seed", type=int, help="of the draw")
    parser.add_argument("--again", nargs="+", choices=VERDICTS, default=[], help="run these again")
    parser.add_argument("--report", action="store_true", help="run nothing, show what is known")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_as_child(options.child[0], options.child[1:])
        return 0

    console = Console(width=None if sys.stdout.isatty() else 140)
    if not options.report:
        seed = options.seed if options.seed is not None else random.randrange(10**6)
        if options.fresh is not None:
            console.print(f"seed {seed}")
        run(chosen(options.families, options.again, options.fresh, seed), console)
    results = [r for r in done_before().values() if r["family"] in options.families]
    show(console, results)
    return 1 if any(verdict(r) == "wrong" for r in results) else 0


def run(todo: list[tuple[str, str]], console: Console) -> None:
    conditions.RESULTS.mkdir(exist_ok=True)
    with Progress(console=console) as progress, Path(RECORDS).open("a") as records:
        task = progress.add_task("models", total=len(todo))
        while todo:
            family = todo[0][0]
            names = [name for f, name in todo[:BATCH] if f == family]
            results = run_batch(family, names)
            for result in results:
                records.write(json.dumps(result) + "\n")
            records.flush()
            progress.advance(task, len(results))
            todo = todo[len(results) :]


if __name__ == "__main__":
    sys.exit(main())
