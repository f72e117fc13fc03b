"""The module tree as a reader wants to see it: cut at a depth, sorted, and with repeats folded.

The 126 decoder layers of a Llama are one row, "layers.0-125 (x126)", that stands for their sum.
Only siblings with equal subtrees fold: same types, same numbers, same shapes, all the way down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nnprof.report.metrics import METRICS, Aggregation, Metric, find_metric
from nnprof.results.times import added

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nnprof.results.profile import Layer
    from nnprof.results.times import LayerTimes

__all__ = ["Node", "Row", "best_depth", "build", "rows"]

#: As many rows as a screen holds with the totals under them.
SCREEN_ROWS = 40
# A container's own work (a residual add, attention itself) gets a row from this share of the whole.
OWN_SHARE = 0.01
# The last whole number in a path: "stages.0.blocks.12" -> ("stages.0.blocks.", "12", "").
_NUMBERED = re.compile(r"(?P<head>(?:.*\.)?)(?P<number>\d+)(?P<tail>(?:\.\D.*)?)")


@dataclass
class Node:
    """A module, or a group of equal siblings, whose values are then those of the whole group."""

    label: str  # the path below the parent
    type: str
    calls: int  # of one module
    output_shapes: list[list[int]]
    values: dict[str, float | None]  # metric name -> value, children included; None: not known
    own: dict[str, float | None]
    count: int = 1  # modules in the group
    children: list[Node] = field(default_factory=list)
    signature: int = 0  # equal numbers: equal subtrees
    times: LayerTimes | None = None  # children included
    own_times: LayerTimes | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table. `last` tells, for each level from the first, whether it ends there."""

    node: Node
    last: tuple[bool, ...]


def build(root: Layer, sort: str | None = None) -> Node:
    """The tree below `root`, repeats folded; siblings in call order or largest `sort` first."""
    metric = find_metric(sort) if sort else None
    return _node(root, root.path, metric, {})


def _node(layer: Layer, label: str, sort: Metric | None, known: dict[object, int]) -> Node:
    values = {metric.name: metric.of(layer) for metric in METRICS}
    own = {metric.name: metric.own(layer) for metric in METRICS}
    node = Node(label, layer.type, layer.calls, layer.output_shapes, values, own)
    node.times, node.own_times = layer.times, layer.own_times
    node.children = _fold(
        [_node(child, _label(child, layer.path), sort, known) for child in layer.children]
    )
    if sort:
        node.children.sort(key=lambda child: -(child.values[sort.name] or 0))
    node.signature = known.setdefault(_content(node), len(known))
    return node


def _label(layer: Layer, parent: str) -> str:
    """Its path as seen from `parent`; a module from elsewhere in the model keeps its full path."""
    path = layer.path.removeprefix(f"{parent}.") if parent else layer.path
    return path or layer.type


def _content(node: Node) -> object:
    """All that two modules must share to be folded into one row. Times differ by chance."""
    return (
        node.type,
        node.calls,
        tuple(map(tuple, node.output_shapes)),
        tuple(node.values[metric.name] for metric in METRICS if metric.exact),
        tuple(node.own[metric.name] for metric in METRICS if metric.exact),
        tuple((child.label, child.signature) for child in node.children),
    )


def _fold(siblings: Sequence[Node]) -> list[Node]:
    """Siblings with equal ones grouped under the first of them.

    Blocks need not be neighbours, so that models which alternate two kinds fold into two rows.
    Plain layers must be: a table with ReLUs 1 to 12 before convolution 2 could not be read.
    """
    groups: dict[object, list[int]] = {}
    for index, node in enumerate(siblings):
        match = _NUMBERED.fullmatch(node.label)
        if match is None:
            groups[index] = [index]
            continue
        key = (match["head"], match["tail"], node.signature)
        if not node.children and groups.get(key, [index - 1])[-1] != index - 1:
            groups[key, index] = groups.pop(key)  # closed: set aside under a key of its own
        groups.setdefault(key, []).append(index)
    first_first = sorted(groups.values(), key=lambda members: members[0])
    return [_group([siblings[index] for index in members]) for members in first_first]


def _group(members: Sequence[Node]) -> Node:
    if len(members) == 1:
        return members[0]
    node = _sum(members)
    matches = [_NUMBERED.fullmatch(member.label) for member in members]
    numbers = [int(match["number"]) for match in matches if match]
    head, tail = (matches[0]["head"], matches[0]["tail"]) if matches[0] else ("", "")
    node.label = f"{head}{_ranges(numbers)}{tail}"
    node.count = len(members)
    return node


def _sum(members: Sequence[Node]) -> Node:
    """A subtree like each of these, its values those of all of them."""
    first = members[0]
    return Node(
        label=first.label,
        type=first.type,
        calls=first.calls,
        output_shapes=first.output_shapes,
        values=_sum_values([node.values for node in members]),
        own=_sum_values([node.own for node in members]),
        count=first.count,
        children=[
            _sum(children) for children in zip(*(node.children for node in members), strict=True)
        ],
        signature=first.signature,
        times=_sum_times([node.times for node in members]),
        own_times=_sum_times([node.own_times for node in members]),
    )


def _sum_values(values: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Of what is known; None where nothing is."""
    summed: dict[str, float | None] = {}
    for name in values[0]:
        found = [value for one in values if (value := one[name]) is not None]
        summed[name] = sum(found) if found else None
    return summed


def _sum_times(times: Sequence[LayerTimes | None]) -> LayerTimes | None:
    found = [one for one in times if one is not None]
    return added(found) if found else None


def _ranges(numbers: Sequence[int]) -> str:
    """[0, 1, 2, 4] -> "0-2,4"; [0, 2, 4, 6] -> "0,2..6"."""
    step = numbers[1] - numbers[0]
    evenly = list(numbers) == list(range(numbers[0], numbers[-1] + 1, step))
    if evenly and step > 1 and len(numbers) > 2:
        return f"{numbers[0]},{numbers[1]}..{numbers[-1]}"
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def best_depth(root: Node) -> int:
    """The deepest cut that still fits a screen; 1 where not even that does."""
    depth = 1
    shown = -1
    while True:
        count = sum(1 for _ in rows(root, depth + 1))
        if count > SCREEN_ROWS or count == shown:
            return depth
        depth, shown = depth + 1, count


def rows(root: Node, depth: int) -> Iterator[Row]:
    """The tree's lines from the top down to `depth` levels below the root."""
    yield from _rows(root, depth, (), root.values)


def _rows(
    node: Node, depth: int, last: tuple[bool, ...], whole: dict[str, float | None]
) -> Iterator[Row]:
    yield Row(node, last)
    if len(last) >= depth or not node.children:
        return
    children = [*node.children, *_itself(node, whole)]
    for child in children:
        yield from _rows(child, depth, (*last, child is children[-1]), whole)


def _itself(node: Node, whole: dict[str, float | None]) -> list[Node]:
    """A line for what a module does between its children, so that the lines below it add up."""
    summed = [m.name for m in METRICS if m.in_table and m.aggregation is Aggregation.SUM]
    if not any((node.own[name] or 0) > OWN_SHARE * (whole[name] or 0) for name in summed):
        return []
    itself = Node("(itself)", "", node.calls, [], node.own, node.own)
    itself.times = itself.own_times = node.own_times
    return [itself]
