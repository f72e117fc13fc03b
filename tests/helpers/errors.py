"""Do two errors say the same? What a trace raises is also of the class that PyTorch raises."""

from __future__ import annotations

import re

__all__ = ["agrees", "class_of", "reason_of"]


def class_of(error: BaseException) -> type[BaseException]:
    """PyTorch's or Python's own class of an error, whatever of ours it is besides."""
    kinds = type(error).__mro__
    return next(kind for kind in kinds if not kind.__module__.startswith("nnprof"))


def reason_of(error: BaseException) -> str:
    """The first sentence of its text, up to a colon."""
    return re.split(r"[.:\n]", str(error).strip(), maxsplit=1)[0]


def agrees(raised: BaseException, expected: BaseException) -> bool:
    """Does who catches the class of what PyTorch raises catch what a trace raises?"""
    return isinstance(raised, class_of(expected))
