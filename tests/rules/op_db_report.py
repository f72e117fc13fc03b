"""What differs from PyTorch on its op_db samples: `python tests/rules/op_db_report.py [NAME ...]`.

Prints one row an OpInfo with mismatches: how many of each kind, and the first one in full. With
names, only the OpInfos whose name contains one of them (`=NAME` for that very name); with --family,
only those whose operator has a rule of that family.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from torch.testing._internal.common_methods_invocations import op_db

from tests.rules.differential import EXCEPTIONS, KINDS, Report, check_samples


def bare_name(operator: str) -> str:
    """`aten::add_.Tensor` -> `add`."""
    return operator.split("::")[-1].split(".")[0].rstrip("_")


def matches(op: Any, names: list[str], family_ops: set[str] | None) -> bool:
    if family_ops is not None and not {op.aten_name, op.name.split(".")[-1]} & family_ops:
        return False
    if not names:
        return True
    return any(
        name[1:] in (op.name, op.formatted_name) if name.startswith("=") else name in op.name
        for name in names
    )


def family_operators(family: str) -> set[str]:
    from nnprof import _core

    rules = _core.rules()
    found = {bare_name(rule["op"]) for rule in rules if rule["family"] == family}
    if not found:
        known = ", ".join(sorted({rule["family"] for rule in rules}))
        sys.exit(f"no family {family!r}: there are {known}")
    return found


def check(index: int) -> Report:
    return check_samples(op_db[index])


def show(console: Console, reports: list[Report], full: int, width: int) -> None:
    table = Table(show_lines=False)
    table.add_column("op", no_wrap=True)
    table.add_column("samples", justify="right")
    table.add_column("mismatches")
    table.add_column("first", overflow="fold", max_width=width)
    for report in sorted(reports, key=lambda report: -len(report.mismatches)):
        if not report.mismatches:
            continue
        allowed = EXCEPTIONS.get(report.name, {})
        kinds = [
            f"{kind} {count}" + (" (excepted)" if kind in allowed else "")
            for kind, count in report.kinds().items()
        ]
        shown = "\n".join(map(str, report.mismatches[:full]))
        table.add_row(report.name, str(report.samples), "\n".join(kinds), shown)
    console.print(table, markup=False)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--family", help="a family of nnprof's rules")
    parser.add_argument("--jobs", "-j", type=int, default=1, help="worker processes")
    parser.add_argument("--full", type=int, default=1, help="mismatches shown of each op")
    parser.add_argument("--kind", choices=KINDS, help="only mismatches of this kind")
    parser.add_argument("--new", action="store_true", help="leave out what is excepted")
    parser.add_argument("--width", type=int, default=200)
    options = parser.parse_args()

    family_ops = family_operators(options.family) if options.family else None
    chosen = [i for i, op in enumerate(op_db) if matches(op, options.names, family_ops)]
    console = Console(width=options.width, highlight=False)
    if options.jobs > 1:
        with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
            reports = list(pool.map(check, chosen, chunksize=4))
    else:
        reports = [check(index) for index in chosen]
    for report in reports:
        allowed = EXCEPTIONS.get(report.name, {}) if options.new else {}
        report.mismatches = [
            m for m in report.mismatches if m.kind not in allowed and options.kind in (None, m.kind)
        ]
    show(console, reports, options.full, options.width)
    kinds = collections.Counter(m.kind for report in reports for m in report.mismatches)
    failing = sum(bool(report.mismatches) for report in reports)
    samples = sum(report.samples for report in reports)
    console.print(f"{len(reports) - failing} of {len(reports)} OpInfos agree, {samples} samples")
    console.print(", ".join(f"{kind} {count}" for kind, count in kinds.most_common()))
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
