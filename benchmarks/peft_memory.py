"""What adapters reserve, against public runs: `python benchmarks/peft_memory.py --runs CSV ...`.

huggingface/peft publishes what each of its methods reserved while it fine-tuned Llama-3.2-3B and
FLUX.2-klein (benchmarks/peft_runs.py has the two suites). Judged is by how much they differ from
one run of the suite. What Llama's batches were like is not published: one number of tokens is
chosen so that plain LoRA comes out right. Of FLUX all is known, and nothing chosen. Needs peft.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console
from rich.table import Table

from benchmarks import conditions
from benchmarks.bars import Result, bar, missed, show_bars
from benchmarks.peft_runs import (
    SUITES,
    Published,
    Suite,
    adapted,
    read,
    reserved,
    tokens_for,
    traced,
)

#: Of the calibration's memory: a difference from which on its sign is asked for.
MATTERS = 0.05


def predicted(suite: Suite, run: Published, suites: Path, tokens: int) -> dict[str, Any]:
    """Bytes that it reserves; or why it could not be built."""
    try:
        model = adapted(suite, run.experiment(suites))
        count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        found = reserved(traced(suite, model, tokens), suite.steps)
    except Exception as error:  # one that cannot be built is told, not hidden
        return {"run": run.name, "error": f"{type(error).__name__}: {str(error)[:160]}"}
    return {"run": run.name, "reserved": found, "as_published": count == run.trainable}


def of_suite(
    suite: Suite, runs: list[Published], suites: Path, only: list[str] | None
) -> dict[str, Any]:
    """The suite's result: `tokens` of a batch, `calibration`, and `runs`, each as predicted."""
    calibration = next(run for run in runs if run.name == suite.calibration)
    model = adapted(suite, calibration.experiment(suites))
    tokens = tokens_for(suite, model, calibration.reserved)
    base = predicted(suite, calibration, suites, tokens)
    found = []
    for run in runs:
        chosen = not only or any(part in run.name for part in only)
        if run is not calibration and chosen:
            found.append(predicted(suite, run, suites, tokens))
            print(found[-1], file=sys.stderr, flush=True)
    return {"suite": suite.name, "tokens": tokens, "calibration": base, "runs": found}


def judge(result: dict[str, Any], runs: list[Published]) -> list[Result]:
    """The suite's bars. Notes at each run by how much it differs, and how far off that is."""
    real = {run.name: run.reserved for run in runs}
    base, real_base = result["calibration"]["reserved"], real[result["calibration"]["run"]]
    signs, errors, errors_that_matter, whole, whole_as_base = [], [], [], [], []
    for found in result["runs"]:
        if "error" in found:
            continue
        really, difference = real[found["run"]] - real_base, found["reserved"] - base
        off = abs(difference - really) / max(abs(really), 1)
        found |= {"difference": difference, "off": off}
        errors.append(off)
        whole.append(abs(difference - really) / real[found["run"]])
        whole_as_base.append(abs(really) / real[found["run"]])
        if abs(really) > MATTERS * real_base:
            signs.append((really > 0) == (difference > 0))
            errors_that_matter.append(off)
    name = result["suite"]
    return [
        bar(f"{name}: differences over 5 % of the wrong sign", signs.count(False), "<=", 0, ""),
        bar(f"{name}: median error of these", percent(errors_that_matter), "<=", 25, " %"),
        bar(f"{name}: median error of all differences", percent(errors), "<=", 25, " %"),
        bar(f"{name}: median error of the whole", percent(whole), "<=", 2, " %"),
        bar(f"{name}: and with the calibration for all", percent(whole_as_base), ">=", 0, " %"),
    ]


def percent(errors: list[float]) -> float | None:
    return 100 * statistics.median(errors) if errors else None


def show(console: Console, result: dict[str, Any], runs: list[Published]) -> None:
    real = {run.name: run.reserved for run in runs}
    calibration = result["calibration"]["run"]
    title = f"{result['suite']}: reserved beside {calibration}'s, {result['tokens']} tokens"
    table = Table(title=title, title_justify="left")
    for heading in ("run", "really", "predicted", "off by", ""):
        table.add_column(heading, justify="left" if heading in ("run", "") else "right")
    for found in result["runs"]:
        if "error" in found:
            table.add_row(found["run"], "", "", "", found["error"])
            continue
        table.add_row(
            found["run"],
            f"{(real[found['run']] - real[calibration]) / 2**20:+,.0f} MiB",
            f"{found['difference'] / 2**20:+,.0f} MiB",
            f"{found['off']:.0%}",
            "" if found["as_published"] else "other parameters than published",
        )
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="run,max_reserved_bytes,...")
    parser.add_argument("--suites", type=Path, required=True, help="peft's method_comparison/")
    parser.add_argument("--only", nargs="*", help="runs whose names contain one of these")
    arguments = parser.parse_args()
    console = Console(width=130)
    results, bars = [], []
    for suite in SUITES.values():
        runs = [run for run in read(arguments.runs) if run.suite == suite.name]
        result = of_suite(suite, runs, arguments.suites, arguments.only)
        bars += judge(result, runs)
        show(console, result, runs)
        results.append(result)
    show_bars(console, bars)
    if not arguments.only:
        about = conditions.conditions("peft", "transformers", "diffusers")
        conditions.write("peft_memory", about | {"suites": results, "bars": bars})
    return int(missed(bars))


if __name__ == "__main__":
    sys.exit(main())
