"""PYTORCH_ALLOC_CONF: what it chooses of the caching allocator that is simulated."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["parse", "text_of"]

_MIB = 1 << 20
#: The newer name wins, as in torch.
_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
#: Of other allocators or of the host: they change nothing here.
_ELSEWHERE = (
    "graph_capture_record_stream_reuse",
    "pinned_max_round_threshold_mb",
    "pinned_max_power2_size",
    "pinned_num_register_threads",
    "pinned_reserve_segment_size_mb",
    "pinned_use_background_threads",
    "pinned_use_cuda_host_register",
    "pinned_use_hip_host_register",
    "release_lock_on_cudamalloc",
    "release_lock_on_hipmalloc",
    "use_async_allocator",
)
_SMALLEST_SPLIT_MB = 20  # torch refuses less: it is the size of a segment


def text_of(conf: str | None) -> str:
    """`conf`, or what the environment says where it is None; "" for torch's defaults."""
    if conf is not None:
        return conf
    return next((os.environ[name] for name in _VARIABLES if name in os.environ), "")


def parse(conf: str | None = None) -> dict[str, Any]:
    """The arguments of `_core.AllocatorOptions` but for the capacity; sizes are bytes.

    Args:
        conf: as in PYTORCH_ALLOC_CONF ("expandable_segments:True,max_split_size_mb:128"). None:
            that variable, or PYTORCH_CUDA_ALLOC_CONF.

    Raises:
        InputError: torch would refuse it, or it asks for what is not simulated.
    """
    options: dict[str, Any] = {}
    for name, value in _pairs(text_of(conf)):
        if name in _ELSEWHERE:
            continue
        read = _OPTIONS.get(name)
        if read is None:
            raise InputError(
                f"alloc_conf: no option {name!r}: there are {', '.join(sorted(_OPTIONS))}"
            )
        options |= read(name, value)
    return options


def _pairs(text: str) -> list[tuple[str, str]]:
    # Lists in brackets have commas and colons of their own.
    entries = re.findall(r"[^,\[\]]+(?:\[[^\]]*\])?", text)
    pairs = []
    for entry in entries:
        name, colon, value = entry.strip().partition(":")
        if not colon:
            raise InputError(f"alloc_conf: {entry.strip()!r} has no value: write option:value")
        pairs.append((name.strip(), value.strip()))
    return pairs


def _wrong(name: str, value: str, expected: str) -> InputError:
    return InputError(f"alloc_conf: {name} must be {expected}, not {value!r}")


def _expandable(name: str, value: str) -> dict[str, Any]:
    if value not in ("True", "False"):
        raise _wrong(name, value, "True or False")
    return {"expandable_segments": value == "True"}


def _megabytes(option: str, least: int) -> Callable[[str, str], dict[str, Any]]:
    def read(name: str, value: str) -> dict[str, Any]:
        if not value.isdecimal() or int(value) <= least:
            raise _wrong(name, value, f"a whole number above {least}")
        return {option: int(value) * _MIB}

    return read


def _share(option: str) -> Callable[[str, str], dict[str, Any]]:
    def read(name: str, value: str) -> dict[str, Any]:
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not 0 < share < 1:
            raise _wrong(name, value, "a number between 0 and 1")
        return {option: share}

    return read


def _is_divisions(text: str) -> bool:
    return text.isdecimal() and (int(text) == 0 or int(text).bit_count() == 1)


def _divisions(name: str, value: str) -> dict[str, Any]:
    expected = "a power of two, or a list such as [256:1,512:2,>:4]"
    if not value.startswith("["):
        if not _is_divisions(value):
            raise _wrong(name, value, expected)
        return {"roundup_power2_divisions": [(1, int(value))]}
    steps = []
    for entry in value.strip("[]").split(","):
        below, _, into = entry.partition(":")
        last = below.strip() == ">"
        if not _is_divisions(into.strip()) or not (last or below.strip().isdecimal()):
            raise _wrong(name, value, expected)
        steps.append((1 << 62 if last else int(below) * _MIB, int(into)))
    return {"roundup_power2_divisions": steps}


def _backend(name: str, value: str) -> dict[str, Any]:
    if value != "native":
        raise InputError(f"alloc_conf: {name}:{value} is not simulated: only the native allocator")
    return {}


_OPTIONS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "backend": _backend,
    "expandable_segments": _expandable,
    "garbage_collection_threshold": _share("garbage_collection_threshold"),
    "max_non_split_rounding_mb": _megabytes("max_non_split_rounding", _SMALLEST_SPLIT_MB),
    "max_split_size_mb": _megabytes("max_split_size", _SMALLEST_SPLIT_MB),
    "per_process_memory_fraction": _share("allowed"),
    "roundup_power2_divisions": _divisions,
}
