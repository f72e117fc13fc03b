"""Whether a copy fits on the device: asked before anything is allocated there."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch

__all__ = ["free_bytes", "why_not"]

#: What a forward needs in the end is not known before. An accelerator that runs out of memory says
#: so; a host may end the process, so it keeps more to spare.
_SPARE = {"cpu": 1.25}
_SPARE_OF_ACCELERATORS = 1.1


def why_not(device: torch.device, needed: int, limit: int | None) -> str | None:
    """Why so many bytes do not fit on `device`, or None; `limit` stands for what is free."""
    needed = int(needed * _SPARE.get(device.type, _SPARE_OF_ACCELERATORS))
    room = free_bytes(device) if limit is None else limit
    if room is None or needed <= room:
        return None
    rest = "are free" if limit is None else "are allowed"
    return f"does not fit: needs {_size(needed)}, {_size(room)} {rest}"


def free_bytes(device: torch.device) -> int | None:
    """What can still be allocated there; None where nobody knows."""
    if device.type == "cpu":
        return _free_host_bytes()
    module = torch.get_device_module(device)
    with suppress(AttributeError, RuntimeError, NotImplementedError):
        free: int = module.mem_get_info(device)[0]
        # What torch keeps for its next allocations is free to us.
        return free + int(module.memory_reserved(device)) - int(module.memory_allocated(device))
    return None


def _free_host_bytes() -> int | None:
    free = [*_available_in_machine(), *_available_in_group()]
    return min(free, default=None)


def _available_in_machine() -> list[int]:
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return [int(line.split()[1]) * 1024]
    with suppress(OSError, ValueError, AttributeError):  # elsewhere than on Linux
        return [os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    return []


def _available_in_group() -> list[int]:
    """What a container may still take: the kernel's limits for its control group."""
    for root, limit, used in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # no such group, or its limit is "max"
            allowed = int(Path(root, limit).read_text())
            return [max(allowed - int(Path(root, used).read_text()) + _cached(root), 0)]
    return []


def _cached(root: str) -> int:
    """Files that the kernel drops from the group's memory when it is short."""
    with suppress(OSError):
        for line in Path(root, "memory.stat").read_text().splitlines():
            name, _, size = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(size)
    return 0


def _size(size: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return (
                f"{size / unit:.3g} {name}" if size < 1000 * unit else f"{size / unit:.0f} {name}"
            )
    return f"{size} bytes"
