"""Names of devices that have a data file: its own, aliases, what drivers call them."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from nnprof.errors import InputError
from nnprof.hardware.spec import Hardware, load

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEVICES", "by_driver_name", "is_alias", "named", "names"]

DEVICES = Path(__file__).with_name("devices")

# Words of a driver's name that come and go with its version. Any other word ("NVL", "Ti", "Laptop",
# "D") makes it another device.
_HARMLESS = frozenset({"nvidia", "amd", "tesla", "geforce", "instinct", "corporation", "gpu"})


def names() -> list[str]:
    """The devices that have a data file."""
    return sorted(_files())


def is_alias(name: str) -> bool:
    """Is a data file called so, for short or in full?"""
    return _key(name) in _by_alias()


def named(name: str) -> Hardware:
    """The data file that is called so, for short too, or by a driver.

    Raises `InputError` with close matches where there is none.
    """
    file = _by_alias().get(_key(name))
    if file is not None:
        return load(file)
    found = by_driver_name(name)
    if found is None:
        raise InputError(_no_such(name))
    return found


def by_driver_name(name: str) -> Hardware | None:
    """The data file with this driver's name in its `match`, if there is one."""
    file = _by_match().get(_significant(name))
    return load(file) if file is not None else None


def _significant(name: str) -> str:
    # All other words must agree, so that L4 is not found in L40S, nor H100 in "H100 NVL".
    return "-".join(word for word in _words(name) if word not in _HARMLESS)


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.lower())


def _key(name: str) -> str:
    return "-".join(_words(name))


@cache
def _files() -> Mapping[str, Path]:
    return {file.stem: file for file in sorted(DEVICES.glob("*.toml"))}


@cache
def _by_alias() -> Mapping[str, Path]:
    return _index({file: (name, *map(_key, load(file).aliases)) for name, file in _files().items()})


@cache
def _by_match() -> Mapping[str, Path]:
    return _index({file: tuple(map(_significant, load(file).match)) for file in _files().values()})


def _index(named: Mapping[Path, tuple[str, ...]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file, every in named.items():
        for name in every:
            other = found.setdefault(name, file)
            if other != file:
                raise InputError(f"{file} and {other} are both called {name!r}")
    return found


def _no_such(name: str) -> str:
    # Words that many devices share ("NVIDIA") would make any two of them look alike.
    key = _significant(name)
    near = get_close_matches(key, _by_alias(), n=5)
    near += [one for one in _by_alias() if set(_words(one)) & set(_words(key))]
    every = list(dict.fromkeys(_by_alias()[one].stem for one in near))[:3]
    hint = f"did you mean {' or '.join(every)}?" if every else f"known are {', '.join(names())}."
    return f"no hardware is called {name!r}: {hint} {_HELP}"


_HELP = (
    "A GPU without a data file is derived from its properties where it is (hardware='cuda'); "
    "elsewhere pass the path of a .toml with its numbers"
)
