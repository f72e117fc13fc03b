"""The calls that a calibration times: operators over sizes that are spread evenly on a log scale.

A group of probes has its own constants of the time model to fit. The probes are traced like any
model, so that they are estimated and replayed as any model's calls are.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nnprof.hardware.spec import Hardware

__all__ = ["Group", "Probe", "Probes", "groups"]


@dataclass(frozen=True)
class Probe:
    """One call: `function(*tensors)`; the tensors at `weights` are a model's parameters."""

    function: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    dtype: torch.dtype = torch.float32
    weights: tuple[int, ...] = ()


@dataclass(frozen=True)
class Group:
    """Probes that tell of the same constants; the fits go from the first group to the last."""

    name: str
    probes: tuple[Probe, ...]
    constants: tuple[str, ...]


class Probes(nn.Module):
    """Calls every probe once, on the meta device."""

    def __init__(self, probes: list[Probe]) -> None:
        super().__init__()
        self._probes = probes
        self.weights = nn.ParameterList(
            nn.Parameter(_meta(probe.shapes[index], probe.dtype), requires_grad=False)
            for probe in probes
            for index in probe.weights
        )
        self.eval()

    def forward(self) -> None:
        weights = iter(self.weights)
        for probe in self._probes:
            tensors = [
                next(weights) if index in probe.weights else _meta(shape, probe.dtype)
                for index, shape in enumerate(probe.shapes)
            ]
            probe.function(*tensors)


def _meta(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


@dataclass(frozen=True)
class _Scale:
    """How large probes are made, so that all of them run within the time."""

    work: tuple[float, float]  # FLOPs of a product, from and to
    elements: tuple[float, float]  # of an operator bound by memory
    products: int  # probes of a dtype


_SCALES = {
    "gpu": _Scale(work=(1e7, 4e11), elements=(2**10, 2**27), products=48),
    "cpu": _Scale(work=(2e6, 2e9), elements=(2**8, 2**22), products=24),
}
#: Sizes of a product's sides, from and to: those of layers.
_SIDES = (16.0, 8192.0)


def groups(hardware: Hardware) -> list[Group]:
    """What to time on `hardware`, spread over what models do there."""
    scale = _SCALES[hardware.kind]
    draw = random.Random(0)
    products = _products("float32", torch.float32, scale, draw, _float32_constants(hardware))
    made = [
        _elementwise(scale),
        *_new_memory(hardware),
        products,
        _functions(scale),
        *_memory_bound(scale),
    ]
    if hardware.kind == "gpu" and "bf16" in hardware.flops:
        rate = ("matrix_share", "bandwidth.matmul", "epilogue")
        made.append(_products("bfloat16", torch.bfloat16, scale, draw, rate))
    made += [_convolutions(scale), _depthwise(scale), _attention(hardware)]
    return made


def _float32_constants(hardware: Hardware) -> tuple[str, ...]:
    if hardware.kind == "cpu":
        names = ("half_rows", "half_columns", "half_depth")
        return ("vector_share", "bandwidth.matmul", "launches.matmul", *names)
    return ("vector_share", "bandwidth.matmul")


def _spread(least: float, most: float, count: int) -> Iterator[int]:
    """Whole numbers at equal ratios."""
    for step in range(count):
        yield round(least * (most / least) ** (step / (count - 1)))


def _elementwise(scale: _Scale) -> Group:
    probes = [Probe(torch.add, ((n,), (n,))) for n in _spread(*scale.elements, 14)]
    probes += [Probe(torch.relu, ((n,),)) for n in _spread(*scale.elements, 8)]
    names = ("launch_s", "bandwidth.elementwise", "cache_gain")
    threads = ("fork_s", "single_core") if scale is _SCALES["cpu"] else ()
    return Group("elementwise", tuple(probes), (*names, *threads))


def _new_memory(hardware: Hardware) -> Iterator[Group]:
    """Outputs so large that a CPU's allocator makes new pages for them."""
    if hardware.kind == "cpu":
        sizes = [9 << 20, 12 << 20, 16 << 20]
        probes = tuple(Probe(torch.relu, ((n,),)) for n in sizes)
        yield Group("new memory", probes, ("page_fault_s",))


#: Functions whose time is in computing them, where nothing else is slower.
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": F.silu,
    "tanh": torch.tanh,
    "erf": F.gelu,
    "trigonometric": torch.sin,
    "sqrt": torch.rsqrt,
}


def _functions(scale: _Scale) -> Group:
    sizes = list(_spread(scale.elements[1] / 512, scale.elements[1] / 4, 3))
    probes = [Probe(function, ((n,),)) for function in _FUNCTIONS.values() for n in sizes]
    return Group("functions", tuple(probes), tuple(f"kind.{kind}" for kind in _FUNCTIONS))


def _rows(scale: _Scale, columns: tuple[int, ...], count: int) -> Iterator[tuple[int, int]]:
    for elements in _spread(scale.elements[0] * 16, scale.elements[1] / 4, count):
        for width in columns:
            if elements >= width:
                yield elements // width, width


def _memory_bound(scale: _Scale) -> Iterator[Group]:
    for name, function, columns in (("softmax", lambda x: torch.softmax(x, -1), (64, 512, 4096)),):
        probes = tuple(Probe(function, (shape,)) for shape in _rows(scale, columns, 4))
        yield Group(name, probes, _of_class(name))
    yield Group("reduction", tuple(_means(scale)), _of_class("reduction"))
    yield Group("copy", tuple(_copies(scale)), _of_class("copy"))
    yield Group("layer_norm", tuple(_layer_norms(scale)), _of_class("layer_norm"))
    yield Group("normalization", tuple(_batch_norms(scale)), _of_class("normalization"))
    yield Group("pooling", tuple(_poolings(scale)), ("pooling", "launches.pooling"))
    yield Group("gather", tuple(_embeddings(scale)), _of_class("gather"))


def _of_class(name: str) -> tuple[str, str]:
    return f"bandwidth.{name}", f"launches.{name}"


def _means(scale: _Scale) -> Iterator[Probe]:
    for shape in _rows(scale, (64, 1024), 3):
        yield Probe(lambda x: x.mean(-1), (shape,))
    for elements in _spread(scale.elements[0] * 64, scale.elements[1] / 16, 4):
        last_map = (1, elements // 49, 7, 7)  # of a network
        yield Probe(lambda x: F.adaptive_avg_pool2d(x, 1), (last_map,))


def _copies(scale: _Scale) -> Iterator[Probe]:
    for shape in _rows(scale, (64, 1024), 4):
        yield Probe(torch.clone, (shape,))
        yield Probe(lambda x, y: torch.cat((x, y), -1), (shape, shape))
        rows, width = shape
        if rows >= 16:  # heads put beside each other, as attention does
            parts = (rows // 16, 16, width)
            yield Probe(lambda x: x.transpose(0, 1).clone(), (parts,))


def _layer_norms(scale: _Scale) -> Iterator[Probe]:
    for rows, width in _rows(scale, (256, 1024, 4096), 4):
        shapes = ((rows, width), (width,), (width,))
        yield Probe(_layer_norm, shapes, weights=(1, 2))


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(x, weight.shape, weight, bias)


def _images(scale: _Scale, count: int) -> Iterator[tuple[int, int, int, int]]:
    """Feature maps: the wider the smaller."""
    for index, elements in enumerate(_spread(scale.elements[0] * 64, scale.elements[1] / 4, count)):
        channels = (64, 256, 512)[index % 3]
        side = (56, 28, 14)[index % 3]
        yield max(elements // (channels * side * side), 1), channels, side, side


def _batch_norms(scale: _Scale) -> Iterator[Probe]:
    for shape in _images(scale, 6):
        channels = (shape[1],)
        yield Probe(_batch_norm, (shape, *[channels] * 4), weights=(1, 2, 3, 4))


def _batch_norm(x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.batch_norm(x, mean, variance, weight, bias)


def _poolings(scale: _Scale) -> Iterator[Probe]:
    for shape in _images(scale, 6):
        yield Probe(lambda x: F.max_pool2d(x, 3, 2, 1), (shape,))


def _embeddings(scale: _Scale) -> Iterator[Probe]:
    # So many rows that a replay draws them anew: known ones would all be the first.
    for rows in _spread(96, scale.elements[1] / 2048, 5):

        def look_up(table: Tensor, rows: int = rows) -> Tensor:
            return F.embedding(torch.zeros(rows, dtype=torch.int64, device="meta"), table)

        yield Probe(look_up, ((32768, 768),), weights=(0,))


def _products(
    name: str, dtype: torch.dtype, scale: _Scale, draw: random.Random, constants: tuple[str, ...]
) -> Group:
    """Linear layers of sizes drawn evenly on a log scale, multiples of 8 as most layers' are."""
    probes: list[Probe] = []
    while len(probes) < scale.products:
        rows, columns, depth = (_SIDES[0] * (_SIDES[1] / _SIDES[0]) ** draw.random() for _ in "mnk")
        rows, columns, depth = (max(8 * round(side / 8), 8) for side in (rows, columns, depth))
        if draw.random() < 0.15:
            rows = 1
        if scale.work[0] <= 2 * rows * columns * depth <= scale.work[1]:
            shapes = ((rows, depth), (columns, depth))
            probes.append(Probe(F.linear, shapes, dtype, weights=(1,)))
    return Group(f"{name} products", tuple(probes), constants)


#: Input channels, output channels, side of the image, kernel, stride: those of usual networks.
_LAYERS = (
    (3, 64, 224, 7, 2),
    (64, 64, 56, 1, 1),
    (64, 64, 56, 3, 1),
    (256, 64, 56, 1, 1),
    (128, 128, 28, 3, 1),
    (512, 128, 28, 1, 1),
    (256, 256, 28, 3, 2),
    (256, 1024, 14, 1, 1),
    (256, 256, 14, 3, 1),
    (512, 512, 7, 3, 1),
    (2048, 512, 7, 1, 1),
    (3, 768, 224, 16, 16),
)


def _batches(scale: _Scale) -> tuple[int, ...]:
    return (1, 2) if scale is _SCALES["cpu"] else (1, 32)


def _convolutions(scale: _Scale) -> Group:
    probes = []
    for batch in _batches(scale):
        for inputs, outputs, side, kernel, stride in _LAYERS:
            shapes = ((batch, inputs, side, side), (outputs, inputs, kernel, kernel))
            probes.append(Probe(_convolution(stride, kernel, 1), shapes, weights=(1,)))
    launches = ("launches.convolution",) if scale is _SCALES["cpu"] else ()
    return Group("convolutions", tuple(probes), ("convolution", *launches))


def _convolution(stride: int, kernel: int, groups: int) -> Callable[[Tensor, Tensor], Tensor]:
    padding = kernel // 2 if kernel < 16 else 0
    return lambda x, weight: F.conv2d(x, weight, None, stride, padding, 1, groups)


def _depthwise(scale: _Scale) -> Group:
    probes = []
    for batch in _batches(scale):
        for channels, side, kernel in ((32, 112, 3), (96, 56, 3), (192, 28, 5), (576, 14, 3)):
            shapes = ((batch, channels, side, side), (channels, 1, kernel, kernel))
            probes.append(Probe(_convolution(1, kernel, channels), shapes, weights=(1,)))
    return Group("depthwise convolutions", tuple(probes), ("depthwise",))


def _attention(hardware: Hardware) -> Group:
    """Self-attention, whole and causal, and a decode step, as the device's kernel does it."""
    if hardware.kind == "cpu":
        lengths, dtype, kernel = (64, 128, 197, 384), torch.float32, "cpu"
        names: tuple[str, ...] = ("share_64", "share_128", "fixed_s")
    else:
        lengths, dtype, kernel = (256, 512, 1024, 4096), torch.bfloat16, _gpu_kernel(hardware)
        names = ("share_64", "share_128", "fixed_s", "setup")
        if "bf16" not in hardware.flops:
            dtype = torch.float16
    probes = []
    for length in lengths:
        for size in (64, 128):
            shape = (1, 12, length, size)
            probes += [Probe(_attend(causal), (shape,) * 3, dtype) for causal in (False, True)]
    constants = (*(f"attention.{kernel}.{name}" for name in names), "bandwidth.attention")
    return Group("attention", tuple(probes), constants)


def _attend(causal: bool) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal)


def _gpu_kernel(hardware: Hardware) -> str:
    if hardware.architecture in ("hopper", "blackwell"):
        return "cudnn"
    return "efficient" if hardware.architecture in ("volta", "turing") else "fa2"
