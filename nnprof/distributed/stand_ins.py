"""What stands in for others while a world is on, and goes when it ends."""

from __future__ import annotations

import functools
import importlib
import itertools
import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed as dist

from nnprof import _core
from nnprof.base.process import replaced
from nnprof.tracing.groups import forget_meshes, note_mesh

if TYPE_CHECKING:
    from torch import Tensor

    from nnprof.base.process import Undo
    from nnprof.distributed.cuda import Device

__all__ = ["make_group", "put_in_place"]


_worlds = itertools.count(1)


def make_group(rank: int, size: int) -> list[Undo]:
    """A process group of `size` ranks on which nothing is sent; returns what destroys it."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    # Point-to-point calls ask a group for its backend of a tensor's device.
    devices = dist.Backend.backend_capability["fake"]
    undo: list[Undo] = []
    if "meta" not in devices:
        devices.append("meta")
        undo.append(lambda: devices.remove("meta"))
    # torch has what is not caught tell of the rank, and leaves it so.
    undo.append(functools.partial(setattr, sys, "excepthook", sys.excepthook))
    dist.init_process_group("fake", rank=rank, world_size=size, store=FakeStore())
    undo.append(_destroy)
    return undo


def _destroy() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def put_in_place(device: Device) -> list[Undo]:
    """Puts all in place; returns what undoes it, the last one to be called first."""
    # It notes for good what torch.cuda's functions are, when it is first imported. FSDP does.
    importlib.import_module("torch._dynamo")
    undo = [replaced(torch.cuda, name, function) for name, function in device.functions().items()]
    # Tensors say that they are on meta, and FSDP looks for the functions of that device.
    undo.append(replaced(torch, "meta", torch.cuda))
    from torch.distributed.fsdp._fully_shard._fsdp_param_group import FSDPParamGroup

    # Parameters on meta are what a world's are.
    undo.append(replaced(FSDPParamGroup, "_validate_no_meta_params", lambda self: None))
    # Those of the other ranks are what they are here.
    parallel = importlib.import_module("torch.nn.parallel.distributed")
    undo.append(replaced(parallel, "_verify_param_shape_across_processes", _agree))
    reducer = vars(dist)["Reducer"]
    undo.append(replaced(reducer, "_rebuild_buckets", _rebuilding(reducer)))
    undo += _sizes_of_stages_are_known()
    undo += _one_chunk_at_a_time()
    undo += [forget_meshes, _noting_meshes()]
    _core.set_device_needs_no_init(True)
    undo.append(lambda: _core.set_device_needs_no_init(False))
    return undo


def _agree(*_: object, **__: object) -> None:
    """What asks whether all ranks have the same shapes."""


def _sizes_of_stages_are_known() -> list[Undo]:
    """Stages of a pipeline vote whether each was given its sizes: here each has to be."""
    schedules = importlib.import_module("torch.distributed.pipelining.schedules")
    if not hasattr(schedules, "InferenceMode"):
        return []

    def warm_up(self: Any, stages: list[Any], *_: object, **__: object) -> None:
        for stage in stages:
            stage._inference_mode = schedules.InferenceMode.STATIC

    makers = [kind for kind in vars(schedules).values() if isinstance(kind, type)]
    return [
        replaced(kind, "_warmup_p2p", warm_up) for kind in makers if "_warmup_p2p" in vars(kind)
    ]


def _one_chunk_at_a_time() -> list[Undo]:
    """Of each parameter FSDP makes as many views as there are ranks, and looks at two of them."""
    params = importlib.import_module("torch.distributed.fsdp._fully_shard._fsdp_param")
    name = "_chunk_with_empty"
    if not hasattr(params, name):
        return []
    own = getattr(params, name)

    def chunks(tensor: Tensor, num_chunks: int, dim: int) -> Any:
        if tensor.size(dim) == 0:
            return own(tensor, num_chunks, dim)
        return _Chunks(tensor, num_chunks, dim)

    return [replaced(params, name, chunks)]


class _Chunks:
    """What `torch.chunk` returns, made when it is asked for; empty beyond the last one."""

    def __init__(self, tensor: Tensor, count: int, dim: int) -> None:
        self._tensor, self._count, self._dim = tensor, count, dim

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Tensor:
        size = self._tensor.size(self._dim)
        each = -(-size // self._count)
        start = number * each
        if start >= size:
            return self._tensor.new_empty(0)
        return self._tensor.narrow(self._dim, start, min(each, size - start))


def _rebuilding(reducer: Any) -> Any:
    """Buckets that were made before the trace are let go of when others take their place."""
    own = reducer._rebuild_buckets

    def rebuild(self: Any) -> bool:
        rebuilt: bool = own(self)
        if rebuilt and _core.tracing():
            _core.free_what_nobody_holds()
        return rebuilt

    return rebuild


def _noting_meshes() -> Undo:
    """Groups are told by the dimension of the mesh that they belong to.

    Meshes of two worlds, and of two ranks, are never equal: DTensor keeps what it once worked out
    by mesh, groups of ranks and all. What tells them apart is there for ranks that are threads.
    """
    from torch.distributed.device_mesh import DeviceMesh

    own, world = DeviceMesh.__init__, -next(_worlds)

    @functools.wraps(own)
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        own(self, *args, **kwargs)
        self._thread_id, self._hash = world, None
        note_mesh(self)

    return replaced(DeviceMesh, "__init__", made)
