"""Models that PyTorch has quantized: MACs and parameters of their float twins, bytes as stored."""

from __future__ import annotations

import copy
import io
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import nnprof

quantization: Any = torch.ao.quantization

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PyTorch's own, of what it calls deprecated
    pytest.mark.skipif(not torch.backends.quantized.supported_engines, reason="no engine"),
]


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.rnn = kind(16, 32, num_layers=2, bidirectional=True)
        self.out = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


def tensors_in(value: Any) -> Iterator[Tensor]:
    """In a state dict of packed weights, each once."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, torch.ScriptObject):
        yield from tensors_in(value.__getstate__())
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def stored(model: nn.Module) -> int:
    """Bytes of weights and biases in a real state dict, with the scales of channels."""
    found = {t.data_ptr(): t for t in tensors_in(model.state_dict()) if t.dtype != torch.int16}
    total = 0
    for tensor in found.values():
        if not (tensor.is_quantized or tensor.is_floating_point()) or tensor.numel() == 1:
            continue  # the scale of an activation
        total += tensor.untyped_storage().nbytes()
        if tensor.is_quantized and tensor.qscheme() != torch.per_tensor_affine:
            scales = tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()
            total += sum(scale.nbytes for scale in scales)
    return total


def check(model: nn.Module, twin: nn.Module, *inputs: Tensor) -> nnprof.Profile:
    real = model(*inputs)
    profile, expected = nnprof.measure(model, inputs=inputs), nnprof.measure(twin, inputs=inputs)
    assert (profile.macs, profile.params) == (expected.macs, expected.params)
    assert not profile.coverage.generic
    assert not profile.assumptions
    assert not profile.facts.never_called
    if isinstance(real, Tensor) and not real.is_quantized:
        assert torch.equal(model(*inputs), real)  # nothing was left behind
    return profile


DYNAMIC: dict[str, tuple[nn.Module, Tensor]] = {
    "linear": (nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)), torch.rand(8, 64)),
    "small": (nn.Sequential(nn.Linear(4, 3, bias=False)), torch.rand(1, 4)),
    "lstm": (Recurrent(nn.LSTM), torch.rand(7, 3, 16)),
    "gru": (Recurrent(nn.GRU), torch.rand(7, 3, 16)),
    "lstm cell": (nn.Sequential(nn.LSTMCell(16, 32)), torch.rand(3, 16)),
    "gru cell": (nn.Sequential(nn.GRUCell(16, 32)), torch.rand(3, 16)),
    "rnn cell": (nn.Sequential(nn.RNNCell(16, 32)), torch.rand(3, 16)),
}
CONVERTED: set[Any] = {nn.Linear, nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell, nn.RNNCell}


@pytest.mark.parametrize("name", DYNAMIC)
def test_dynamic(name: str) -> None:
    twin, x = DYNAMIC[name]
    model = quantization.quantize_dynamic(copy.deepcopy(twin), CONVERTED)
    profile = check(model, twin, x)
    assert profile.memory.parameters == stored(model)


def test_dynamic_in_halves() -> None:
    """A matrix takes half of its bytes, a bias is left in floats."""
    for name in ("linear", "lstm"):
        twin, x = DYNAMIC[name]
        model = quantization.quantize_dynamic(copy.deepcopy(twin), CONVERTED, dtype=torch.float16)
        profile = check(model, twin, x)
        elements = sum(p.numel() * (2 if p.dim() == 2 else 4) for p in twin.parameters())
        assert profile.memory.parameters == elements


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "conv1d": (nn.Conv1d(4, 8, 3, stride=2, padding=1), (2, 4, 20)),
    "conv2d": (nn.Conv2d(4, 8, 3, groups=2, dilation=2), (2, 4, 20, 20)),
    "conv3d": (nn.Conv3d(4, 8, 3, padding=1), (2, 4, 6, 6, 6)),
    "linear": (nn.Linear(16, 32), (4, 5, 16)),
    "cnn": (
        nn.Sequential(
            nn.Conv2d(3, 4, 1),
            nn.ReLU(),
            nn.ReLU6(),
            nn.Hardswish(),
            nn.Hardsigmoid(),
            nn.Hardtanh(),
            nn.ELU(),
            nn.Sigmoid(),
            nn.Tanh(),
            nn.LeakyReLU(),
            nn.Upsample(scale_factor=2),
            nn.MaxPool2d(2),
            nn.AvgPool2d(2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        ),
        (2, 3, 9, 9),
    ),
    "norms": (
        nn.Sequential(
            nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm([4, 9, 9])
        ),
        (2, 3, 9, 9),
    ),
}


def eager(twin: nn.Module, x: Tensor) -> nn.Module:
    model = nn.Sequential(quantization.QuantStub(), copy.deepcopy(twin), quantization.DeQuantStub())
    model.eval().qconfig = quantization.get_default_qconfig("x86")
    quantization.prepare(model, inplace=True)(x)
    return quantization.convert(model)


def by_graph(twin: nn.Module, x: Tensor) -> nn.Module:
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    mapping = quantization.get_default_qconfig_mapping("x86")
    model = prepare_fx(copy.deepcopy(twin).eval(), mapping, (x,))
    model(x)
    return convert_fx(model)


@pytest.mark.parametrize("convert", [eager, by_graph])
@pytest.mark.parametrize("name", LAYERS)
def test_static(name: str, convert: Any) -> None:
    twin, shape = LAYERS[name]
    x = torch.randn(shape)
    model = convert(twin.eval(), x)
    profile = check(model, twin, x)
    if name != "norms":
        assert profile.memory.parameters + profile.memory.buffers == pytest.approx(
            stored(model), abs=200
        )
    saved = io.BytesIO()
    torch.save(model.state_dict(), saved)  # still there


def test_embeddings() -> None:
    configs = (
        quantization.float_qparams_weight_only_qconfig,
        quantization.float_qparams_weight_only_qconfig_4bit,
    )
    for bits, config in zip((8, 4), configs, strict=True):
        bag: Any = nn.EmbeddingBag(100, 16, mode="sum")
        bag.qconfig = config
        quantized: Any = torch.ao.nn.quantized
        model = quantized.EmbeddingBag.from_float(bag)
        profile = nnprof.measure(model, inputs=(torch.arange(10), torch.tensor([0, 4])))
        assert profile.params == 1600
        assert profile.memory.parameters == 1600 * bits // 8 + 100 * 8  # scale and offset a row


def test_functions_of_a_quantized_tensor() -> None:
    """Python asks a tensor in a trace for its scale."""

    def run(x: Tensor) -> Tensor:
        q = torch.quantize_per_tensor(x, 0.25, 3, torch.quint8)
        assert q.is_quantized
        assert (q.q_scale(), q.q_zero_point()) == (0.25, 3)
        functional: Any = torch.ao.nn.quantized.functional
        pooled: Tensor = functional.avg_pool2d(q, 2)
        assert pooled.q_scale() == 0.25
        for view in (pooled.view(-1), pooled.mT.chunk(2)[0], pooled[0, 1:]):
            assert (view.q_scale(), view.q_zero_point()) == (0.25, 3)
        assert pooled.int_repr().dtype == torch.uint8
        return pooled.dequantize()

    profile = nnprof.measure(run, inputs=torch.randn(1, 3, 40, 40))
    assert profile.coverage.generic == {}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x1_0"])
def test_torchvision(name: str) -> None:
    from nnprof.base.packages import import_torchvision

    models = import_torchvision().models
    model = getattr(models.quantization, name)(weights=None, quantize=True).eval()
    twin = getattr(models, name)(weights=None).eval()
    x = torch.randn(1, 3, 224, 224)
    profile, expected = nnprof.measure(model, inputs=x), nnprof.measure(twin, inputs=x)
    assert profile.macs == expected.macs
    assert not profile.coverage.generic
    norms = sum(
        p.numel() for m in twin.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()
    )
    # A convolution takes over the shift of its batch norm, and nothing else is left of that.
    assert profile.params == expected.params - norms // 2
    assert 0.24 < profile.memory.parameters / expected.memory.parameters < 0.3
