"""Products: whole waves of tiles, split sums, the precision that PyTorch computes in."""

from __future__ import annotations

from itertools import product as combinations
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F

import nnprof
from nnprof.hardware import find
from tests.cost.calls import HALF, linear, meta, product, seconds, time, times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.alone import Starter

FP16, FP32 = torch.float16, torch.float32


def rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a large product."""
    return 2 * 8192**3 / product(8192, 8192, 8192, device, dtype).estimated_s


# Waves and splits.


@pytest.mark.parametrize("depth", [1024, 4096, 8192])
@pytest.mark.parametrize(
    ("device", "rows", "columns"),
    # A wave of tiles of 256 x 128: 12 x 11 = 132 on Hopper, 9 x 12 = 108 on an A100, as in section
    # 3.2 of NVIDIA's "Matrix Multiplication Background" guide.
    [("h100", 3072, 1408), ("h200", 3072, 1408), ("a100", 2304, 1536)],
)
def test_one_tile_more_than_a_wave_is_seen(
    device: str, rows: int, columns: int, depth: int
) -> None:
    full = product(rows, columns, depth, device).estimated_s
    assert product(rows, columns + 1, depth, device).estimated_s > 1.05 * full
    assert product(rows, 2 * columns, depth, device).estimated_s == pytest.approx(2 * full, rel=0.1)


@pytest.mark.parametrize("device", ["h100", "h200", "a100", "b200-sxm", "l40s", "rtx-4090"])
def test_long_sums_are_split_over_the_units(device: str) -> None:
    """A result of one tile: were it left to one block, it had one unit's peak at most."""
    known = find(device)
    depth = 1 << 20
    one_unit = 2 * 64 * 64 * depth / (known.flops["bf16"] / known.compute_units)
    read = 2 * 2 * 64 * depth / known.bandwidth
    assert read < product(64, 64, depth, known).estimated_s < one_unit / 5


def test_a_vector_times_a_matrix_takes_as_long_as_reading_it() -> None:
    """Decoding's linear layers: (1, 8192) by (8192, 28672)."""
    for device in ("h100", "a100", "l40s", "v100-sxm"):
        known = find(device)
        layer = linear(8192, 28672, FP16)
        one = time(layer, meta(1, 8192, dtype=FP16), on=known)
        reading = layer.weight.numel() * 2 / known.bandwidth
        assert reading < one.estimated_s < 1.5 * reading
        assert one.bound == "memory"


@pytest.mark.parametrize(
    ("device", "share"),
    # Maximum achievable matmul FLOPS, as shares of the datasheet's bf16 peak: the table in
    # compute/accelerator of stas00/ml-engineering.
    [
        ("h100-sxm", 0.803),
        ("h200-sxm", 0.803),
        ("a100-sxm-80", 0.869),
        ("a100-pcie-80", 0.811),
        ("b200-sxm", 0.776),
        ("mi300x", 0.514),
    ],
)
def test_the_best_products_reach_what_was_published(device: str, share: float) -> None:
    known = find(device)
    sides = (4096, 8192, 16384)
    best = max(
        2 * m * n * k / product(m, n, k, known).estimated_s
        for m, n, k in combinations(sides, repeat=3)
    )
    assert best / known.flops["bf16"] == pytest.approx(share, rel=0.1)


# Precisions.


@pytest.fixture
def _flags_are_put_back() -> Iterator[None]:
    yield
    torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.usefixtures("_flags_are_put_back")
def test_float32_products_use_tf32_where_that_is_allowed() -> None:
    slow = rate("a100", FP32)
    assert slow < find("a100").vector_flops["fp32"]
    assert product(8, 8, 8, "a100", FP32).peak == 19.5e12
    torch.backends.cuda.matmul.allow_tf32 = True
    assert rate("a100", FP32) > 5 * slow
    assert product(8, 8, 8, "a100", FP32).peak == 156e12
    assert rate("v100-sxm", FP32) < 15.7e12  # it has no such units


def test_float32_convolutions_use_tf32_unless_that_is_forbidden() -> None:
    call = F.conv2d, meta(32, 256, 56, 56), meta(256, 256, 3, 3)
    fast = time(*call, on="a100")
    assert fast.peak == 156e12
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        slow = time(*call, on="a100")
    assert slow.peak == 19.5e12
    assert slow.estimated_s > 5 * fast.estimated_s


NAMES_OF_TF32 = """
import torch, nnprof
from torch.nn import functional as F

shapes = (8, 8), (1, 4, 8, 8), (4, 4, 3, 3)
product, image, kernel = (torch.empty(shape, device="meta") for shape in shapes)

def peaks():
    with torch.no_grad(), nnprof.trace() as running:
        product @ product
        F.conv2d(image, kernel)
    print(*(f"{one.peak / 1e12:g}" for one in running.profile(hardware="a100").times.by_signature))

backends = torch.backends
peaks()
for owner, name, value, before in (
    (backends, "fp32_precision", "tf32", "none"),
    (backends, "fp32_precision", "ieee", "none"),
    (backends.cuda.matmul, "fp32_precision", "tf32", "none"),
    (backends.cudnn.conv, "fp32_precision", "ieee", "tf32"),
):
    setattr(owner, name, value)
    peaks()
    setattr(owner, name, before)
torch.set_float32_matmul_precision("high")
peaks()
"""


def test_tf32_by_its_newer_names(run_alone: Starter) -> None:
    """In a process of its own: they cannot be put back to where they were."""
    run = run_alone(NAMES_OF_TF32)
    assert run.stderr == ""
    default, both, none, product, convolution, high = run.stdout.splitlines()
    assert default == "19.5 156"
    assert (both, none) == ("156 156", "19.5 19.5")
    assert (product, convolution) == ("156 156", "19.5 19.5")
    assert high == "156 156"


@pytest.mark.parametrize("device", ["v100-sxm", "t4"])
def test_old_matrix_units_multiply_fp16_alone(device: str) -> None:
    known = find(device)
    assert rate(device, FP16) > 2 * known.vector_flops["fp32"]
    assert rate(device, HALF) < known.vector_flops["fp32"]
    assert rate(device, FP32) < known.vector_flops["fp32"]


def test_fp64_has_matrix_units_on_data_center_cards_alone() -> None:
    double = torch.float64
    assert find("a100").vector_flops["fp64"] < rate("a100", double) < 19.5e12
    assert rate("rtx-4090", double) < 1.3e12
    assert rate("v100-sxm", double) < 7.8e12


def test_integers_and_fp8_are_faster_still() -> None:
    def int8(device: str) -> float:
        matrix = meta(8192, 8192, dtype=torch.int8)
        return seconds(torch._int_mm, matrix, matrix.t(), on=device)

    def fp8(device: str) -> float:
        matrix, scale = meta(8192, 8192, dtype=torch.float8_e4m3fn), meta(1)

        def call() -> object:
            return torch._scaled_mm(matrix, columns, scale, scale, out_dtype=HALF)

        columns = matrix.t()
        return seconds(call, on=device)

    for device in ("h100", "l40s"):
        half = product(8192, 8192, 8192, device).estimated_s
        assert int8(device) == pytest.approx(half / 2, rel=0.1)
        assert fp8(device) == pytest.approx(half / 2, rel=0.1)


# Forms of the same product.


def test_a_product_takes_the_same_whatever_it_is_called() -> None:
    rows, columns, depth = 2048, 4096, 1024
    x, weight = meta(rows, depth, dtype=HALF), meta(depth, columns, dtype=HALF)
    bias = meta(columns, dtype=HALF)
    expected = product(rows, columns, depth, "h100").estimated_s
    for call in (
        (torch.matmul, x, weight),
        (F.linear, x, meta(columns, depth, dtype=HALF)),
        (F.linear, x, meta(columns, depth, dtype=HALF), bias),
        (F.linear, x.view(8, 256, depth), meta(columns, depth, dtype=HALF)),
        (torch.addmm, bias, x, weight),
        (torch.bmm, x[None], weight[None]),
        (torch.einsum, "ik,kj->ij", x, weight),
    ):
        found = max(one.estimated_s for one in times(*call, on="h100"))
        assert found == pytest.approx(expected, rel=0.03), call[0]


def test_many_small_products_fill_the_device_that_one_leaves_idle() -> None:
    one = seconds(
        torch.bmm, meta(1, 128, 4096, dtype=HALF), meta(1, 4096, 64, dtype=HALF), on="h100"
    )
    many = seconds(
        torch.bmm, meta(66, 128, 4096, dtype=HALF), meta(66, 4096, 64, dtype=HALF), on="h100"
    )
    assert many < 10 * one


def test_autocast_decides_the_precision() -> None:
    profile = nnprof.measure(
        linear(4096, 4096, FP32), (4096, 4096), autocast="bfloat16", hardware="a100"
    )
    assert profile.times is not None
    products = [one for one in profile.times.by_signature if one.op_class == "matmul"]
    assert [one.peak for one in products] == [312e12]
