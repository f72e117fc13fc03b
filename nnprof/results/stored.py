"""A profile as JSON: everything, so that a loaded profile answers as the first one did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnprof.errors import InputError
from nnprof.results.profile import Profile
from nnprof.results.records import ModelFacts, StoredTrace
from nnprof.results.times import Times

if TYPE_CHECKING:
    from os import PathLike

    from nnprof.report.options import TableOptions

__all__ = ["FORMAT", "VERSION", "from_dict", "load", "render", "to_dict"]

FORMAT = "nnprof-profile"
#: Raised when a reader of the older form would go wrong; new keys alone do not raise it.
VERSION = 1


def to_dict(profile: Profile) -> dict[str, Any]:
    """The profile as plain data: format, version, model, trace_s and all that the trace holds."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": profile.facts.to_dict(),
        "trace_s": profile.trace_s,
        **StoredTrace.to_dict(profile.data),
        "times": profile.times.to_dict() if profile.times is not None else None,
    }


def from_dict(stored: Any) -> Profile:
    """The profile that `to_dict` was made of; raises `InputError` for anything else."""
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise InputError("this is not a profile saved by nnprof (save one with a .json suffix)")
    if stored["version"] > VERSION:
        raise InputError(
            f"this profile has form {stored['version']}, newer than the {VERSION} known here: "
            "update nnprof"
        )
    data = StoredTrace(stored)
    times = stored.get("times")
    known = Times.from_dict(data, times) if times else None
    return Profile(data, ModelFacts.from_dict(stored["model"]), stored["trace_s"], known)


def load(path: str | PathLike[str]) -> Profile:
    """The profile in a .json file; raises `InputError` where the file holds no profile."""
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot read a profile from {path}: {error}") from error
    return from_dict(stored)


def render(profile: Profile, options: TableOptions | None = None) -> str:
    """The profile as JSON text. No option applies."""
    return json.dumps(to_dict(profile), separators=(",", ":")) + "\n"
