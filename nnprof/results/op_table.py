"""The recorded operator calls as NumPy columns."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from nnprof.errors import InputError, MissingExtraError
from nnprof.results.columns import counts_together

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from nnprof.results.records import TraceData
    from nnprof.results.times import Times

__all__ = ["OpTable"]

_COUNTS = (
    "macs", "flops", "flops_executed", "flops_needed", "bytes_read", "bytes_written", "saved_bytes"
)  # fmt: skip


class OpTable:
    """One row a recorded operator call, in call order, as NumPy columns: `ops["macs"]`.

    Columns: op, scope (the module's path), phase, signature (equal numbers are equal calls), macs,
    flops, flops_executed, flops_needed, bytes_read, bytes_written, bytes, input_shapes,
    output_shapes, dtype, ruled; where times are known also op_class, estimated_s, bound, measured_s
    (NaN where not measured), status.

    Counts are int64. Where their sums would come near 2^63, at which int64 wraps, those columns are
    of Python ints (dtype object).
    """

    def __init__(self, data: TraceData, times: Times | None = None) -> None:
        self._data = data
        self._times = times

    @cached_property
    def columns(self) -> dict[str, np.ndarray[Any, Any]]:
        """Column name -> array, all of the same length."""
        recorded = self._data.ops()
        counts = counts_together({name: recorded[name] for name in _COUNTS if name in recorded})
        columns = {name: counts.get(name, values) for name, values in recorded.items()}
        columns = {name: _column(values) for name, values in columns.items()}
        paths = _column([row["path"] for row in self._data.layers()])
        if len(self._data.layers()):
            columns["scope"] = paths[columns["scope"].astype("int64")]
        columns["bytes"] = columns["bytes_read"] + columns["bytes_written"]
        if self._times is not None:
            columns |= _time_columns(self._times, columns["signature"])
        return columns

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        try:
            return self.columns[name]
        except KeyError:
            raise InputError(f"no column {name!r}: there are {', '.join(self.columns)}") from None

    def __len__(self) -> int:
        return len(self.columns["op"])

    def __repr__(self) -> str:
        return f"<OpTable: {len(self)} calls, columns {', '.join(self.columns)}>"

    def to_pandas(self) -> pd.DataFrame:
        """The table as a DataFrame; raises `MissingExtraError` where pandas is not installed."""
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtraError("to_pandas() needs pandas: pip install pandas") from error
        # pandas would make of Python ints what it thinks they fit in.
        series = {name: pd.Series(column) for name, column in self.columns.items()}
        return pd.DataFrame(series)


def _time_columns(
    times: Times, signatures: np.ndarray[Any, Any]
) -> dict[str, np.ndarray[Any, Any]]:
    """What is known of the time of each call, which is that of its signature."""
    import numpy as np

    each = times.by_signature
    number = signatures.astype("int64")
    nan = float("nan")
    measured = [nan if one.measured_s is None else one.measured_s for one in each]
    return {
        "op_class": np.asarray([one.op_class for one in each])[number],
        "estimated_s": np.asarray([one.estimated_s for one in each])[number],
        "bound": np.asarray([one.bound for one in each])[number],
        "measured_s": np.asarray(measured)[number],
        "status": np.asarray([one.status for one in each])[number],
    }


def _column(values: Any) -> np.ndarray[Any, Any]:
    """An array of one dimension, also where the values are lists (shapes)."""
    import numpy as np

    if len(values) and isinstance(values[0], (list, tuple)):
        column = np.empty(len(values), dtype=object)
        column[:] = [list(value) for value in values]
        return column
    return np.asarray(values)
