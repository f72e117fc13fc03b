"""The device that a user means: of a data file, of a file of their own, or the one that is here."""

from __future__ import annotations

import os
import re

from nnprof.errors import InputError
from nnprof.hardware.cpu import described
from nnprof.hardware.detect import for_device
from nnprof.hardware.resolve import named
from nnprof.hardware.spec import Hardware, load

__all__ = ["find"]

_LOCAL = re.compile(r"(cpu|cuda)(:\d+)?")


def find(what: str | os.PathLike[str] | Hardware) -> Hardware:
    """The device that is meant: case and spaces do not matter.

    Args:
        what: the name of a data file ("h100-sxm") or its short form ("h100"); what a driver calls
            the device ("NVIDIA A100-SXM4-80GB"); a path to a .toml or .json; "cpu" or "cuda" for
            the device that is here; "x86:cores=16,ghz=3.0,simd=avx512" for a CPU that is not.

    Raises:
        InputError: there is no such device; the message has close matches.
    """
    if isinstance(what, Hardware):
        return what
    if isinstance(what, os.PathLike):
        return load(what)
    if not isinstance(what, str):
        raise InputError(f"hardware is a name, a path or a Hardware, not {type(what).__name__}")
    name = what.strip().lower()
    if name.endswith((".toml", ".json")) or os.sep in name:
        return load(what)
    if _LOCAL.fullmatch(name):
        return for_device(name)
    if name.startswith("x86:"):
        return described(what.strip()[len("x86:") :])
    return named(what)
