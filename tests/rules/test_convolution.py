"""Convolutions: outputs as PyTorch's, costs by loops over windows."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import nnprof
from tests.helpers import oracles
from tests.rules.costs import cost_of, meta
from tests.rules.coverage import operator_named
from tests.rules.coverage_cases import NO_CPU_KERNEL, written_cases
from tests.rules.differential import compare
from tests.rules.memory_formats import dimensions, either, layouts

PLAIN = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def operands(dims: int, transposed: bool, groups: int, kernel: int) -> list[tuple[Tensor, Tensor]]:
    # Two images: of one, PyTorch on the CPU leaves small 3d convolutions to a kernel that knows no
    # channels last. The rule has cuDNN's way, which asks for no sizes.
    x = torch.randn(2, 4, *(7, 6, 5)[:dims])
    shape = (4, 8 // groups) if transposed else (8, 4 // groups)
    weight = torch.randn(*shape, *[kernel] * dims)
    return list(itertools.product(layouts(x), layouts(weight)))


@dimensions
@either
def test_options_and_layouts(dims: int, transposed: bool) -> None:
    function = (TRANSPOSED if transposed else PLAIN)[dims - 1]
    bias = torch.randn(8)
    for groups, kernel in ((1, 3), (2, 2), (4, 1)):
        for x, weight in operands(dims, transposed, groups, kernel):
            for stride, padding, dilation in ((2, 1, 1), (1, 1, 2)):
                options = {
                    "stride": stride,
                    "padding": padding,
                    "dilation": dilation,
                    "groups": groups,
                }
                assert not compare("conv", function, ((x, weight, bias), options))
            if dims < 3 or weight.is_contiguous():
                assert not compare("unbatched", function, ((x[0], weight), {"groups": groups}))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@dimensions
def test_padding_by_name(dims: int) -> None:
    for kernel, dilation, padding in itertools.product((2, 3), (1, 2), ("same", "valid")):
        for x, weight in operands(dims, False, 1, kernel):
            options = {"padding": padding, "dilation": dilation}
            assert not compare("conv", PLAIN[dims - 1], ((x, weight), options))
            if dims < 3 or weight.is_contiguous():
                assert not compare("unbatched", PLAIN[dims - 1], ((x[0], weight), options))


def test_one_dimension_runs_as_two() -> None:
    # Height 1 is inserted: what then looks channels last comes out so.
    x, weight = torch.randn(2, 8, 5).transpose(1, 2), torch.randn(6, 3, 5).transpose(1, 2)
    column, point = torch.randn(2, 1, 5).transpose(1, 2), torch.randn(6, 5, 1)
    for a, b in itertools.product((x, x.contiguous()), (weight, weight.contiguous())):
        assert not compare("conv1d", F.conv1d, ((a, b), {}))
    assert not compare("conv1d", F.conv1d, ((column, point), {}))


def test_lower_operators() -> None:
    x, weight, bias = torch.randn(2, 4, 6, 6), torch.randn(4, 2, 3, 3), torch.randn(4)
    rest = ([2], [1], [1], False, [0], 2)
    assert not compare("convolution", torch.convolution, ((x, weight, bias, *rest), {}))
    flags = (False, False, True, True)
    assert not compare("_convolution", torch._convolution, ((x, weight, bias, *rest, *flags), {}))
    assert not compare(
        "_convolution", torch._convolution, ((x, weight, bias, *rest, *flags[:3]), {})
    )
    same = (x, weight, bias, [1], "same", [1], 2)
    assert not compare("mode", torch.ops.aten._convolution_mode, (same, {}))
    tbc = (torch.randn(7, 2, 3), torch.randn(3, 3, 5), torch.randn(5), 1)
    assert not compare("conv_tbc", torch.conv_tbc, (tbc, {}))


X, WEIGHT = torch.randn(1, 4, 5, 5), torch.randn(6, 4, 3, 3)


@pytest.mark.parametrize(
    ("function", "args", "options"),
    [
        (F.conv2d, (torch.randn(1, 3, 5, 5), WEIGHT), {}),  # channels
        (F.conv2d, (X[0, 0], WEIGHT), {}),
        (F.conv2d, (X, WEIGHT[0]), {}),
        (F.conv2d, (X, WEIGHT, torch.randn(5)), {}),
        (F.conv2d, (X, WEIGHT, torch.randn(1, 6)), {}),
        (F.conv2d, (X, WEIGHT.double()), {}),
        (F.conv2d, (X, WEIGHT, torch.randn(6).double()), {}),
        (F.conv2d, (X, WEIGHT), {"stride": 0}),
        (F.conv2d, (X, WEIGHT), {"padding": -1}),
        (F.conv2d, (X, WEIGHT), {"dilation": 0}),
        (F.conv2d, (X, WEIGHT), {"dilation": 3}),  # reaches over the input
        (F.conv2d, (X, WEIGHT), {"groups": 0}),
        (F.conv2d, (X, WEIGHT), {"groups": 4}),
        (F.conv2d, (X, WEIGHT), {"stride": (1, 1, 1)}),
        (F.conv2d, (X, WEIGHT), {"padding": "full"}),
        (F.conv2d, (X, WEIGHT), {"padding": "same", "stride": 2}),
        (F.conv2d, (X[:, :, :0], WEIGHT), {"padding": 3}),
        (F.conv2d, (X[:0], WEIGHT), {}),  # no images are fine
        (F.conv_transpose2d, (X, WEIGHT), {}),
        (F.conv_transpose2d, (X, torch.randn(4, 2, 3, 3)), {"output_padding": 1}),
        (F.conv_transpose2d, (X, torch.randn(4, 2, 3, 3)), {"output_padding": 1, "stride": 2}),
        (F.conv_transpose2d, (X, torch.randn(4, 2, 1, 1)), {"padding": 3}),
    ],
)
def test_raises_where_pytorch_does(
    function: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    assert not compare("conv", function, (args, options))


def test_wrong_channels_are_named() -> None:
    with pytest.raises(nnprof.NnprofError, match="to have 4 channels, but got 3 channels"):
        cost_of(F.conv2d, meta(1, 3, 8, 8), meta(6, 4, 3, 3))


# Costs --------------------------------------------------------------------------------------------


@dimensions
def test_plain_cost(dims: int) -> None:
    x, weight = (2, 4, *(5, 4, 3)[:dims]), (6, 2, *[2] * dims)
    cost = cost_of(PLAIN[dims - 1], meta(*x), meta(*weight), meta(6), groups=2)
    outputs = oracles.count(2, 6, *(4, 3, 2)[:dims])
    assert cost.macs == oracles.convolution(x, weight, groups=2)
    assert cost.kinds == {"add": outputs}  # the bias
    assert cost.bytes_read == 4 * (oracles.count(*x) + oracles.count(*weight) + 6)
    assert cost.bytes_written == 4 * outputs


def test_transposed_cost() -> None:
    x, weight = (2, 4, 3, 3), (4, 3, 2, 2)
    cost = cost_of(F.conv_transpose2d, meta(*x), meta(*weight), stride=2, groups=2)
    assert cost.macs == oracles.transposed_convolution(x, weight, groups=2)
    assert cost.kinds == {}
    assert cost.bytes_written == 4 * oracles.count(2, 6, 6, 6)


def test_padding_on_one_side_copies_the_input() -> None:
    x, weight = (1, 2, 5, 5), (3, 2, 2, 3)  # an even kernel over the rows only
    cost = cost_of(F.conv2d, meta(*x), meta(*weight), padding="same")
    padded = oracles.count(1, 2, 6, 5)
    assert cost.macs == oracles.convolution((1, 2, 6, 5), weight, padding=(0, 1))
    assert cost.bytes_read == 4 * (oracles.count(*x) + padded + oracles.count(*weight))
    assert cost.bytes_written == 4 * (padded + oracles.count(1, 3, 5, 5))
    odd = cost_of(F.conv2d, meta(*x), meta(3, 2, 3, 3), padding="same")
    assert odd.bytes_written == 4 * oracles.count(1, 3, 5, 5)


def test_complex_cost() -> None:
    x, weight = meta(1, 2, 4, dtype=torch.complex64), meta(3, 2, 2, dtype=torch.complex64)
    with torch.no_grad(), nnprof.trace() as trace:
        F.conv1d(x, weight)
    profile = trace.profile()
    assert profile.macs == oracles.convolution((1, 2, 4), (3, 2, 2))
    assert profile.flops == 8 * profile.macs


def test_conv_tbc_cost() -> None:
    cost = cost_of(torch.conv_tbc, meta(7, 2, 3), meta(3, 3, 5), meta(5), 1)
    as_conv1d = oracles.convolution((2, 3, 7), (5, 3, 3), padding=(1,))
    assert (cost.macs, cost.kinds) == (as_conv1d, {"add": oracles.count(7, 2, 5)})


KERNELS = {
    name: args
    for name, args, _ in written_cases()
    if name.removeprefix("aten::").startswith(("cudnn_conv", "miopen_", "mkldnn_conv"))
    or "slow_conv" in name
    or "conv_depthwise" in name
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_count_as_the_convolutions_that_they_are(name: str) -> None:
    args: tuple[Any, ...] = KERNELS[name]
    cost = cost_of(operator_named(name), *args)
    x, weight = args[:2]
    kernel = NO_CPU_KERNEL.get(name)
    if kernel is not None:
        with FlopCounterMode(display=False) as real:
            out = kernel(*args)
        assert 2 * cost.macs == real.get_total_flops()
    else:  # which it does not know, or (_slow_conv2d_forward) fails on
        out = operator_named(name)(*args)
        positions = x if "transpose" in name else out
        assert cost.macs == positions.numel() * weight[0].numel()
    has_bias = any(isinstance(arg, Tensor) and arg.dim() == 1 for arg in args)
    added = ("add_relu" in name) * out.numel()
    assert cost.kinds.get("add", 0) == has_bias * out.numel() + added
    assert cost.kinds.get("compare", 0) == ("relu" in name) * out.numel()
