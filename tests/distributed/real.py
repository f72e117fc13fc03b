"""What real ranks do, as PyTorch's profiler tells: processes on gloo, one set for each world size.

Run as a program, it is one rank: it runs the cases of its world and writes what it saw.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import distributed as dist
from torch.profiler import ProfilerActivity, profile

from tests.distributed.cases import CASES

if TYPE_CHECKING:
    from collections.abc import Callable

_COLLECTIVES = ("c10d::", "_c10d_functional::")
_NOT_SENT = ("wait_tensor", "_wrap_tensor_autograd")
_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm")
_LIMIT_S = 300


class Ranks:
    """The processes of a world that run some cases, while others do something else."""

    def __init__(self, size: int, names: list[str], folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        program = [sys.executable, "-m", "tests.distributed.real"]
        addresses = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
        self._ranks = [
            subprocess.Popen(
                [*program, str(size), str(rank), str(folder), *names],
                cwd=Path(__file__).parents[2],
                env={**os.environ, **addresses},
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(size)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for rank in self._ranks:
            rank.kill()
            rank.wait()

    def seen(self) -> dict[str, list[dict[str, Any]]]:
        """By case, what each rank saw in the step that is looked at."""
        said = [rank.communicate(timeout=_LIMIT_S)[1] for rank in self._ranks]
        for rank, errors in zip(self._ranks, said, strict=True):
            assert rank.returncode == 0, errors
        numbers = range(len(self._ranks))
        found = [json.loads((self._folder / f"{rank}.json").read_text()) for rank in numbers]
        return {name: [rank[name] for rank in found] for name in found[0]}


def _events(step: Callable[[], object]) -> list[Any]:
    """All events of the calling thread, in order, with their parents."""
    activities = [ProfilerActivity.CPU]
    with profile(activities=activities, profile_memory=True, record_shapes=True) as profiler:
        step()
    assert profiler.profiler is not None
    found: list[Any] = []
    waiting = list(profiler.profiler.kineto_results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        found.append(event)
        waiting += event.children
    return sorted(found, key=lambda event: event.start_time_ns)


def _is_collective(event: Any) -> bool:
    return event.tag.name == "TorchOp" and event.name.startswith(_COLLECTIVES)


def _is_of_backend(event: Any) -> bool:
    """A functional collective makes its result itself, and calls one of the backend's."""
    return event.name.startswith(("c10d::", "gloo:"))


def _inside(event: Any, is_it: Callable[[Any], bool]) -> Any:
    """The outermost event around this one that is such."""
    found, parent = None, event.parent
    while parent is not None:
        if is_it(parent):
            found = parent
        parent = parent.parent
    return found


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [tensor for item in value for tensor in _tensors(item)]
    return [value] if hasattr(value, "sizes") and hasattr(value, "dtype") else []


def _bytes(tensor: Any) -> int:
    count = tensor.dtype.itemsize
    for size in tensor.sizes:
        count *= size
    return count


def _collectives(events: list[Any]) -> list[list[Any]]:
    """Operator and bytes of each tensor among the arguments, in the order of the calls."""
    return [
        [event.name, [_bytes(tensor) for tensor in _tensors(list(event.extra_fields.inputs))]]
        for event in events
        if _is_collective(event)
        and _inside(event, _is_collective) is None
        and not event.name.endswith(_NOT_SENT)
    ]


def _peak(events: list[Any]) -> int:
    """Bytes beyond those at the start, without the two that are not the program's.

    Buffers that the backend takes inside a collective; and what one product of matrices takes and
    gives back (oneDNN's). Not told is what gloo's threads free, though memory that is taken again
    was, and what is freed that was there before. So the least of several steps is the right one.
    """
    frees: dict[int, list[int]] = {}
    for event in events:
        if event.tag.name == "Allocation" and event.extra_fields.alloc_size < 0:
            frees.setdefault(event.extra_fields.ptr, []).append(event.start_time_ns)
    held: dict[int, int] = {}
    others: set[int] = set()
    now = peak = 0
    for event in events:
        if event.tag.name != "Allocation":
            continue
        address, size = event.extra_fields.ptr, event.extra_fields.alloc_size
        if size > 0:
            now += size - held.pop(address, 0)
            held[address] = size
            if _is_other(event, frees):
                now -= held.pop(address)
                others.add(address)
            peak = max(peak, now)
        elif address in others:
            others.discard(address)
        else:
            now += size
            held.pop(address, None)
    return peak


def _is_other(event: Any, frees: dict[int, list[int]]) -> bool:
    """Is the block the backend's, or the working memory of a product of matrices?"""
    if _inside(event, _is_of_backend) is not None:
        return True
    product = _inside(event, lambda around: around.name in _PRODUCTS)
    if product is None:
        return False
    return any(
        event.start_time_ns <= time <= product.end_time_ns
        for time in frees.get(event.extra_fields.ptr, ())
    )


def _main(size: int, rank: int, folder: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=size)
    seen = {}
    for name in names:
        case = CASES[name]
        program = case.build("cpu")
        for _ in range(case.steps_before):
            program.step()
        gc.collect()
        steps = [_events(program.step) for _ in range(case.looks)]
        seen[name] = {"collectives": _collectives(steps[0]), "peak": min(map(_peak, steps))}
        del program, steps
    (folder / f"{rank}.json").write_text(json.dumps(seen))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
