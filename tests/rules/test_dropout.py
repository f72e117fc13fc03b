"""Dropout: nothing in evaluation, noise in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

import nnprof
from tests.rules.costs import cost_of, meta
from tests.rules.differential import compare

if TYPE_CHECKING:
    from collections.abc import Callable

DROPOUTS = (
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout,
)  # fmt: skip
#: The operators themselves: the functions above check their arguments in Python.
OPERATORS = (
    torch.dropout, torch.feature_dropout, torch.alpha_dropout, torch.feature_alpha_dropout,
    torch.dropout_, torch.feature_dropout_, torch.alpha_dropout_, torch.feature_alpha_dropout_,
)  # fmt: skip


@pytest.mark.parametrize("function", DROPOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.filterwarnings("ignore:dropout")
def test_outputs(function: Callable[..., Any], training: bool, inplace: bool) -> None:
    dims = {"dropout1d": 3, "dropout3d": 5}.get(function.__name__, 4)
    x = torch.ones(2, 3, 4, 2, 2)[(slice(None),) * dims + (0,) * (5 - dims)]
    for input in (x.contiguous(), x.transpose(0, 2)):
        for p in (0.0, 0.3, 1.0):
            kwargs = {"training": training, "inplace": inplace}
            assert not compare(function.__name__, function, ((input.clone(), p), kwargs))


@pytest.mark.parametrize("function", OPERATORS, ids=lambda f: f.__name__)
def test_what_pytorch_refuses(function: Callable[..., Any]) -> None:
    for p in (-0.5, 1.5):
        for training in (False, True):
            assert not compare(function.__name__, function, ((torch.ones(2, 3), p, training), {}))
    assert not compare(function.__name__, function, ((torch.ones(3), 0.5, True), {}))
    whole = torch.ones(2, 3, dtype=torch.int64)
    assert not compare(function.__name__, function, ((whole, 0.5, True), {}))


def test_evaluation_hands_the_input_back() -> None:
    for x in (meta(2, 3), torch.ones(2, 3)):
        with nnprof.trace():
            assert F.dropout(x, 0.5, training=False) is x
            assert F.dropout(x, 0.0) is x
            assert F.dropout(x, 0.5) is not x


def test_costs() -> None:
    x, image = meta(2, 3), meta(2, 3, 4)
    for function in DROPOUTS[:1] + DROPOUTS[4:5]:
        for inplace in (False, True):
            free = cost_of(function, x, 0.5, training=False, inplace=inplace)
            assert (free.kinds, free.bytes_read, free.bytes_written) == ({}, 0, 0)
    for inplace in (False, True):
        cost = cost_of(F.dropout, x, 0.5, inplace=inplace)
        assert cost.kinds == {"compare": 6, "multiply": 6}
        assert (cost.bytes_read, cost.bytes_written) == (24, 24 + 6)  # and the mask
    # A draw and a scale for each of 2 x 3 channels, a product for each of 24 elements.
    channels = cost_of(F.dropout1d, image, 0.5)
    assert channels.kinds == {"compare": 6, "division": 6, "multiply": 24}
    assert (channels.bytes_read, channels.bytes_written) == (96, 96)
    affine = cost_of(F.alpha_dropout, x, 0.5, training=True)
    assert affine.kinds == {"compare": 6, "multiply": 18, "add": 18}


def test_the_fused_kernel() -> None:
    x = torch.ones(3, 2).t()
    for train in (True, False, None):
        assert not compare("native_dropout", torch.native_dropout, ((x, 0.5, train), {}))
    backward: Any = torch.ops.aten.native_dropout_backward
    assert not compare("backward", backward, ((x, x > 0, 2.0), {}))
    assert cost_of(torch.native_dropout, meta(2, 3), 0.5, True).bytes_written == 24 + 6
