"""The bars of a benchmark: what a measured number has to be, and whether it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

Result = dict[str, Any]


def bar(name: str, value: float | None, relation: str, limit: float, unit: str) -> Result:
    """A number and what it has to be: ``met`` is None where there is nothing to judge."""
    met = None
    if value is not None:
        met = value >= limit if relation == ">=" else value <= limit
    return {"name": name, "value": value, "relation": relation, "limit": limit, "unit": unit} | {
        "met": met
    }


def show_bars(console: Console, found: list[Result]) -> None:
    table = Table(title="Bars", title_justify="left")
    for heading in ("what", "value", "bar", ""):
        table.add_column(heading, justify="left" if heading in ("what", "") else "right")
    words = {True: "[green]met[/]", False: "[red]MISSED[/]", None: "[yellow]not measured[/]"}
    for bar in found:
        value = "-" if bar["value"] is None else f"{bar['value']:.2f}{bar['unit']}"
        limit = f"{bar['relation']} {bar['limit']:g}{bar['unit']}"
        table.add_row(bar["name"], value, limit, words[bar["met"]])
    console.print(table)


def missed(found: list[Result]) -> bool:
    """Is there one that is not met? Not one that could not be judged."""
    return any(bar["met"] is False for bar in found)
