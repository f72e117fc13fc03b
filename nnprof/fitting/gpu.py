"""The GPU that is meant: one with a data file, or so much memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nnprof.base.quantities import CARD, bytes_of, looks_like_size
from nnprof.errors import InputError
from nnprof.hardware import find
from nnprof.hardware.resolve import is_alias

if TYPE_CHECKING:
    from os import PathLike

    from nnprof.hardware import Hardware

__all__ = ["gpu_of", "is_size"]

#: What stands in for a GPU of which only the memory is known: its workspaces are the larger ones.
_LIKE = "h100-sxm"


def is_size(what: object) -> bool:
    """Is it a size ("80GB") rather than a device ("4090")?"""
    return isinstance(what, str) and looks_like_size(what) and not is_alias(what)


def gpu_of(what: Hardware | PathLike[str] | str) -> Hardware:
    """The device, or for "80GB" one with so much memory, as cards are sold: in GiB.

    Raises InputError: unknown, no GPU, a size without a unit or with an unknown one, or none.
    """
    if isinstance(what, str) and is_size(what):
        return _with_memory(bytes_of("hardware", what, CARD))
    device = find(what)
    if device.kind != "gpu":
        raise InputError(f"{device.name} is no GPU: name one, or its memory ('80GB')")
    return device


def _with_memory(size: int) -> Hardware:
    amount = f"{size / CARD['GB']:g}"
    return replace(
        find(_LIKE),
        name=f"{amount}GB",
        title=f"a GPU with {amount} GB",
        memory_bytes=size,
        process={},
        aliases=(),
        match=(),
    )
