"""What a real run keeps and allocates, as PyTorch itself tells: what the tests compare with."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor


def bytes_of(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@contextmanager
def saved_by_autograd() -> Iterator[list[int]]:
    """Fills a list with the bytes of each tensor that is kept for the backward pass meanwhile."""
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(bytes_of(tensor))
        return tensor

    def unpack(tensor: Any) -> Any:
        return tensor

    with saved_tensors_hooks(pack, unpack):
        yield kept


def allocations(step: Callable[[], object]) -> list[int]:
    """Bytes that a real run allocates (and, below zero, frees) on the CPU, in order."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    assert profiler.profiler is not None
    found: list[tuple[int, int]] = []
    waiting = list(profiler.profiler.kineto_results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        if event.tag.name == "Allocation":
            found.append((event.start_time_ns, event.extra_fields.alloc_size))
        waiting += event.children
    return [size for _, size in sorted(found, key=lambda one: one[0])]


@contextmanager
def one_thread() -> Iterator[None]:
    """The profiler sees what this thread allocates, and no other one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Memory:
    """Bytes beyond what was there before: the highest, and what a step leaves."""

    peak: int
    left: int


def real_memory(step: Callable[[], object]) -> Memory:
    peak = now = 0
    for size in allocations(step):
        now += size
        peak = max(peak, now)
    return Memory(peak, now)
