"""What a rank sends to others and gets from them: the rows of `profile.collectives`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnprof.results.layers import Layer
    from nnprof.results.records import Group, ModelFacts, TraceData

__all__ = ["Collective", "make_collectives"]


@dataclass(frozen=True)
class Collective:
    """One call that talks to other ranks."""

    op: str  #: the operator, "c10d::_allgather_base_"
    group: str  #: PyTorch's name of the group of ranks
    dimension: str | None  #: of the device mesh that the group belongs to, where it has a name
    ranks: int | None  #: in the group; None where the group is not known
    nodes: int | None  #: that the group spans
    bytes: int  #: of the larger side: what all ranks give, or get, together at this one
    argument_bytes: tuple[int, ...]  #: of each tensor among the arguments, in their order
    output_bytes: int  #: of the tensors that it returns
    dtype: str
    module: str  #: path of the module that it was called in
    phase: str  #: "forward", "backward" or "optimizer"
    call: int  #: its number among `profile.ops`


def make_collectives(
    data: TraceData, facts: ModelFacts, layers: list[Layer]
) -> tuple[Collective, ...]:
    """The calls of a trace that are collectives, in their order."""
    columns = data.collectives()
    names = list(columns)
    made = []
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(names, values, strict=True))
        group: Group | None = facts.groups.get(row["group"])
        given = tuple(int(size) for size in row["argument_bytes"])
        output = int(row["output_bytes"])
        made.append(
            Collective(
                op=row["op"],
                group=row["group"],
                dimension=group.dimension if group is not None else None,
                ranks=group.ranks if group is not None else None,
                nodes=group.nodes if group is not None else None,
                bytes=max((*given, output), default=0),
                argument_bytes=given,
                output_bytes=output,
                dtype=row["dtype"],
                module=layers[row["layer"]].path,
                phase=row["phase"],
                call=int(row["call"]),
            )
        )
    return tuple(made)
