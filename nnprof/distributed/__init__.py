"""One rank of many, in one process: parallel programs traced without the other ranks, or a GPU."""

from nnprof.distributed.world import world

__all__ = ["world"]
