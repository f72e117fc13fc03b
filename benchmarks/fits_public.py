"""Are verdicts right? `python benchmarks/fits_public.py --runs CSV --suites FOLDER`.

Asks of each training run that huggingface/peft publishes (benchmarks/peft_runs.py) whether it fits
on cards from 8 GB to 80 GB. What is true follows from what the run reserved: it fits where that and
the most of CUDA's context is there. It does not where what it surely needed and the least context
is not: the allocator gives back what it only caches before it runs out, and how much of the
published number was that is not known, so a share of CACHED is allowed for. Between the two nobody
knows, and the case is listed apart. Needs peft.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console
from rich.table import Table

from benchmarks import conditions
from benchmarks.bars import Result, bar, missed, show_bars
from benchmarks.peft_runs import SUITES, Published, Suite, adapted, read, tokens_for, traced
from nnprof.fitting.gpu import gpu_of
from nnprof.hardware.process_memory import process_memory
from nnprof.results.device_memory import NO, TOO_CLOSE, YES

if TYPE_CHECKING:
    from nnprof.hardware import Hardware
    from nnprof.results.profile import Profile

CARDS = (
    "8GB",
    "10GB",
    "12GB",
    "t4",
    "v100-sxm-16",
    "a10",
    "l4",
    "rtx-3090",
    "rtx-4090",
    "v100-sxm",
    "rtx-5090",
    "a100-sxm-40",
    "l40s",
    "a100-sxm-80",
)
#: Of what a run reserved, at most, that it could have done without. In the simulation of these
#: runs `needed` is up to 5 % less than `reserved`.
CACHED = 0.15
#: A card whose memory is so near to what was reserved is no easy case.
NEAR = 0.25

RIGHT, WRONG, UNDECIDED = "right", "wrong", "nobody knows"


def truth(reserved: int, card: Hardware) -> str | None:
    """Whether a run that reserved so many bytes fits; None where that does not tell."""
    memory = process_memory(card)
    if reserved + memory.context_high <= memory.total:
        return YES
    if (1 - CACHED) * reserved + memory.context_low > memory.total:
        return NO
    return None


def score(verdict: str, true: str | None) -> str:
    if true is None:
        return UNDECIDED
    if verdict == TOO_CLOSE:
        return TOO_CLOSE
    return RIGHT if verdict == true else WRONG


def asked(run: Published, profile: Profile) -> list[dict[str, Any]]:
    """The run on each card."""
    found = []
    for name in CARDS:
        card = gpu_of(name)
        memory = profile.memory.on(card)
        result = score(memory.verdict, truth(run.reserved, card))
        near = abs(memory.total - run.reserved) <= NEAR * memory.total
        found.append(
            {"run": f"{run.suite}/{run.name}", "card": name, "verdict": memory.verdict}
            | {"spare": memory.spare, "margin": memory.margin, "score": result, "near": near}
        )
    return found


def of_suite(suite: Suite, runs: list[Published], suites: Path) -> tuple[list[Any], list[Any]]:
    """Its cases, and the runs that could not be built."""
    calibration = next(run for run in runs if run.name == suite.calibration)
    model = adapted(suite, calibration.experiment(suites))
    tokens = tokens_for(suite, model, calibration.reserved)
    cases, not_built = [], []
    for run in runs:
        try:
            profile = traced(suite, adapted(suite, run.experiment(suites)), tokens)
        except Exception as error:  # told, not hidden
            reason = f"{type(error).__name__}: {str(error)[:160]}"
            not_built.append({"run": f"{run.suite}/{run.name}", "error": reason})
            continue
        cases += asked(run, profile)
        print(run.name, file=sys.stderr, flush=True)
    return cases, not_built


def judge(cases: list[dict[str, Any]]) -> list[Result]:
    """Bars: of those that are decided, and of those among them that are near."""
    decided = [case for case in cases if case["score"] != UNDECIDED]
    near = [case for case in decided if case["near"]]
    wrong = sum(case["score"] == WRONG for case in decided)
    return [
        bar("wrong verdicts", wrong, "<=", 0, ""),
        bar("too close to tell, of all that are decided", share(decided), "<=", 15, " %"),
        bar("for comparison: of cards near to what is needed", share(near), "<=", 100, " %"),
    ]


def share(cases: list[dict[str, Any]]) -> float | None:
    """Percent of them that are too close to tell."""
    close = sum(case["score"] == TOO_CLOSE for case in cases)
    return 100 * close / len(cases) if cases else None


def show(console: Console, cases: list[dict[str, Any]]) -> None:
    columns = (RIGHT, WRONG, TOO_CLOSE, UNDECIDED)
    table = Table("card", *columns, title="Verdicts by card", title_justify="left")
    for card in CARDS:
        counts = Counter(case["score"] for case in cases if case["card"] == card)
        table.add_row(card, *(str(counts[column]) for column in columns))
    console.print(table)
    for case in cases:
        if case["score"] == WRONG:
            console.print(f"wrong: {case['run']} on {case['card']}: {case['verdict']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="run,max_reserved_bytes,...")
    parser.add_argument("--suites", type=Path, required=True, help="peft's method_comparison/")
    arguments = parser.parse_args()
    console = Console(width=110)
    cases, not_built = [], []
    for suite in SUITES.values():
        runs = [run for run in read(arguments.runs) if run.suite == suite.name]
        found, failed = of_suite(suite, runs, arguments.suites)
        cases += found
        not_built += failed
    show(console, cases)
    bars = judge(cases)
    show_bars(console, bars)
    counts = dict(Counter(case["score"] for case in cases))
    about = conditions.conditions("peft", "transformers", "diffusers")
    found_all = {"cached": CACHED, "counts": counts, "not_built": not_built, "cases": cases}
    conditions.write("fits_public", about | found_all | {"bars": bars})
    return int(missed(bars))


if __name__ == "__main__":
    sys.exit(main())
