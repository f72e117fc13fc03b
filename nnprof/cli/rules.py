"""`nnprof rules`: the operators that are priced by a rule, and what this torch left out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from nnprof.cli import options

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["rules"]

Rule = dict[str, Any]

_LEFT_OUT = "left out"
#: The reason of a rule for an operator of other versions: nothing is priced without it.
_NOT_THERE = "no such operator"


@click.command()
@click.argument("pattern", default="")
@click.option(
    "--check", is_flag=True, help="List only what was left out; exit with 1 if torch has any of it."
)
@options.traceback
def rules(pattern: str, check: bool) -> int:
    """The operators priced by a rule; with PATTERN, those whose name contains it.

    A rule is left out where its schema is not that of the torch that runs: the operator is then
    priced from its sizes alone. Rules for the in-place and out= siblings are derived from the rules
    that are written.
    """
    from nnprof import _core

    every = _of_this_torch(_core.rules())
    shown = [rule for rule in every if pattern in rule["op"]]
    if check:
        shown = [rule for rule in shown if rule["status"] == _LEFT_OUT]
    if shown:
        options.print_table(_table(shown))
    click.echo(_totals(every))
    return 1 if check and any(_NOT_THERE not in rule["reason"] for rule in shown) else 0


def _of_this_torch(every: list[Rule]) -> list[Rule]:
    """Without the rules for other schemas of an operator that has one for its own."""
    ruled = {rule["op"] for rule in every if rule["status"] != _LEFT_OUT}
    return [rule for rule in every if rule["status"] != _LEFT_OUT or rule["op"] not in ruled]


def _table(shown: list[Rule]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.pad_edge = table.show_edge = False
    for title in ("Operator", "Family", "Rule", "Why"):
        table.add_column(title)
    for rule in shown:
        status = "derived" if rule["derived"] and rule["status"] != _LEFT_OUT else rule["status"]
        table.add_row(*map(Text, (rule["op"], rule["family"], status, rule["reason"])))
    return table


def _totals(every: list[Rule]) -> str:
    counts = Counter(_LEFT_OUT if rule["status"] == _LEFT_OUT else "ruled" for rule in every)
    derived = sum(bool(rule["derived"]) for rule in every)
    return f"{counts['ruled']} operators ruled ({derived} derived), {counts[_LEFT_OUT]} left out"
