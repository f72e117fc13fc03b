"""What a device can do, in numbers: the record, and the two files it is read from.

A data file (TOML) is written by people and has the datasheets' units, one `source` a group; JSON is
what `save` writes, in SI units.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnprof.base.files import write_text
from nnprof.errors import InputError
from nnprof.hardware import time_model

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping

__all__ = ["PRECISIONS", "Hardware", "load"]

#: What matrix units may multiply. fp16 and bf16 are with fp32 accumulate, as PyTorch runs them.
PRECISIONS = ("fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4")

_KINDS = ("gpu", "cpu")
_SOURCES = ("datasheet", "derived", "measured")

#: MiB that no allocator knows of: the least, the usual and the most that was seen.
_CONTEXT = ("context_low", "context", "context_high")
_MHZ = 1e6
_TERA = 1e12
_GB = 1e9
_MIB = 2**20
_GIB = 2**30


@dataclass(frozen=True)
class Hardware:
    """One device. All numbers are SI: FLOP/s (int8: operations/s), bytes, B/s, Hz, seconds."""

    name: str
    title: str
    kind: str  # "gpu" or "cpu"
    architecture: str  # which others share its constants: "hopper", "ada-geforce", "x86"...
    compute_units: int  # SMs of NVIDIA, CUs of AMD, cores
    clock_hz: float  # of the ordinary units, boosted
    cache_bytes: int  # the last cache before the memory
    memory_bytes: int
    bandwidth: float  # B/s of the memory
    #: Dense peak of a matrix product by precision; a precision that the device lacks is absent.
    #: Where no matrix unit takes a precision (fp32 on NVIDIA), the peak of the ordinary units.
    flops: Mapping[str, float]
    vector_flops: Mapping[str, float]  # of the ordinary units
    constants: Mapping[str, float] = field(default_factory=dict)  # replace those of the time model
    source: str = "datasheet"  # or "derived" (from driver properties), "measured" (calibrated)
    sources: tuple[str, ...] = ()  # where each group of numbers is from
    #: How far estimates were off on the device itself: op class -> {"mape", "p90", "n"}.
    residuals: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    match: tuple[str, ...] = ()  # the names that drivers give it
    #: What a process has of it and takes of it beside its tensors: over process_memory.toml.
    process: Mapping[str, float] = field(default_factory=dict)
    #: What a calibration ran on: "device", "uuid" or "threads", and whatever else it recorded.
    calibration: Mapping[str, str | float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold, in the order of the fields."""
        return {entry.name: _plain(getattr(self, entry.name)) for entry in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "hardware") -> Hardware:
        """The inverse of `to_dict`; an `InputError` names `where` and the key that is wrong."""
        table = _Table(values, where)
        hardware = cls(
            name=table.text("name"),
            title=table.text("title"),
            kind=table.choice("kind", _KINDS),
            architecture=table.text("architecture"),
            compute_units=table.count("compute_units"),
            clock_hz=table.positive("clock_hz"),
            cache_bytes=table.count("cache_bytes"),
            memory_bytes=table.count("memory_bytes"),
            process=table.table("process", default={}).numbers(),
            bandwidth=table.positive("bandwidth"),
            flops=table.table("flops").precisions(),
            vector_flops=table.table("vector_flops").precisions(),
            constants=table.table("constants", default={}).numbers(),
            source=table.choice("source", _SOURCES, default="datasheet"),
            sources=table.texts("sources"),
            residuals=table.table("residuals", default={}).tables_of_numbers(),
            notes=table.texts("notes"),
            aliases=table.texts("aliases"),
            match=table.texts("match"),
            calibration=table.table("calibration", default={}).facts(),
        )
        table.refuse_unread()
        hardware._check(where)
        return hardware

    def _check(self, where: str) -> None:
        if "fp32" not in self.vector_flops:
            raise InputError(f"{where}: the ordinary units have no fp32 peak")
        known = time_model.constants(self.kind, self.architecture)
        for name in self.constants:
            if name not in known:
                raise InputError(f"{where}: constants: {_unknown(name, known, 'constant')}")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes JSON that `find` reads back; the path must end in .json."""
        target = Path(path)
        if target.suffix.lower() != ".json":
            raise InputError(f"{target}: hardware is saved as JSON: name the file .json")
        write_text(target, json.dumps(self.to_dict(), indent=2) + "\n")

    def model_constants(self) -> dict[str, float]:
        """Every constant of the time model as it is for this device, by dotted name."""
        return time_model.constants(self.kind, self.architecture) | dict(self.constants)


def load(path: str | os.PathLike[str]) -> Hardware:
    """Reads a device's data file, .toml as in nnprof/hardware/devices or .json as `save` writes.

    Raises InputError, with the file and the key that is wrong.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{file} cannot be read: {reason}") from error
    kind = file.suffix.lower()
    if kind not in (".toml", ".json"):
        raise InputError(f"{file}: a device's data file ends in .toml or .json")
    try:
        values = tomllib.loads(text) if kind == ".toml" else json.loads(text)
    except ValueError as error:
        raise InputError(f"{file} is no {kind[1:].upper()}: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{file}: a table of values is expected, not {_type(values)}")
    if kind == ".json":
        return Hardware.from_dict(values, str(file))
    return _from_toml(values, file)


def _from_toml(values: dict[str, Any], file: Path) -> Hardware:
    where = str(file)
    table = _Table(values, where)
    units, memory = table.table("units"), table.table("memory")
    process = table.table("process", default={})
    matrix, vector = table.table("matrix_tflops", default={}), table.table("vector_tflops")
    groups = {
        "units": units,
        "matrix peaks": matrix,
        "ordinary peaks": vector,
        "memory": memory,
        "process": process,
    }
    sources = tuple(f"{name}: {group.text('source')}" for name, group in groups.items() if group)
    ordinary = {name: value * _TERA for name, value in vector.precisions().items()}
    hardware = Hardware(
        name=file.stem,
        title=table.text("title"),
        kind=table.choice("kind", _KINDS),
        architecture=table.text("architecture"),
        compute_units=units.count("compute_units"),
        clock_hz=units.positive("clock_mhz") * _MHZ,
        cache_bytes=round(memory.positive("cache_mib") * _MIB),
        memory_bytes=round(memory.positive("gib") * _GIB),
        process=_process(process),
        bandwidth=memory.positive("gb_per_s") * _GB,
        flops=_ordered(
            ordinary | {name: value * _TERA for name, value in matrix.precisions().items()}
        ),
        vector_flops=ordinary,
        constants=time_model.flatten(table.table("constants", default={}).values),
        source=table.choice("source", _SOURCES, default="datasheet"),
        sources=sources,
        notes=table.texts("notes"),
        aliases=table.texts("aliases"),
        match=table.texts("match"),
    )
    for group in (units, memory, process, table):
        group.refuse_unread()
    hardware._check(where)
    return hardware


def _process(table: _Table) -> dict[str, float]:
    if not table:
        return {}
    total = round(table.positive("total_gib") * _GIB)
    return {"total": total} | dict(zip(_CONTEXT, table.rising("context_mib", 3), strict=True))


class _Table:
    """A table of a file: reads keys with their types, and knows which nobody read."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = dict(values)
        self._where = where
        self._read: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.values)

    def _get(self, key: str, default: Any = None) -> Any:
        self._read.add(key)
        value = self.values.get(key, default)
        if value is None:
            raise InputError(f"{self._where}: {key!r} is missing")
        return value

    def _wrong(self, key: str, expected: str) -> InputError:
        return InputError(f"{self._where}: {key!r} must be {expected}, not {self.values[key]!r}")

    def text(self, key: str) -> str:
        value = self._get(key)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(key, "a text")
        return value

    def choice(self, key: str, known: Collection[str], default: str | None = None) -> str:
        value = self._get(key, default)
        if value not in known:
            raise self._wrong(key, " or ".join(map(repr, known)))
        return str(value)

    def positive(self, key: str) -> float:
        value = self._get(key)
        if not _is_number(value) or not 0 < value < float("inf"):
            raise self._wrong(key, "a positive number")
        return float(value)

    def count(self, key: str) -> int:
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._wrong(key, "a positive whole number")
        return value

    def rising(self, key: str, length: int) -> list[float]:
        value = self._get(key)
        numbers = isinstance(value, list) and all(map(_is_number, value))
        if not numbers or len(value) != length or value != sorted(value) or value[0] <= 0:
            raise self._wrong(key, f"{length} positive numbers, none less than the one before")
        return [float(number) for number in value]

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._get(key, default=())
        if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
            raise self._wrong(key, "a list of texts")
        return tuple(value)

    def table(self, key: str, default: Mapping[str, Any] | None = None) -> _Table:
        value = self._get(key, default)
        if not isinstance(value, dict):
            raise self._wrong(key, "a table")
        return _Table(value, f"{self._where}: {key}")

    def precisions(self) -> dict[str, float]:
        """All positive numbers, by the known precisions; beside them only `source`."""
        found = {}
        for key in self.values:
            if key == "source":
                continue
            if key not in PRECISIONS:
                raise InputError(f"{self._where}: {_unknown(key, PRECISIONS, 'precision')}")
            found[key] = self.positive(key)
        return _ordered(found)

    def numbers(self) -> dict[str, float]:
        for key, value in self.values.items():
            if not _is_number(value):
                raise self._wrong(key, "a number")
        return {key: float(value) for key, value in self.values.items()}

    def tables_of_numbers(self) -> dict[str, dict[str, float]]:
        return {key: self.table(key).numbers() for key in self.values}

    def facts(self) -> dict[str, str | float]:
        for key, value in self.values.items():
            if not isinstance(value, str) and not _is_number(value):
                raise self._wrong(key, "a text or a number")
        return dict(self.values)

    def refuse_unread(self) -> None:
        for key in self.values:
            if key not in self._read:
                raise InputError(f"{self._where}: {_unknown(key, self._read, 'key')}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _ordered(peaks: Mapping[str, float]) -> dict[str, float]:
    return {name: peaks[name] for name in PRECISIONS if name in peaks}


def _unknown(name: str, known: Collection[str], what: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"no {what} is called {name!r}: {hint}"


def _type(value: Any) -> str:
    return type(value).__name__


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value
