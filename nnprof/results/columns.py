"""Columns of counts: int64 as long as nothing that is made of them wraps, else Python ints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

__all__ = ["counts", "counts_together"]

#: NumPy's sums wrap at 2^63 without a word. Below this the sum of a column, of two of them, or of
#: one times a few, is right.
_LARGEST_SUM = 2.0**60


def counts(values: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values as int64; of dtype object, as Python ints, where their sum may be too large."""
    return counts_together({"": values})[""]


def counts_together(
    columns: Mapping[str, Sequence[int] | np.ndarray[Any, Any]],
) -> dict[str, np.ndarray[Any, Any]]:
    """The same of several columns, all of them Python ints where one has to be."""
    import numpy as np

    exact = {name: np.asarray(values, dtype=_dtype(values)) for name, values in columns.items()}
    fit = all(np.abs(column).sum(dtype=float) < _LARGEST_SUM for column in exact.values())
    return {name: column.astype("int64" if fit else object) for name, column in exact.items()}


def _dtype(values: Sequence[int] | np.ndarray[Any, Any]) -> Any:
    # A list may hold anything; NumPy itself would make floats of what is too large.
    return getattr(values, "dtype", object)
