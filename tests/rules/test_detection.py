"""torchvision's operators, against loops over tiny inputs: what they give, and what they count."""

from __future__ import annotations

import collections
import itertools
import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import nnprof
from nnprof.base.packages import import_torchvision
from nnprof.models import load_model
from tests.rules.costs import CallCost, cost_of, meta
from tests.rules.differential import run_traced

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.skipif(not find_spec("torchvision"), reason="torchvision is an extra")


@pytest.fixture(scope="module")
def ops() -> ModuleType:
    found: ModuleType = import_torchvision().ops
    return found


# Arithmetic that is counted -----------------------------------------------------------------------


class Number:
    """A float that notes each operation on it, by the kinds that nnprof has."""

    counts: ClassVar[collections.Counter[str]] = collections.Counter()

    def __init__(self, value: float) -> None:
        self.value = value

    def _made(self, kind: str, value: float) -> Number:
        Number.counts[kind] += 1
        return Number(value)

    def __add__(self, other: Any) -> Number:
        return self._made("add", self.value + _value(other))

    def __sub__(self, other: Any) -> Number:
        return self._made("add", self.value - _value(other))

    def __rsub__(self, other: Any) -> Number:
        return self._made("add", _value(other) - self.value)

    def __mul__(self, other: Any) -> Number:
        return self._made("multiply", self.value * _value(other))

    def __truediv__(self, other: Any) -> Number:
        return self._made("division", self.value / _value(other))

    def floor(self) -> int:
        Number.counts["add"] += 1
        return math.floor(self.value)

    def at_least(self, other: Any) -> Number:
        return self._made("compare", max(self.value, _value(other)))

    def at_most(self, other: Any) -> Number:
        return self._made("compare", min(self.value, _value(other)))

    def __gt__(self, other: Any) -> bool:
        Number.counts["compare"] += 1
        return self.value > float(_value(other))


def _value(number: Any) -> float:
    return number.value if isinstance(number, Number) else float(number)


def numbers(tensor: Tensor) -> Any:
    """Nested lists of them."""
    if tensor.dim() == 0:
        return Number(tensor.item())
    return [numbers(part) for part in tensor]


def corners(y: Number, x: Number) -> list[tuple[int, int, Number]]:
    """The four neighbours of a point, and their weights."""
    top, left = y.floor(), x.floor()
    down, right = y - top, x - left
    up, back = 1 - down, 1 - right
    return [
        (top, left, up * back),
        (top, left + 1, up * right),
        (top + 1, left, down * back),
        (top + 1, left + 1, down * right),
    ]


def interpolate(channel: list[list[Number]], at: list[tuple[int, int, Number]]) -> Number:
    """Zero outside; what lies there is weighed all the same."""

    def pixel(y: int, x: int) -> Number:
        inside = 0 <= y < len(channel) and 0 <= x < len(channel[0])
        return channel[y][x] if inside else Number(0.0)

    first, *others = (pixel(y, x) * weight for y, x, weight in at)
    total = first
    for other in others:
        total = total + other
    return total


# Non-maximum suppression --------------------------------------------------------------------------


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    order = scores.argsort(descending=True, stable=True).tolist()
    corner = numbers(boxes)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in corner]
    kept: list[int] = []
    removed: set[int] = set()
    for place, i in enumerate(order):
        if i in removed:
            continue
        kept.append(i)
        for j in order[place + 1 :]:
            a, b = corner[i], corner[j]
            left, top = a[0].at_least(b[0]), a[1].at_least(b[1])
            right, bottom = a[2].at_most(b[2]), a[3].at_most(b[3])
            shared = (right - left).at_least(0) * (bottom - top).at_least(0)
            if shared / (areas[i] + areas[j] - shared) > threshold:
                removed.add(j)
    return kept


def test_nms_of_boxes_apart(ops: ModuleType) -> None:
    origin = torch.arange(6.0)[:, None] * 3
    boxes = torch.cat([origin, origin, origin + 1, origin + 2], dim=1)
    Number.counts.clear()
    kept = nms(boxes, torch.rand(6), 0.5)
    cost = cost_of(ops.nms, meta(6, 4), meta(6), 0.5)
    assert len(kept) == 6
    sort = 6 * 3  # a merge sort of 6 compares each at most 3 times
    assert cost.kinds == dict(Number.counts + collections.Counter(compare=sort))
    assert (cost.bytes_read, cost.bytes_written) == (6 * 5 * 4, 6 * 8)


def test_all_boxes_are_kept_and_said_so(ops: ModuleType) -> None:
    boxes, scores = meta(5, 4), meta(5)
    with nnprof.trace() as running:
        kept = ops.nms(boxes, scores, 0.5)
        picked = boxes[kept]
        numbers_of_kept = kept.tolist()
    assert numbers_of_kept == [0, 1, 2, 3, 4]
    assert picked.shape == (5, 4)
    assert any("nms" in line and "all boxes" in line for line in running.profile().assumptions)


@pytest.mark.parametrize("sizes", [((5, 4), (4,)), ((5, 5), (5,)), ((5,), (5,)), ((5, 4), (5, 1))])
def test_nms_refuses(ops: ModuleType, sizes: tuple[Any, Any]) -> None:
    run = run_traced(ops.nms, ((meta(*sizes[0]), meta(*sizes[1]), 0.5), {}))
    assert isinstance(run.error, nnprof.NnprofError)


# Regions of interest ------------------------------------------------------------------------------


def roi_align(
    x: Tensor, rois: Tensor, scale: float, height: int, width: int, ratio: int
) -> list[Any]:
    images = [[numbers(channel) for channel in image] for image in x]
    outputs = []
    for roi in rois:
        box = [Number(v) * scale for v in roi[1:].tolist()]
        tall, wide = box[3] - box[1], box[2] - box[0]
        rise, run = tall / height, wide / width
        image = images[int(roi[0])]
        for row, column in itertools.product(range(height), range(width)):
            points = []
            for i, j in itertools.product(range(ratio), repeat=2):
                y = inside(along(box[1], row, rise, i, ratio), x.shape[2])
                z = inside(along(box[0], column, run, j, ratio), x.shape[3])
                points.append(corners(y, z))
            for channel in image:
                total = Number(0.0)
                for point in points:
                    total = total + interpolate(channel, point)
                outputs.append(total / (ratio * ratio))
    return outputs


def along(start: Number, bin_: int, size: Number, point: int, points: int) -> Number:
    half = Number(point) + 0.5
    return start + size * bin_ + half * size / points


def inside(coordinate: Number, size: int) -> Number:
    return coordinate.at_least(0).at_most(size - 1)


def test_roi_align(ops: ModuleType) -> None:
    x, rois = torch.rand(2, 3, 6, 5), torch.tensor([[0.0, 0, 0, 8, 8], [1, 2, 2, 10, 6]])
    Number.counts.clear()
    outputs = roi_align(x, rois, 0.5, 2, 3, 2)
    on_meta = x.to("meta"), rois.to("meta")
    cost = cost_of(ops.roi_align, *on_meta, (2, 3), 0.5, 2)
    assert cost.kinds == dict(Number.counts)
    assert cost.bytes_written == 4 * len(outputs)
    with nnprof.trace():
        assert ops.roi_align(*on_meta, (2, 3), 0.5, 2).shape == (2, 3, 2, 3)


def test_roi_align_reads_what_it_samples(ops: ModuleType) -> None:
    cost = cost_of(ops.roi_align, meta(1, 3, 100, 100), meta(1, 5), (2, 2), 1.0, 1)
    assert cost.bytes_read == 4 * (5 + 3 * 4 * 4)  # four corners of each bin's point


def test_points_as_many_as_pixels(ops: ModuleType) -> None:
    """With no ratio, the whole input's."""
    whole = cost_of(ops.roi_align, meta(1, 3, 8, 8), meta(1, 5), (2, 2))
    four = cost_of(ops.roi_align, meta(1, 3, 8, 8), meta(1, 5), (2, 2), 1.0, 4)
    assert whole == four


def test_position_sensitive(ops: ModuleType) -> None:
    for pool in (ops.ps_roi_pool, ops.ps_roi_align):
        with nnprof.trace():
            assert pool(meta(2, 12, 8, 8), meta(3, 5), (2, 3)).shape == (3, 2, 2, 3)
        refused = run_traced(pool, ((meta(2, 13, 8, 8), meta(3, 5), (2, 3)), {}))
        assert isinstance(refused.error, nnprof.NnprofError)


@pytest.mark.parametrize("name", ["roi_pool", "ps_roi_pool"])
def test_bins_of_the_whole_input(ops: ModuleType, name: str) -> None:
    """Every pixel falls in one bin of each region: one comparison, or sum."""
    cost = cost_of(getattr(ops, name), meta(1, 4, 6, 6), meta(2, 5), (2, 2))
    planes = 2 * (4 if name == "roi_pool" else 1)
    borders = 2 * 2 * 2  # regions and bins
    if name == "roi_pool":
        assert cost.kinds["compare"] == planes * 36 + borders * 8
    else:
        assert cost.kinds["add"] == planes * 36 + borders * 8
        assert cost.kinds["division"] == 2 * 4


# Deformable convolution ---------------------------------------------------------------------------


class Window:
    """The geometry of one deformable convolution, and its loops."""

    def __init__(self, groups: int, offset_groups: int, masked: bool) -> None:
        self.groups, self.offset_groups, self.masked = groups, offset_groups, masked
        self.stride, self.padding, self.dilation = (2, 1), (1, 0), (1, 2)
        self.x = torch.rand(2, 4, 5, 6)
        self.weight = torch.rand(6, 4 // groups, 3, 2)
        self.bias = torch.rand(6)
        plain = F.conv2d(self.x, self.weight, self.bias, *self.geometry(), groups)
        batch, _, *self.places = plain.shape
        self.offset = torch.zeros(batch, 2 * offset_groups * 6, *self.places)
        self.mask = torch.ones(batch, offset_groups * 6, *self.places)

    def geometry(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        return self.stride, self.padding, self.dilation

    def arguments(self) -> tuple[Any, ...]:
        tensors = self.x, self.offset, self.weight, self.bias
        mask = self.mask.to("meta") if self.masked else None
        return (*(t.to("meta") for t in tensors), *self.geometry(), mask)

    def loops(self) -> tuple[Tensor, int]:
        """The output, and how many multiply-accumulates it took; the rest is in Number.counts."""
        x, offset, mask = numbers(self.x), numbers(self.offset), numbers(self.mask)
        macs = 0
        output = torch.zeros(2, 6, *self.places)
        for image, row, column in itertools.product(range(2), *map(range, self.places)):
            samples: dict[tuple[int, int], float] = {}
            for group, tap in itertools.product(range(self.offset_groups), range(6)):
                i, j = divmod(tap, 2)
                place = group * 6 + tap
                y = offset[image][2 * place][row][column] + (row * 2 - 1 + i)
                z = offset[image][2 * place + 1][row][column] + (column + 2 * j)
                point = corners(y, z)
                share = 4 // self.offset_groups
                for channel in range(group * share, (group + 1) * share):
                    sample = interpolate(x[image][channel], point)
                    if self.masked:
                        sample = sample * mask[image][place][row][column]
                    samples[channel, tap] = sample.value
            for out in range(6):
                total, inputs = 0.0, 4 // self.groups
                first = out // (6 // self.groups) * inputs
                for channel, tap in itertools.product(range(inputs), range(6)):
                    weight = self.weight[out, channel, tap // 2, tap % 2].item()
                    total += weight * samples[first + channel, tap]
                    macs += 1
                output[image, out, row, column] = (Number(total) + self.bias[out].item()).value
        return output, macs


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("groups", "offset_groups"), [(1, 1), (2, 1), (1, 2), (2, 4)])
def test_deform_conv2d(ops: ModuleType, groups: int, offset_groups: int, masked: bool) -> None:
    window = Window(groups, offset_groups, masked)
    Number.counts.clear()
    output, macs = window.loops()
    plain = F.conv2d(window.x, window.weight, window.bias, *window.geometry(), groups)
    torch.testing.assert_close(output, plain)  # the loops are right: without offsets, the same
    cost: CallCost = cost_of(ops.deform_conv2d, *window.arguments())
    assert (cost.macs, cost.kinds) == (macs, dict(Number.counts))
    with nnprof.trace():
        got = ops.deform_conv2d(*window.arguments())
    assert (got.shape, got.stride()) == (plain.shape, plain.stride())


def test_deform_conv2d_refuses_what_torchvision_refuses(ops: ModuleType) -> None:
    x, offset, weight, bias, *rest = Window(2, 2, masked=True).arguments()
    for wrong in (
        (x[:, :3], offset, weight, bias),
        (x, offset[:, :-2], weight, bias),
        (x, offset[..., :-1], weight, bias),
        (x, offset, weight[:5], bias),
    ):
        run = run_traced(ops.deform_conv2d, ((*wrong, *rest), {}))
        assert isinstance(run.error, nnprof.NnprofError)


# Models -------------------------------------------------------------------------------------------


def test_a_whole_detector_against_its_parts() -> None:
    """Faster R-CNN: the backbone once, the heads over every level and every proposal kept."""
    model = load_model("torchvision:fasterrcnn_mobilenet_v3_large_fpn")
    profile = nnprof.measure(model, (1, 3, 320, 320))
    parts = ("backbone", "rpn.head", "roi_heads.box_head", "roi_heads.box_predictor")
    assert profile.macs == sum(profile[part].macs for part in parts)
    assert not profile.coverage.generic
    proposals = profile["roi_heads.box_head"].input_shapes[0][0]
    assert proposals == model.rpn.post_nms_top_n()
    head = model.roi_heads.box_head
    assert profile["roi_heads.box_head"].macs == proposals * (
        head.fc6.weight.numel() + head.fc7.weight.numel()
    )
    assert any("all boxes are kept" in line for line in profile.assumptions)


def test_labels_are_few() -> None:
    """Boxes are told apart by class: a suppression a class, not one a box."""
    import_torchvision()
    profile = nnprof.measure(
        load_model("torchvision:ssdlite320_mobilenet_v3_large"), (1, 3, 320, 320)
    )
    assert profile.coverage.ruled["torchvision::nms"] == 90
