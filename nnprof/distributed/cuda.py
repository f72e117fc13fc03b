"""What stands for `torch.cuda` in a world: a device that is not there, whose tensors are on meta.

Streams and events are objects that order nothing. Programs ask for them, for the number of devices
and for which is theirs, FSDP and DTensor among them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Device", "Event", "Stream"]


class Stream:
    """A stream of the device: only who it is."""

    def __init__(self, device: object = None, priority: int = 0, **_: object) -> None:
        self.device, self.priority = torch.device("meta"), priority

    def wait_stream(self, stream: Stream) -> None:
        pass

    def wait_event(self, event: Event) -> None:
        pass

    def record_event(self, event: Event | None = None) -> Event:
        return event if event is not None else Event()

    def synchronize(self) -> None:
        pass

    def query(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Event:
    """An event that has happened."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def record(self, stream: Stream | None = None) -> Self:
        return self

    def wait(self, stream: Stream | None = None) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def query(self) -> bool:
        return True

    def elapsed_time(self, end_event: Event) -> float:
        return 0.0


class Device:
    """The functions of `torch.cuda` by name, as they answer for one rank's device."""

    def __init__(self, number: int, on_node: int) -> None:
        self._number, self._on_node = number, on_node
        self._streams = [Stream()]

    def functions(self) -> dict[str, Callable[..., Any]]:
        """What to put in the place of `torch.cuda`'s own."""
        return {
            "Event": Event,
            "Stream": Stream,
            "current_device": lambda: self._number,
            "current_stream": self._current_stream,
            "default_stream": lambda device=None: self._streams[0],
            "device_count": lambda: self._on_node,
            "empty_cache": _nothing,
            "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
            "init": _nothing,
            "ipc_collect": _nothing,
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "manual_seed": _nothing,
            "manual_seed_all": _nothing,
            "mem_get_info": lambda device=None: (0, 0),
            "memory_allocated": lambda device=None: 0,
            "memory_reserved": lambda device=None: 0,
            "max_memory_allocated": lambda device=None: 0,
            "max_memory_reserved": lambda device=None: 0,
            "reset_peak_memory_stats": _nothing,
            "set_device": _nothing,
            "set_rng_state": _nothing,
            "set_stream": self._set_stream,
            "stream": self._stream,
            "synchronize": _nothing,
        }

    def _current_stream(self, device: object = None) -> Stream:
        return self._streams[-1]

    def _set_stream(self, stream: Stream) -> None:
        self._streams[-1] = stream

    @contextlib.contextmanager
    def _stream(self, stream: Stream | None) -> Iterator[None]:
        self._streams.append(stream if stream is not None else self._streams[-1])
        try:
            yield
        finally:
            self._streams.pop()


def _nothing(*_: object, **__: object) -> None:
    pass
