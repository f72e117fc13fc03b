"""Writes the tables of README.md that are results anew: python benchmarks/readme.py

Each stands below a line `<!-- results: NAME -->`; a test holds them against the files.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = Path(__file__).with_name("results")

#: A marked table: its mark, its name, and its lines.
MARKED = re.compile(r"(<!-- results: ([a-z ]+) -->\n)((?:\|.*\n)*)")


def load(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    aligned = ["---", *["---:"] * (len(head) - 1)]
    lines = [head, aligned, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"


def off_by(macs: int, right: int) -> str:
    return "exact" if macs == right else f"{100 * (macs / right - 1):+.1f}%"


def peers() -> str:
    """The median of a whole call of each tool, and how far its MACs are off."""
    cells = load("peers")["cells"]

    def shown(model: str, tool: str) -> str:
        cell = cells[model][tool]
        if "macs" not in cell:
            return "needs weights" if "needs weights" in cell["note"] else "fails"
        right = cells[model]["FlopCounterMode"]["macs"]
        return f"{milliseconds(cell['warm_s'])}, {off_by(cell['macs'], right)}"

    tools = list(next(iter(cells.values())))
    return table(["tool", *cells], ([tool, *(shown(m, tool) for m in cells)] for tool in tools))


def ratios() -> str:
    """Those of runs in turns."""
    found = load("peers")
    by_model = found["ratios"].values()
    growth = [""] * (len(by_model) - 1) + [f"{found['memory']['growth_bytes'] / 1e6:.0f} MB"]
    rows = [
        ["FlopCounterMode / nnprof", *(f"{one['speedup']:.0f}x" for one in by_model)],
        ["nnprof / bare shape-only forward", *(f"{one['overhead']:.2f}x" for one in by_model)],
        ["growth of the process at its peak", *growth],
    ]
    return table(["", *found["ratios"]], rows)


def training() -> str:
    """The best round of a profile of a training step."""
    models = load("training")["full_size"]
    parts = ("forward", "forward and backward", "step", "FlopCounterMode")
    head = ["", *parts[:2], "whole step", "FlopCounterMode, forward and backward"]
    best = {name: one["times"]["best_s"] for name, one in models.items()}
    return table(head, ([n, *(milliseconds(best[n][part]) for part in parts)] for n in models))


def zoo() -> str:
    """How many models of each library are right."""
    columns = (
        *("models", "right", "wrong", "failed", "refused", "not comparable", "not built"),
        *("speed-up", "worst"),
    )
    rows = ([row["family"], *(row[c] for c in columns)] for row in load("zoo")["table"])
    return table(["family", *columns[:-2], "speed-up, median", "worst"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "peers": peers,
    "ratios": ratios,
    "training": training,
    "zoo": zoo,
}


def written(text: str) -> str:
    """The README with every marked table as the results have it."""
    return MARKED.sub(lambda found: found[1] + TABLES[found[2]](), text)


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
