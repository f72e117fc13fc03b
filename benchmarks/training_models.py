"""The models whose training steps the benchmarks and the tests compare with real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchmarks.models import LlamaConfig, llama, torchvision_model
from nnprof.base.packages import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class TrainingModel:
    """A model and an input for it, both made on a device."""

    name: str
    make: Callable[[str], nn.Module]
    make_input: Callable[[str], Tensor]


class UNet(nn.Module):
    """Two levels down and up again, with transposed convolutions and skips."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.down1 = _double_convolution(3, width)
        self.down2 = _double_convolution(width, 2 * width)
        self.bottom = _double_convolution(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.merge2 = _double_convolution(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.merge1 = _double_convolution(2 * width, width)
        self.head = nn.Conv2d(width, 2, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 3, height, width) in, (batch, 2, height, width) out."""
        first = self.down1(x)
        second = self.down2(self.pool(first))
        x = self.up2(self.bottom(self.pool(second)))
        x = self.up1(self.merge2(torch.cat([x, second], dim=1)))
        out: Tensor = self.head(self.merge1(torch.cat([x, first], dim=1)))
        return out


def _double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class LSTMTagger(nn.Module):
    """Embeds tokens, reads them with a two-layer LSTM, tags each."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, 128)
        self.lstm = nn.LSTM(128, 256, num_layers=2, batch_first=True)
        self.head = nn.Linear(256, 50)

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, tokens) in, (batch, tokens, 50) out."""
        out: Tensor = self.head(self.lstm(self.embedding(ids))[0])
        return out


SMALL_LLAMA = LlamaConfig(
    hidden=256, ffn=688, layers=2, heads=8, kv_heads=2, vocabulary=1000, context=128
)


def _on(device: str, make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device(device):
        return make()


def _transformer(kind: str) -> nn.Module:
    import_torchvision()  # which transformers imports
    import transformers

    configuration: Any = {
        "bert": lambda: transformers.BertConfig(),
        "gpt2": lambda: transformers.GPT2Config(use_cache=False),
    }[kind]()
    configuration.attn_implementation = "sdpa"
    if kind == "bert":
        return transformers.BertForMaskedLM(configuration)
    return transformers.GPT2LMHeadModel(configuration)


def _pixels(size: int, batch: int = 2) -> Callable[[str], Tensor]:
    return lambda device: torch.zeros(batch, 3, size, size, device=device)


def _tokens(length: int, batch: int = 2) -> Callable[[str], Tensor]:
    # Ids are seldom on meta in a real step, and must lie in every vocabulary here.
    return lambda device: torch.arange(batch * length, device=device).reshape(batch, length) % 900


TRAINING_MODELS = (
    TrainingModel("resnet50", lambda d: torchvision_model("resnet50", d), _pixels(64)),
    TrainingModel("mobilenet_v2", lambda d: torchvision_model("mobilenet_v2", d), _pixels(64)),
    TrainingModel("vit_b_16", lambda d: torchvision_model("vit_b_16", d), _pixels(224)),
    TrainingModel("bert", lambda d: _on(d, lambda: _transformer("bert")), _tokens(64)),
    TrainingModel("gpt2", lambda d: _on(d, lambda: _transformer("gpt2")), _tokens(64)),
    TrainingModel("llama-2-layers", lambda d: llama(SMALL_LLAMA, torch.float32, d), _tokens(128)),
    TrainingModel("unet", lambda d: _on(d, UNet), _pixels(64)),
    TrainingModel("lstm", lambda d: _on(d, LSTMTagger), _tokens(16)),
)


def scalar_loss(output: Any) -> Tensor:
    """The sum of the logits, wherever the model keeps them."""
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits.float().sum()
