"""Sorting, selecting, searching and bins: outputs as PyTorch's, costs counted by hand."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
import torch

import nnprof
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare
from tests.rules.layouts import transposed_ones

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    *((f, (d,)) for f in (torch.sort, torch.argsort) for d in (0, -1, 3)),
    *((torch.topk, (k, d)) for k in (0, 1, 2, 9) for d in (0, -1)),
    *((torch.kthvalue, (k, d, keep)) for k in (1, 2, 9) for d in (0, -1) for keep in (0, 1)),
    *((f, ()) for f in (torch.median, torch.nanmedian, torch.msort)),
    *(
        (f, (d, k))
        for f in (torch.median, torch.nanmedian, torch.mode)
        for d in (0, -1)
        for k in (0, 1)
    ),
    (functools.partial(torch.sort, stable=True), ()),
    *((torch.histc, args) for args in ((4,), (0,), (4, 2, 1), (4, 0, 1))),
]


@pytest.mark.parametrize("shape", [(3, 4), (), (0, 3), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.bool])
def test_outputs(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = transposed_ones(shape, dtype)
    for function, args in SAMPLES:
        assert not compare(str(function), function, ((x, *args), {}))


@pytest.mark.filterwarnings("ignore:torch.searchsorted..:UserWarning")
def test_searching() -> None:
    sequence, values = torch.arange(4.0), torch.ones(2, 3)
    rows = sequence.expand(2, 4)
    imaginary = sequence.cfloat()  # type: ignore[attr-defined]
    for a in (sequence, rows, rows[:1], sequence[:0], torch.tensor(1.0), imaginary):
        for b in (values, values.t(), values[0, 0], 3, values.half()):
            assert not compare("searchsorted", torch.searchsorted, ((a, b), {"right": True}))
            assert not compare("bucketize", torch.bucketize, ((b, a), {"out_int32": True}))
    wrong: dict[str, Any]
    for wrong in ({"side": "up"}, {"side": "left", "right": True}, {"sorter": torch.arange(3)}):
        assert not compare("wrong", torch.searchsorted, ((sequence, values), wrong))
    sorter = torch.arange(4)
    assert not compare("sorter", torch.searchsorted, ((sequence, values), {"sorter": sorter}))
    assert not compare("int", torch.searchsorted, ((sequence, values), {"sorter": sorter.int()}))


def test_distinct_values() -> None:
    # Floats are taken to be all different, as these are.
    x = torch.arange(12.0).view(3, 4)
    for inverse in (False, True):
        kwargs = {"return_inverse": inverse, "return_counts": not inverse}
        for function in (torch.unique, torch.unique_consecutive):
            for dim in (None, 0, 1):
                assert not compare(str(function), function, ((x,), kwargs | {"dim": dim}))
        assert not compare("old", torch._unique, ((x, True, inverse), {}))
    ids = torch.tensor([3, 1, 3, 3])
    assert not compare("known", torch.unique, ((ids,), {"return_inverse": True}))


def test_bins() -> None:
    ids = torch.tensor([3, 1, 3])
    for weights in (None, torch.ones(3), torch.ones(3).half(), torch.ones(2)):
        assert not compare("bincount", torch.bincount, ((ids, weights), {"minlength": 5}))
    for bad in (ids.view(1, 3), torch.ones(3), torch.tensor(1)):
        assert not compare("bincount", torch.bincount, ((bad,), {}))
    x = torch.ones(3, 4)
    for bins in (4, 0, torch.arange(4.0), torch.arange(4), torch.zeros(2, 2), torch.zeros(0)):
        assert not compare("histogram", torch.histogram, ((x, bins), {}))
    for kwargs in ({"range": (1.0, 0.0)}, {"weight": torch.ones(2)}, {"weight": x.double()}):
        assert not compare("histogram", torch.histogram, ((x, 4), kwargs))


def test_sorting_costs() -> None:
    x = meta(3, 16)
    cost = cost_of(torch.sort, x)
    assert cost.kinds == {"compare": 48 * 4}  # log2(16) = 4
    assert (cost.bytes_read, cost.bytes_written) == (48 * 4, 48 * (4 + 8))
    assert cost_of(torch.sort, x, 0).kinds == {"compare": 48 * 2}  # 2 rounds for 3
    assert cost_of(torch.sort, x, stable=True, dim=0).kinds == {"compare": 48 * 2}
    topk = cost_of(torch.topk, x, 8)
    assert topk.kinds == {"compare": 48 * 3}
    assert topk.bytes_written == 24 * (4 + 8)
    assert cost_of(torch.topk, x, 1).kinds == {"compare": 48}
    ids = meta(3, 16, dtype=torch.int64)
    assert cost_of(torch.sort, ids).kinds == {"int_ops": 48 * 4}


def test_selection_costs() -> None:
    x = meta(3, 16)
    assert cost_of(torch.median, x).kinds == {"compare": 96}
    assert cost_of(torch.kthvalue, x, 3).kinds == {"compare": 96}
    assert cost_of(torch.nanmedian, x, 1).kinds == {"compare": 144}
    assert cost_of(torch.mode, x).kinds == {"compare": 48 * 4 + 48}


def steps_of_binary_search(length: int) -> int:
    """The most that a binary search among ``length`` takes."""
    return 0 if length == 0 else 1 + steps_of_binary_search(length // 2)


@pytest.mark.parametrize("length", [1, 3, 4, 100])
def test_search_costs(length: int) -> None:
    values, steps = meta(2, 3), steps_of_binary_search(length)
    seen = min(length, 6 * steps)
    for cost in (
        cost_of(torch.searchsorted, meta(length), values),
        cost_of(torch.bucketize, values, meta(length)),
    ):
        assert cost.kinds == {"compare": 6 * steps}
        assert (cost.bytes_read, cost.bytes_written) == (6 * 4 + seen * 4, 6 * 8)
    one = cost_of(torch.searchsorted, meta(length), 1.0)
    assert one.kinds == {"compare": steps}


def test_costs_of_distinct_values_and_bins() -> None:
    x = meta(16)
    assert cost_of(torch.unique, x).kinds == {"compare": 16 * 4 + 16}
    assert cost_of(torch.unique_consecutive, x).kinds == {"compare": 16}
    assert cost_of(torch.unique, meta(4, 5), dim=0).kinds == {"compare": 20 * 2 + 20}
    ids = torch.arange(16)
    assert cost_of(torch.bincount, ids).kinds == {"int_ops": 16}
    assert cost_of(torch.bincount, ids, meta(16)).kinds == {"add": 16}
    # (x - min) * bins / (max - min), rounded down, into a count; within the range or not.
    within = {"add": 48, "multiply": 16, "division": 16, "compare": 32}
    assert cost_of(torch.histc, x, 4, 0, 1).kinds == within
    assert cost_of(torch.histc, x, 4).kinds == within | {"compare": 64}


def test_indices_are_spread_evenly() -> None:
    scores, pairs = meta(8, 4), meta(4, 2)
    with nnprof.trace():
        _, experts = scores.topk(2)
        assert torch.bincount(experts.flatten(), minlength=4).tolist() == [4, 4, 4, 4]
        assert pairs.argmax(-1).tolist() == [0, 1, 0, 1]
        _, order = pairs.t().sort()
        assert order.stride() == (1, 2)


def test_rows_and_their_offsets() -> None:
    rows, columns = torch.tensor([0, 0, 1, 3]), torch.tensor([1, 2, 0, 3])
    for small in (False, True):
        options = {"out_int32": small}
        to_offsets = torch._convert_indices_from_coo_to_csr
        assert not compare("coo to csr", to_offsets, ((rows, 5), options))
        arguments = (to_offsets(rows, 5), columns)
        assert not compare(
            "csr to coo", torch._convert_indices_from_csr_to_coo, (arguments, options)
        )
    cost = cost_of(to_offsets, meta(40, dtype=torch.int64), 5)
    assert (cost.bytes_read, cost.bytes_written) == (40 * 8, 6 * 8)
