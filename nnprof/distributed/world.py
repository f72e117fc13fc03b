"""`nnprof.world`: this process as one rank of many that are not there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from torch import distributed as dist

from nnprof import _core
from nnprof.base.process import Undo, undo_all
from nnprof.distributed import stand_ins
from nnprof.distributed.cuda import Device
from nnprof.errors import InputError
from nnprof.tracing.groups import set_gpus_per_node

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["world"]


class world:  # noqa: N801  a context manager, named and used like nnprof.trace
    """Code inside runs as rank `rank` of `size`, without the others and without their devices.

    There is a process group of that size, on which nothing is sent; device "cuda" is there, and
    what is made on it is on meta. Build a model in it, with PyTorch's own parallel code (FSDP2,
    DTensor and tensor parallel plans, HSDP, meshes of several dimensions), and measure it there:
    its counts, its memory and its collectives are those of this rank.

    What is built inside is to be thrown away: it has no values, and it is of no use outside. At the
    end the process is as it was: its environment, process group, and what stood in for others.

    Args:
        size: number of ranks. Default: the process group that exists, real or fake, is adopted;
            nothing is sent on it in a trace.
        rank: which of them this process is.
        gpus_per_node: devices of a node: how many `torch.cuda.device_count()` tells, and which
            collectives leave a node.

    Raises InputError: where a size is not a positive whole number, the rank none of the world's,
    there is a process group already, or none to adopt; inside of another world.
    """

    def __init__(
        self,
        size: int | None = None,
        rank: int = 0,
        *,
        gpus_per_node: int = 8,
    ) -> None:
        _check(size, rank, gpus_per_node)
        self._size, self._rank, self._on_node = size, rank, gpus_per_node
        self._undo: list[Undo] = []

    @property
    def size(self) -> int:
        """Number of ranks."""
        return self._size if self._size is not None else dist.get_world_size()

    @property
    def gpus_per_node(self) -> int:
        """Devices of a node."""
        return self._on_node

    def __enter__(self) -> Self:
        global _current
        if _current is not None:
            raise InputError("a world inside another one: end the outer one first")
        exists = dist.is_initialized()
        if self._size is not None and exists:
            raise InputError(
                "there is a process group already: call nnprof.world() without a size to adopt it, "
                "or dist.destroy_process_group() first"
            )
        if self._size is None and not exists:
            raise InputError("there is no process group to adopt: say how many ranks, world(size)")
        try:
            self._start()
        except BaseException:
            undo_all(self._undo)
            raise
        _current = self
        return self

    def _start(self) -> None:
        if self._size is not None:
            self._undo.append(_environment(self._rank, self._size, self._on_node))
            self._undo += stand_ins.make_group(self._rank, self._size)
        local = dist.get_rank() % self._on_node
        before = set_gpus_per_node(self._on_node)
        self._undo.append(lambda: set_gpus_per_node(before))
        self._undo += stand_ins.put_in_place(Device(local, self._on_node))
        _core.enter_world()
        self._undo.append(_core.leave_world)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _current
        _current = None
        undo_all(self._undo)


_current: world | None = None


def _check(size: int | None, rank: int, gpus_per_node: int) -> None:
    if size is not None:
        _check_number("size", size, 1)
    _check_number("rank", rank, 0)
    _check_number("gpus_per_node", gpus_per_node, 1)
    if size is not None and rank >= size:
        raise InputError(f"rank {rank} is none of a world of {size}: they go from 0 to {size - 1}")


def _check_number(name: str, number: object, least: int) -> None:
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise InputError(f"{name}= must be a whole number from {least} on, not {number!r}")


def _environment(rank: int, size: int, on_node: int) -> Undo:
    """Sets what torchrun would; returns what puts back what was there."""
    local = min(on_node, size)
    told = {
        "RANK": rank,
        "WORLD_SIZE": size,
        "LOCAL_RANK": rank % local,
        "LOCAL_WORLD_SIZE": local,
        "GROUP_RANK": rank // local,
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": 29500,
    }
    before = {name: os.environ.get(name) for name in told}
    os.environ.update({name: str(value) for name, value in told.items()})

    def restore() -> None:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    return restore
