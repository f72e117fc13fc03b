"""The constants of the time model: what time_model.toml says for a kind of device."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["constants", "flatten", "merged"]

FILE = Path(__file__).with_suffix(".toml")


def constants(kind: str, architecture: str) -> dict[str, float]:
    """Those of the time model."""
    return merged(FILE, kind, architecture)


def merged(file: Path, kind: str, architecture: str) -> dict[str, float]:
    """[default], over it [kind.<kind>], over both [architecture.<architecture>], flattened."""
    tables = _tables(file)
    return {
        **flatten(tables.get("default", {})),
        **flatten(tables.get("kind", {}).get(kind, {})),
        **flatten(tables.get("architecture", {}).get(architecture, {})),
    }


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """{"bandwidth": {"softmax": 0.5}} as {"bandwidth.softmax": 0.5}."""
    flat: dict[str, float] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flatten(value, f"{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            flat[name] = float(value)
        else:
            raise InputError(f"the constant {name!r} of the time model must be a number: {value!r}")
    return flat


@cache
def _tables(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return tomllib.load(file)
