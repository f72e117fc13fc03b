"""nnprof on every model that the libraries list: `python benchmarks/zoo.py`.

The models run in batches, each batch in a child process of its own, so that a model which crashes
or hangs costs no more than itself. What is done is kept in results/zoo.jsonl, one line a model, and
not done again: interrupt it and go on later. `--fresh N` takes N models never run before, drawn
with a printed seed. The table goes into results/zoo.json, with all that is not right.

The oracle is FlopCounterMode on the meta device, in the same process; where meta fails, on a small
real copy; where it is known to be wrong, corrected by hand (zoo_oracle.py). Each model runs on meta
and on real weights, in grad, no_grad and inference mode, and in bfloat16. Prints a table by family,
and exits with 1 if a count differs from the oracle's and zoo_exceptions.toml does not say why.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import random
import selectors
import statistics
import subprocess
import sys
import tempfile
import tomllib
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import conditions
from benchmarks.zoo_models import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Result = dict[str, Any]
Key = tuple[str, str]

RECORDS = conditions.RESULTS / "zoo.jsonl"
EXCEPTIONS = Path(__file__).parent / "zoo_exceptions.toml"
BATCH = 24  # models a child process
SECONDS = 180.0  # for one model, all that is done with it


# In the children --------------------------------------------------------------------------------


def run_as_child(family: str, names: list[str], runs: int) -> None:
    from benchmarks.zoo_run import run_model

    warnings.simplefilter("ignore")
    for name in names:
        print(json.dumps(run_model(family, name, runs)), flush=True)


# In the parent ----------------------------------------------------------------------------------


def run_batch(family: str, names: list[str], runs: int) -> list[Result]:
    """The results of one child; where it dies or hangs, the model it was at failed."""
    command = [sys.executable, __file__, "--runs", str(runs), "--child", family, *names]
    results: list[Result] = []
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as child,
    ):
        note = "the process died"
        for line in _lines(child):
            if line is None:
                note = f"more than {SECONDS:.0f} s"
                child.kill()
                break
            if line.startswith(b"{"):
                results.append(json.loads(line))
        said.seek(0)
        note += ": " + (said.read().decode(errors="replace").strip().splitlines() or [""])[-1][:300]
    if len(results) < len(names):
        results.append({"family": family, "name": names[len(results)], "failed": note})
    return results


def _lines(child: subprocess.Popen[bytes]) -> Iterator[bytes | None]:
    """What the child prints, line by line; None when it takes too long for the next one."""
    assert child.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(SECONDS):
                yield None
                return
            line = child.stdout.readline()  # children print whole lines at once
            if not line:
                return
            yield line


def run(todo: list[Key], records: Path, jobs: int, runs: int, console: Console) -> None:
    """Runs what is to be done and writes down each result as it comes."""
    records.parent.mkdir(exist_ok=True)
    with (
        Progress(console=console) as progress,
        records.open("a") as file,
        ThreadPoolExecutor(jobs) as pool,
    ):
        task = progress.add_task("models", total=len(todo))
        pending = {pool.submit(run_batch, *batch, runs): batch for batch in _batches(todo)}
        while pending:
            future = next(as_completed(pending))
            family, names = pending.pop(future)
            results = future.result()
            file.writelines(json.dumps(result) + "\n" for result in results)
            file.flush()
            progress.advance(task, len(results))
            if len(results) < len(names):
                rest = (family, names[len(results) :])
                pending[pool.submit(run_batch, *rest, runs)] = rest


def _batches(todo: Iterable[Key]) -> Iterator[tuple[str, list[str]]]:
    by_family: dict[str, list[str]] = {}
    for family, name in todo:
        by_family.setdefault(family, []).append(name)
    for family, names in by_family.items():
        for start in range(0, len(names), BATCH):
            yield family, names[start : start + BATCH]


def known(records: Path) -> dict[Key, Result]:
    """The last result of every model that was run."""
    if not records.exists():
        return {}
    results = [json.loads(line) for line in records.read_text().splitlines()]
    return {(result["family"], result["name"]): result for result in results}


def chosen(
    families: list[str], before: dict[Key, Result], again: list[str], fresh: int | None, seed: int
) -> list[Key]:
    """What is to be run: what was not run before, or ended in one of the verdicts ``again``."""
    done = {key for key, result in before.items() if verdict(result) not in again}
    todo = [(f, name) for f in families for name in FAMILIES[f].names() if (f, name) not in done]
    if fresh is None:
        return todo
    return sorted(random.Random(seed).sample(todo, min(fresh, len(todo))))


def _named(key: Key, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(key[1], pattern) for pattern in patterns)


# The verdicts -----------------------------------------------------------------------------------

#: "refused": PyTorch's own kernels raise what nnprof raises, for the configuration or the inputs.
VERDICTS = ("right", "explained", "wrong", "failed", "refused", "not comparable", "not built")


def _reviewed() -> list[dict[str, Any]]:
    return tomllib.loads(EXCEPTIONS.read_text()).get("exception", [])


REVIEWED = _reviewed()


def explanation(result: Result) -> str | None:
    """The reason in the reviewed table for a count that is not the oracle's."""
    name = f"{result['family']}:{result['name']}"
    for entry in REVIEWED:
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in entry["models"]):
            return str(entry["reason"])
    return None


def refused_by_itself(result: Result) -> bool:
    """Whether the oracle could not run the model either, and for the same reason."""
    # Sizes, in brackets, are told each in its own way: of the input, or of the matrix made of it.
    message = result["failed"].partition(": ")[2].partition(" (")[0][:60]
    return bool(message) and message in result.get("oracle_note", "")


def verdict(result: Result) -> str:
    if "not_built" in result:
        return "not built"
    if "failed" in result:
        return "refused" if refused_by_itself(result) else "failed"
    if "oracle_flops" not in result:
        return "not comparable"
    if 2 * result["macs"] == result["oracle_flops"]:
        return "right"
    return "explained" if explanation(result) else "wrong"


#: A model may refuse to run in these ways, as it does without nnprof.
MAY_REFUSE = ("bfloat16", "real")


def differing(result: Result) -> list[str]:
    """The ways of running that count differently: of bfloat16 the MACs alone."""
    differ = result.get("differ", {})
    ways = [way for way in differ if way != "bfloat16" or differ[way][0] != result["macs"]]
    return ways + [way for way in result.get("not_run", {}) if way not in MAY_REFUSE]


# The report -------------------------------------------------------------------------------------


def show(console: Console, results: list[Result]) -> None:
    table = Table(title="The zoo", title_justify="left")
    table.add_column("family")
    for heading in ("models", *VERDICTS, "ways differ", "calls ruled", "speed-up", "worst"):
        table.add_column(heading, justify="right")
    for family in (*FAMILIES, "all"):
        own = [r for r in results if family in (r["family"], "all")]
        if own:
            table.add_row(*_row(family, own))
    console.print(table)
    for result in results:
        _show_trouble(console, result)
    generic = Counter[str]()
    for result in results:
        generic.update(result.get("generic", {}))
    if generic:
        named = ", ".join(f"{op} {calls:,}" for op, calls in generic.most_common(20))
        console.print(f"calls without a rule: {named}")


def summary(results: list[Result]) -> Result:
    """What is written down: the table, and every model that is not right, with the reason."""
    columns = ("family", "models", *VERDICTS, "ways differ", "calls ruled", "speed-up", "worst")
    by_family = {f: [r for r in results if f in (r["family"], "all")] for f in (*FAMILIES, "all")}
    return {
        "conditions": conditions.conditions("torchvision", "timm", "transformers", "diffusers"),
        "table": [
            dict(zip(columns, _row(family, own), strict=True))
            for family, own in by_family.items()
            if own
        ],
        "not right": {
            f"{r['family']}:{r['name']}": f"{verdict(r)}: {_why(r)}"
            for r in results
            if verdict(r) != "right"
        },
        "ways differ": {
            f"{r['family']}:{r['name']}": {way: r["differ"].get(way) for way in differing(r)}
            for r in results
            if differing(r)
        },
    }


def _why(result: Result) -> str:
    for key in ("failed", "not_built", "oracle_note"):
        if key in result:
            return str(result[key])[:200]
    return explanation(result) or f"{2 * result['macs']:,}, oracle {result['oracle_flops']:,}"


def _show_trouble(console: Console, result: Result) -> None:
    name = f"{result['family']}:{result['name']}"
    if verdict(result) in ("wrong", "failed"):
        ours, theirs = 2 * result.get("macs", 0), result.get("oracle_flops", 0)
        why = result.get("failed") or f"2 x MACs {ours:,}, oracle {theirs:,}"
        console.print(f"[red]{verdict(result)}[/] {name} {why}", highlight=False)
    for way in differing(result):
        found = result["differ"].get(way) or result["not_run"].get(way)
        console.print(f"[red]differs[/] {name} {way}: {found}", highlight=False)


def _row(family: str, own: list[Result]) -> list[str]:
    counts = [sum(verdict(r) == v for r in own) for v in VERDICTS]
    calls = sum(r.get("calls", 0) for r in own)
    generic = sum(sum(r.get("generic", {}).values()) for r in own)
    ruled = f"{1 - generic / calls:.3%}" if calls else "-"
    ways = sum(bool(differing(r)) for r in own)
    ratios = [r["oracle_s"] / r["nnprof_s"] for r in own if "oracle_s" in r and "nnprof_s" in r]
    speed = f"{statistics.median(ratios):.0f}x" if ratios else "-"
    worst = f"{min(ratios):.1f}x" if ratios else "-"
    return [family, str(len(own)), *map(str, counts), str(ways), ruled, speed, worst]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--names", nargs="+", metavar="PATTERN", help="only models of such names")
    parser.add_argument("--fresh", type=int, metavar="N", help="only N models, drawn at random")
    parser.add_argument("--seed", type=int, help="of the draw")
    parser.add_argument("--again", nargs="+", choices=VERDICTS, default=[], help="run these again")
    parser.add_argument("--jobs", type=int, default=1, help="child processes at once")
    parser.add_argument(
        "--runs", type=int, default=5, help="timed calls; 1 where only counts matter"
    )
    parser.add_argument("--records", type=Path, default=RECORDS, help="where results are kept")
    parser.add_argument("--report", action="store_true", help="run nothing, show what is known")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_as_child(options.child[0], options.child[1:], options.runs)
        return 0

    console = Console(width=None if sys.stdout.isatty() else 160)
    if not options.report:
        seed = options.seed if options.seed is not None else random.randrange(10**6)
        if options.fresh is not None:
            console.print(f"seed {seed}")
        before = known(options.records)
        todo = chosen(options.families, before, options.again, options.fresh, seed)
        if options.names:
            todo = [key for key in todo if _named(key, options.names)]
        run(todo, options.records, options.jobs, options.runs, console)
    results = [r for r in known(options.records).values() if r["family"] in options.families]
    show(console, results)
    if options.records == RECORDS and set(options.families) == set(FAMILIES):
        console.print(f"written to {conditions.write('zoo', summary(results))}")
    return 1 if any(verdict(r) == "wrong" for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
