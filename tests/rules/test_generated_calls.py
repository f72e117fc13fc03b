"""Generated arguments, family by family: outputs shape-only are as PyTorch's, or both raise.

A strategy draws the arguments that a group of operators shares, and a loop calls each operator:
calls_that_compute.py, calls_that_move.py.
Layouts are drawn with them; test_generated_layouts.py does that for every single rule.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from tests.helpers.versions import TORCH
from tests.rules import calls_that_compute, calls_that_move
from tests.rules.calls import Call, call
from tests.rules.differential import compare

#: Examples of an everyday run; a long one takes ten times as many.
GROUPS: dict[str, tuple[Any, int]] = {
    "unary": (calls_that_compute.unary, 12),
    "binary": (calls_that_compute.binary, 12),
    "ternary": (calls_that_compute.ternary, 20),
    "reductions": (calls_that_compute.reductions, 10),
    "along": (calls_that_compute.along, 12),
    "products": (calls_that_compute.products, 15),
    "einsums": (calls_that_compute.einsums, 6),
    "convolutions": (calls_that_compute.convolutions, 40),
    "pooling": (calls_that_compute.pooling, 20),
    "norms": (calls_that_compute.norms, 15),
    "attention": (calls_that_compute.attention, 15),
    "indexing": (calls_that_move.indexing, 15),
    "embeddings": (calls_that_move.embeddings, 15),
    "views": (calls_that_move.views, 20),
    "copies": (calls_that_move.copies, 15),
    "vision": (calls_that_move.vision, 15),
    "recurrent": (calls_that_compute.recurrent, 8),
    "factories": (calls_that_move.factories, 20),
    "losses": (calls_that_compute.losses, 12),
}


def _empty(dtype: torch.dtype = torch.float32, *, size: int = 0) -> Tensor:
    return torch.ones(size, dtype=dtype)


HALF = torch.ones(2, 3, dtype=torch.bfloat16)
DOUBLES = torch.ones(1, 6, 4, 2, dtype=torch.float64).permute(0, 3, 1, 2)
FILTERS = torch.ones(2, 2, 1, 3, dtype=torch.float64)
COMPLEX = torch.ones((), dtype=torch.complex64)
ONE = COMPLEX.view(1)
NO_ELEMENTS = r"\[(\d+, )*0[,\]]"

#: What may differ: a pattern of the mismatch, the reason, and a call that shows it.
REVIEWED: list[tuple[str, str, Call]] = [
    (
        r"\[accepts\].*not implemented for '(BFloat16|Half)'",
        "CPU kernels lack dtypes that CUDA's have",
        call(torch.cdist, HALF, HALF),
    ),
    (
        r"\[accepts\] (max|avg|lp)_pool3d.*Unsupported memory format",
        "the CPU kernel alone takes two memory formats only",
        call(
            F.max_pool3d, torch.ones(3, 4, 2, 4).bfloat16().permute(0, 3, 1, 2), 2, ceil_mode=True
        ),
    ),
    (
        rf"\[accepts\].*{NO_ELEMENTS}.*not implemented for",
        "a dtype that only matters where there are elements",
        call(torch.gcd, torch.tensor(True), _empty()),
    ),
    (
        r"\[accepts\] ldexp\(.*not implemented for 'Bool'",
        "a boolean exponent",
        call(torch.ldexp, torch.ones(2), torch.ones(2).bool()),
    ),
    (
        r"\[accepts\] clamp\(.*not implemented for 'Complex",
        "only what is clamped is checked, not the bounds",
        call(torch.clamp, torch.tensor(1.0), COMPLEX, COMPLEX),
    ),
    (
        r"\[accepts\] scatter_reduce\(complex",
        "an order of complex numbers",
        call(Tensor.scatter_reduce, ONE, 0, torch.zeros(1).long(), ONE, "amax"),
    ),
    (
        r"\[accepts\] logsumexp\(.*dim=\[\].*doesn't match the broadcast shape",
        "PyTorch stumbles over its own shape",
        call(torch.logsumexp, _empty(size=1), dim=(), keepdim=False),
    ),
    (
        rf"\[accepts\] bilinear\(.*{NO_ELEMENTS}.*cannot reshape tensor of 0 elements",
        "PyTorch stumbles over its own shape",
        call(F.bilinear, torch.ones(1, 0), torch.ones(1, 1), torch.ones(1, 0, 1), torch.ones(1)),
    ),
    (
        r"\[raises\] (mode|cummax|cummin)\(complex64\[\]",
        "one complex number has an order to PyTorch, two have none",
        call(torch.cummax, COMPLEX, 0),
    ),
    *(
        []
        if TORCH >= (2, 14)
        else [
            (
                rf"\[raises\] (cummax|cummin)\(.*{NO_ELEMENTS}.*Dimension out of range",
                "PyTorch looks at no dimension where there are no elements",
                call(torch.cummax, torch.ones(0, 1), 3),
            )
        ]
    ),
    (
        rf"\[raises\] randn\({NO_ELEMENTS}.*not implemented for",
        "PyTorch draws no integers, but no integers it draws",
        call(torch.randn, [0], dtype=torch.int64),
    ),
    (
        r"\[strides\] conv\w*(3d\(|\((float64|bfloat16))",
        "layouts are cuDNN's: channels last of volumes and bfloat16, not of float64",
        call(F.conv2d, DOUBLES, FILTERS, padding=1, dilation=2),
    ),
    # Bugs.
    (
        r"\[shape\] multilabel_margin_loss\(\w+\[\d+\].*'none'",
        "BUG: of one sample the loss is a number",
        call(F.multilabel_margin_loss, torch.ones(3), torch.zeros(3).long(), reduction="none"),
    ),
]


def mismatches(one: Call) -> list[str]:
    name, function, args, kwargs = one
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return [str(mismatch) for mismatch in compare(name, function, (args, kwargs))]


def is_reviewed(mismatch: str) -> bool:
    return any(re.match(pattern, mismatch, re.DOTALL) for pattern, _, _ in REVIEWED)


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize("group", GROUPS)
def test_generated_calls(group: str, times: int) -> None:
    calls, examples = GROUPS[group]

    @given(st.data())
    @settings(max_examples=times * examples, database=None, suppress_health_check=list(HealthCheck))
    def check(data: st.DataObject) -> None:
        for one in calls(data.draw):
            found = [mismatch for mismatch in mismatches(one) if not is_reviewed(mismatch)]
            assert not found, found[0]

    check()


@pytest.mark.parametrize(
    "one",
    [
        call(torch.ldexp, HALF, torch.ones(2, 3).long()),
        call(F.conv_transpose1d, torch.ones(16, 1, 2), torch.ones(1, 2, 1), padding=1),
        call(
            F.scaled_dot_product_attention,
            *[torch.ones(1, 1, 2, 4)] * 3,
            attn_mask=torch.ones(2),
            dropout_p=0.5,
        ),
    ],
    ids=lambda one: one[0],
)
def test_what_was_once_wrong(one: Call) -> None:
    assert not mismatches(one)


@pytest.mark.parametrize(("pattern", "reason", "example"), REVIEWED, ids=range(len(REVIEWED)))
def test_what_was_reviewed_still_differs(pattern: str, reason: str, example: Call) -> None:
    assert reason
    found = mismatches(example)
    assert any(re.match(pattern, mismatch, re.DOTALL) for mismatch in found), found
