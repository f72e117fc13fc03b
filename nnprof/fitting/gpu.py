"""The GPU that is meant: one with a data file, or so much memory."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from nnprof.errors import InputError
from nnprof.hardware import find

if TYPE_CHECKING:
    from os import PathLike

    from nnprof.hardware import Hardware

__all__ = ["gpu_of", "is_size"]

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(gib|gb)?\s*", re.IGNORECASE)
_GIB = 1 << 30
#: What stands in for a GPU of which only the memory is known: its workspaces are the larger ones.
_LIKE = "h100-sxm"


def is_size(what: object) -> bool:
    """Is it a size ("80GB") rather than a device?"""
    return isinstance(what, str) and _SIZE.fullmatch(what) is not None


def gpu_of(what: Hardware | PathLike[str] | str) -> Hardware:
    """The device, or for "80GB" one with so much memory, as cards are sold: in GiB.

    Raises InputError: unknown, no GPU, a size without a unit, or none.
    """
    size = _SIZE.fullmatch(what) if isinstance(what, str) else None
    if size is None:
        device = find(what)
        if device.kind != "gpu":
            raise InputError(f"{device.name} is no GPU: name one, or its memory ('80GB')")
        return device
    if size[2] is None:
        raise InputError(f"hardware={what!r} is a size without a unit: write '{size[1]}GB'")
    if float(size[1]) <= 0:
        raise InputError(f"hardware={what!r}: no GPU has so little memory")
    name = f"{float(size[1]):g}GB"
    return replace(
        find(_LIKE),
        name=name,
        title=f"a GPU with {float(size[1]):g} GB",
        memory_bytes=round(float(size[1]) * _GIB),
        process={},
        aliases=(),
        match=(),
    )
