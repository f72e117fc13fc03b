"""What a model and its run hold in memory."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Memory"]


@dataclass(frozen=True)
class Memory:
    """What stays in memory around the call, in bytes."""

    parameters: int  #: a tensor that several modules share counts once
    buffers: int
    #: The cache that `phase="prefill"` leaves or `phase="decode"` is given; 0 without a phase. Keys
    #: and values of attention, the states of state-space layers: what generation goes on with.
    kv_cache: int
    #: The same by layer, empty where the cache is not made of layers.
    kv_cache_by_layer: tuple[int, ...]
