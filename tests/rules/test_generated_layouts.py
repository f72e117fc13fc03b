"""Every rule's operator, called directly, with its tensors laid out in every way."""

from __future__ import annotations

import random
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.rules.coverage import (
    calls_of_rules,
    is_in_this_torch,
    operator_named,
    rules_in_force,
)
from tests.rules.differential import compare
from tests.rules.families import FAMILIES, excepted
from tests.rules.layouts import arguments_laid_out

if TYPE_CHECKING:
    from tests.rules.differential import Arguments

RESTRIDES = ({"strides"}, "its CPU kernel lays the output that it is given out anew")
CONTIGUOUS = ({"accepts"}, "its CPU kernel demands a contiguous output")
BATCH_SIZES = (
    {"accepts"},
    "its kernel reads the batch sizes as contiguous, whatever their strides",
)

CUDNN = ({"strides"}, "laid out as its input suggests; the reference, the CPU's kernel, as it is")
SCALES = ({"accepts"}, "torch 2.14 wants the scales of a row side by side, 2.13 takes any")
INDICES = ({"accepts"}, "its kernel reads the indices as contiguous, whatever their strides")

#: Beside those of the plain calls.
LAYOUT_EXCEPTIONS: dict[str, tuple[set[str], str]] = {
    "aten::replication_pad2d.out": RESTRIDES,
    "aten::replication_pad3d.out": RESTRIDES,
    "aten::replication_pad2d_backward.grad_input": RESTRIDES,
    "aten::replication_pad3d_backward.grad_input": RESTRIDES,
    "aten::reflection_pad3d.out": RESTRIDES,
    "aten::reflection_pad2d_backward.grad_input": RESTRIDES,
    "aten::reflection_pad3d_backward.grad_input": RESTRIDES,
    "aten::max_pool3d_with_indices.out": RESTRIDES,
    "aten::max_pool3d_with_indices_backward.grad_input": RESTRIDES,
    "aten::max_unpool2d.out": RESTRIDES,
    "aten::max_unpool3d.out": ({"accepts", "strides"}, CONTIGUOUS[1]),
    "aten::adaptive_avg_pool2d.out": RESTRIDES,
    "aten::_slow_conv2d_forward.output": RESTRIDES,
    "aten::slow_conv3d_forward.output": CONTIGUOUS,
    "aten::nll_loss2d_backward": CONTIGUOUS,
    "aten::nll_loss2d_backward.grad_input": CONTIGUOUS,
    "aten::gru.data": BATCH_SIZES,
    "aten::lstm.data": BATCH_SIZES,
    "aten::rnn_relu.data": BATCH_SIZES,
    "aten::rnn_tanh.data": BATCH_SIZES,
    "aten::quantized_gru.data": BATCH_SIZES,
    "aten::quantized_lstm.data": BATCH_SIZES,
    "aten::_unique": ({"shape"}, "how many are different is not known of floats"),
    "aten::_unique.out": ({"shape"}, "how many are different is not known of floats"),
    "aten::log_sigmoid": ({"strides"}, "the CPU kernel alone makes a contiguous output"),
    "aten::log_sigmoid_forward": ({"strides"}, "the CPU kernel alone makes a contiguous output"),
    "aten::log_sigmoid_backward": ({"strides"}, "the CPU kernel alone makes a contiguous output"),
    "aten::cholesky": (
        {"accepts"},
        "whether a matrix is positive definite is a question of values",
    ),
    "aten::cholesky.out": ({"accepts"}, "as of cholesky"),
    "aten::cholesky_inverse": ({"accepts"}, "whether it is singular is a question of values"),
    "aten::cholesky_inverse.out": ({"accepts"}, "whether it is singular is a question of values"),
    "aten::fractional_max_pool2d_backward": INDICES,
    "aten::fractional_max_pool2d_backward.grad_input": INDICES,
    "aten::fractional_max_pool3d_backward": INDICES,
    "aten::fractional_max_pool3d_backward.grad_input": INDICES,
    "aten::_fused_rms_norm_backward": (
        {"strides"},
        "CUDA's kernel makes it contiguous; the meta kernel is made of pointwise operators",
    ),
    "torchvision::nms": ({"shape"}, "which boxes overlap is a question of values"),
    "aten::_scaled_grouped_mm_v2": SCALES,
    "aten::_scaled_grouped_mm_v2.out": SCALES,
    "aten::cudnn_batch_norm": CUDNN,
    "aten::cudnn_batch_norm_backward": CUDNN,
    "nnprof::flex_attention": ({"strides"}, "PyTorch copies an expanded query before it looks"),
    "aten::linalg_cholesky_ex": ({"accepts"}, "as of cholesky"),
    "aten::_int_mm": ({"value"}, "the CPU's library computes nonsense of expanded matrices"),
    "aten::_int_mm.out": ({"value"}, "the CPU's library computes nonsense of expanded matrices"),
    "aten::linear.out": ({"accepts"}, "PyTorch stumbles over an output with gaps between rows"),
}


#: PyTorch's own kernel dies of some layouts: not run really but as `coverage_cases.py` has it.
KERNEL_DIES = {"aten::_weight_int8pack_mm", "aten::_weight_int8pack_mm.out"}


def mismatches(name: str, arguments: Arguments) -> list[str]:
    call = calls_of_rules()[name]
    allowed = excepted(name) | LAYOUT_EXCEPTIONS.get(name, (set(), ""))[0]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        found = compare(name, call.operator, arguments, call.reference)
    return [str(mismatch) for mismatch in found if mismatch.kind not in allowed]


@pytest.mark.parametrize("examples", [3, pytest.param(25, marks=pytest.mark.long)])
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_equal_those_of_the_operator(family: str, examples: int) -> None:
    for name, rule in rules_in_force().items():
        if rule["family"] == family and name in calls_of_rules().keys() - KERNEL_DIES:
            check_layouts(name, examples)


def check_layouts(name: str, examples: int) -> None:
    call = calls_of_rules()[name]
    draw = random.Random(name)  # the same ones at every run
    for _ in range(examples):
        arguments = arguments_laid_out(draw, call.operator, call.arguments)
        assert not mismatches(name, arguments)


def test_exceptions_name_rules() -> None:
    here = {n: e for n, e in LAYOUT_EXCEPTIONS.items() if is_in_this_torch(n)}
    assert here.keys() <= rules_in_force().keys()
    for name, (kinds, reason) in here.items():
        assert reason
        assert not kinds & excepted(name), "also among those of the plain calls"


X, LENGTHS = torch.ones(5, 2, 3), torch.tensor([2, 1])
ONCE_WRONG: dict[str, tuple[Any, ...]] = {
    # PyTorch makes views of its input that need other strides.
    "conv_tbc": (torch.ones(2, 3, 5).permute(2, 0, 1), torch.ones(3, 3, 4), torch.ones(4), 1),
    # PyTorch looks at its contiguous copy of the first.
    "as_strided_scatter": (torch.ones(3, 1).expand(3, 3), X[0, :, :2], [2, 2], [1, 2], 0),
    # PyTorch refuses to write to statistics whose elements share memory.
    "instance_norm": (X, None, None, torch.ones(1).expand(2), X[0, :, 0], True, 0.1, 1e-5, False),
    # PyTorch's last operator reads the state itself.
    "gru_cell": (X[0], torch.ones(4, 2).t(), torch.ones(12, 3), torch.ones(12, 4)),
    # PyTorch keeps what the longest target needs.
    "_ctc_loss.Tensor": (X, torch.ones(2, 3).long(), LENGTHS + 3, LENGTHS),
}


@pytest.mark.parametrize("name", ONCE_WRONG)
def test_what_was_once_wrong(name: str) -> None:
    assert not compare(name, operator_named(f"aten::{name}"), (ONCE_WRONG[name], {}))
