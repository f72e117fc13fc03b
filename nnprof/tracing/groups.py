"""The groups of ranks that a trace's collectives run on: how many ranks, over how many nodes."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from torch import distributed as dist

from nnprof.results.records import Group

if TYPE_CHECKING:
    from nnprof.results.records import TraceData

__all__ = ["forget_meshes", "groups_of", "note_mesh", "set_gpus_per_node"]

_meshes: weakref.WeakSet[Any] = weakref.WeakSet()
_gpus_per_node = 8


def note_mesh(mesh: Any) -> None:
    """Tells of a device mesh, whose dimensions give groups their names."""
    _meshes.add(mesh)


def forget_meshes() -> None:
    """They are of no world that is there."""
    _meshes.clear()


def set_gpus_per_node(number: int) -> int:
    """How many neighbours in the numbering of ranks share a node; returns how many did before."""
    global _gpus_per_node
    before, _gpus_per_node = _gpus_per_node, number
    return before


def groups_of(data: TraceData) -> dict[str, Group]:
    """By name, what is known of the groups that a trace's collectives ran on."""
    if not dist.is_available() or not dist.is_initialized():
        return {}
    wanted = set(data.collectives()["group"])
    dimensions = _dimensions()
    found: dict[str, Group] = {}
    for group in list(dist.distributed_c10d._world.pg_map):
        name = group.group_name
        if name not in wanted:
            continue
        ranks = dist.get_process_group_ranks(group)
        nodes = len({rank // _gpus_per_node for rank in ranks})
        found[name] = Group(dimensions.get(name), len(ranks), nodes)
    return found


def _dimensions() -> dict[str, str]:
    """By a group's name, the mesh dimension that it is one of."""
    found = {}
    for mesh in list(_meshes):
        for dimension in mesh.mesh_dim_names or ():
            found[mesh.get_group(dimension).group_name] = dimension
    return found
