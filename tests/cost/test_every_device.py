"""Estimates on every device that has a data file: there are some, and none is faster than physics.

The bounds are those of the datasheet: FLOPs over the peak of the precision, bytes over the
bandwidth. FLOPs and bytes are counted here, from the shapes.
"""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nnprof.hardware import find, names
from tests.cost.calls import attention, bytes_of, linear, meta, product, seconds, time, times

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnprof.hardware import Hardware

GPUS = [name for name in names() if find(name).kind == "gpu"]

every_device = pytest.mark.parametrize("device", names())
every_dtype = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str
)
PRECISION = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
}


def peak(device: Hardware, dtype: torch.dtype) -> float:
    """What is computed in a precision that the device lacks is computed in fp32."""
    return device.flops.get(PRECISION[dtype], device.flops["fp32"])


class Everything(nn.Module):
    """A call of every class of operators that the time model tells apart."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        options: dict[str, Any] = {"dtype": dtype, "device": "meta"}
        self.convolution = nn.Conv2d(16, 32, 3, padding=1, **options)
        self.depthwise = nn.Conv2d(32, 32, 3, groups=32, **options)
        self.transposed = nn.ConvTranspose2d(32, 16, 2, 2, **options)
        self.norm = nn.BatchNorm2d(32, **options)
        self.group_norm = nn.GroupNorm(4, 32, **options)
        self.linear = nn.Linear(16, 64, **options)
        self.layer_norm = nn.LayerNorm(64, **options)
        self.lstm = nn.LSTM(64, 24, 2, bidirectional=True, **options)
        self.table = nn.Embedding(100, 48, **options)
        self.eval()

    def forward(self, image: Tensor, ids: Tensor) -> Tensor:
        x = F.gelu(self.group_norm(self.norm(self.depthwise(self.convolution(image)))))
        x = F.max_pool2d(self.transposed(x), 2).flatten(2).transpose(1, 2)
        x = self.layer_norm(self.linear(x).relu_())
        x = F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])[:, 0]
        x = self.lstm(x)[0] + self.table(ids)
        x = torch.cat((x, x * 2), -1).softmax(-1).sort(-1).values
        return torch.bmm(x, x.transpose(1, 2)).sum(-1).cumsum(0)


@every_device
@every_dtype
def test_every_call_has_a_time(device: str, dtype: torch.dtype) -> None:
    image, ids = meta(2, 16, 10, 10, dtype=dtype), meta(64, dtype=torch.int64)
    found = times(Everything(dtype), image, ids, on=device)
    assert {one.op_class for one in found} >= {
        *("free", "matmul", "convolution", "attention", "recurrent", "elementwise"),
        *("normalization", "layer_norm", "softmax", "pooling", "copy", "gather", "sort"),
    }
    for one in found:
        if one.op_class == "free":
            assert (one.estimated_s, one.bound) == (0, "")
            continue
        assert 1e-7 < one.estimated_s < 1, one.op
        assert 0 < one.error < 1
        assert one.bound in ("compute", "memory", "launch")
        assert 0 < one.peak < inf


sides = st.floats(0, 13).map(lambda power: round(2**power))


@given(sides, sides, sides, st.sampled_from(names()), st.sampled_from(list(PRECISION)))
def test_products_obey_physics(
    rows: int, columns: int, depth: int, name: str, dtype: torch.dtype
) -> None:
    device = find(name)
    took = product(rows, columns, depth, device, dtype).estimated_s
    assert took > 2 * rows * columns * depth / peak(device, dtype)
    element = dtype.itemsize
    moved = element * (rows * depth + depth * columns + rows * columns)
    if moved > 4 * device.cache_bytes:
        assert took > moved / device.bandwidth


@every_device
@every_dtype
def test_convolutions_obey_physics(device: str, dtype: torch.dtype) -> None:
    known = find(device)
    x, weight = meta(64, 256, 56, 56, dtype=dtype), meta(256, 256, 3, 3, dtype=dtype)
    flops = 2 * x.numel() * 9 * 256
    reachable = peak(known, dtype)
    if dtype == torch.float32:  # unless told otherwise, cuDNN may use TF32
        reachable = known.flops.get("tf32", reachable)
    assert seconds(F.conv2d, x, weight, None, 1, 1, on=known) > flops / reachable


@every_device
@every_dtype
@pytest.mark.parametrize("causal", [False, True])
def test_attention_obeys_physics(device: str, dtype: torch.dtype, causal: bool) -> None:
    known = find(device)
    batch, heads, length, size = 4, 16, 4096, 128
    pairs = length * (length + 1) / 2 if causal else length * length
    took = attention((batch, heads, length, size), on=known, dtype=dtype, causal=causal)
    # PyTorch's memory-efficient kernel multiplies fp32 as three products of TF32 on devices that
    # have it (gemm_kernel_utils.h: OpMultiplyAddFastF32).
    reachable = peak(known, dtype)
    if dtype == torch.float32:
        reachable = max(reachable, known.flops.get("tf32", 0) / 3)
    assert took.estimated_s > 4 * batch * heads * pairs * size / reachable


GIB = 1 << 28  # elements of fp32


def in_place(name: str) -> Callable[[Tensor], Tensor]:
    return lambda x: getattr(x, name)()


#: Calls on 1 GiB of fp32: what they move at least, in GiB.
MOVING: dict[str, tuple[Callable[[Tensor], Any], float]] = {
    "add": (lambda x: x + x, 2),
    "relu": (F.relu, 2),
    "gelu": (F.gelu, 2),
    "clone": (torch.clone, 2),
    "transpose": (lambda x: x.view(1 << 14, -1).t().contiguous(), 2),
    "cat": (lambda x: torch.cat((x, x)), 3),  # the same is read twice: once at least
    "sum": (torch.sum, 1),
    "softmax": (lambda x: x.view(-1, 4096).softmax(-1), 2),
    "layer_norm": (lambda x: F.layer_norm(x.view(-1, 4096), (4096,)), 2),
    "rms_norm": (lambda x: F.rms_norm(x.view(-1, 4096), (4096,)), 2),
    "max_pool": (lambda x: F.max_pool2d(x.view(64, 64, 256, 256), 2), 1.25),
    "cumsum": (lambda x: x.view(-1, 4096).cumsum(-1), 2),
    "sort": (lambda x: x.view(-1, 4096).sort(-1), 4),  # indices of 8 bytes beside the values
    "embedding": (
        lambda x: F.embedding(torch.zeros(1 << 20, dtype=torch.int64), x.view(-1, 256)),
        1,
    ),
}
IN_PLACE: dict[str, tuple[Callable[[Tensor], Any], float]] = {
    "relu_": (in_place("relu_"), 2),
    "exp_": (in_place("exp_"), 2),
    "zero_": (in_place("zero_"), 1),
}


def check_moving(device: str, call: Callable[[Tensor], Any], moved: float) -> None:
    took = max(one.estimated_s for one in times(call, meta(GIB), on=device))
    assert took > moved * 2**30 / find(device).bandwidth


@every_device
@pytest.mark.parametrize("name", MOVING)
def test_moving_obeys_physics(device: str, name: str) -> None:
    check_moving(device, *MOVING[name])


@pytest.mark.parametrize("device", GPUS)
@pytest.mark.parametrize("name", IN_PLACE)
def test_writing_in_place_obeys_physics(device: str, name: str) -> None:
    check_moving(device, *IN_PLACE[name])


@pytest.mark.parametrize("name", IN_PLACE)
def test_writing_in_place_obeys_physics_on_a_cpu(name: str) -> None:
    check_moving("x86", *IN_PLACE[name])


@every_device
def test_shares_of_the_peak_are_shares(device: str) -> None:
    for dtype in PRECISION:
        share = product(8192, 8192, 8192, device, dtype).peak_share
        assert share is not None
        assert 0.2 < share < 1


@every_device
@every_dtype
def test_operational_intensity_is_flops_over_bytes(device: str, dtype: torch.dtype) -> None:
    layer, x = linear(512, 256, dtype), meta(64, 512, dtype=dtype)
    one = time(layer, x, on=device)
    moved = bytes_of(x, layer.weight) + 64 * 256 * dtype.itemsize
    assert one.operational_intensity == pytest.approx(2 * 64 * 512 * 256 / moved)


@every_device
def test_more_work_takes_no_less(device: str) -> None:
    """Within 20 %: a longer sum may be split over more blocks, a larger tile may fill better."""
    known = find(device)
    for dtype in (torch.float32, torch.bfloat16):
        for base in ((1, 512, 512), (100, 300, 255), (128, 4096, 4096), (2000, 1000, 3000)):
            before = product(*base, known, dtype).estimated_s
            for side in range(3):
                for more in (1, 8, 64, base[side]):
                    grown = list(base)
                    grown[side] += more
                    after = product(grown[0], grown[1], grown[2], known, dtype).estimated_s
                    assert after > 0.8 * before, (base, grown, dtype)


BATCHED: dict[str, Callable[[int], tuple[Any, ...]]] = {
    "conv2d": lambda n: (F.conv2d, meta(n, 64, 28, 28), meta(64, 64, 3, 3)),
    "bmm": lambda n: (torch.bmm, meta(n, 196, 64), meta(n, 64, 196)),
    "linear": lambda n: (linear(768, 768, torch.float32), meta(n, 197, 768)),
    "attention": lambda n: (
        F.scaled_dot_product_attention,
        *(meta(n, 12, 197, 64) for _ in range(3)),
    ),
    "gelu": lambda n: (F.gelu, meta(n, 197, 3072)),
    "layer_norm": lambda n: (F.layer_norm, meta(n, 197, 768), (768,)),
    "softmax": lambda n: (torch.softmax, meta(n, 12, 197, 197), -1),
    "lstm": lambda n: (nn.LSTM(32, 64, device="meta"), meta(10, n, 32)),
    "max_pool": lambda n: (F.max_pool2d, meta(n, 64, 112, 112), 3, 2, 1),
    "mean": lambda n: (lambda x: x.mean((2, 3)), meta(n, 512, 7, 7)),
}


@every_device
@pytest.mark.parametrize("name", BATCHED)
def test_a_larger_batch_takes_no_less(device: str, name: str) -> None:
    known = find(device)
    sizes = [1, 2, 3, 7, 16, 64, 100, 256, 1 << 15, 1 << 16]
    found = [
        sum(one.estimated_s for one in times(call, *arguments, on=known))
        for call, *arguments in map(BATCHED[name], sizes)
    ]
    # The CPU's first thread alone may be faster than two of them: at most 15 % are lost there.
    assert all(after > 0.85 * before for before, after in pairwise(found))
    assert found[-1] > 4 * found[0]
    # Once the device is busy, twice the batch takes about twice as long.
    assert found[-1] > 1.7 * found[-2]
