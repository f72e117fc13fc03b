"""The models that the benchmarks, the demo and the tests of exact numbers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnprof.base.packages import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class LlamaConfig:
    """What decides the size of a Llama. The defaults are Llama-2-7B."""

    hidden: int = 4096
    ffn: int = 11008
    layers: int = 32
    heads: int = 32
    kv_heads: int = 32
    vocabulary: int = 32000
    context: int = 4096
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads


LLAMA_2_7B = LlamaConfig()
LLAMA_3_8B = LlamaConfig(
    ffn=14336, kv_heads=8, vocabulary=128256, context=8192, rope_theta=500000.0
)
LLAMA_3_70B = LlamaConfig(
    hidden=8192,
    ffn=28672,
    layers=80,
    heads=64,
    kv_heads=8,
    vocabulary=128256,
    context=8192,
    rope_theta=500000.0,
)
LLAMA_3_405B = LlamaConfig(
    hidden=16384,
    ffn=53248,
    layers=126,
    heads=128,
    kv_heads=8,
    vocabulary=128256,
    context=8192,
    rope_theta=500000.0,
)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of (batch, heads, sequence, head size), halves convention."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Attention(nn.Module):
    """Grouped-query causal self-attention."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.kv_heads = config.kv_heads
        self.head_size = config.head_size
        kv_features = config.kv_heads * config.head_size
        self.q_proj = nn.Linear(config.hidden, config.hidden, bias=False)
        self.k_proj = nn.Linear(config.hidden, kv_features, bias=False)
        self.v_proj = nn.Linear(config.hidden, kv_features, bias=False)
        self.o_proj = nn.Linear(config.hidden, config.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, sequence, _ = x.shape
        q = self.q_proj(x).view(batch, sequence, self.heads, self.head_size).transpose(1, 2)
        k = self.k_proj(x).view(batch, sequence, self.kv_heads, self.head_size).transpose(1, 2)
        v = self.v_proj(x).view(batch, sequence, self.kv_heads, self.head_size).transpose(1, 2)
        out = F.scaled_dot_product_attention(
            rotate(q, cos, sin),
            rotate(k, cos, sin),
            v,
            is_causal=True,
            enable_gqa=self.kv_heads != self.heads,
        )
        return self.o_proj(out.transpose(1, 2).reshape(batch, sequence, -1))


class MLP(nn.Module):
    """SwiGLU feed-forward."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.ffn, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.ffn, bias=False)
        self.down_proj = nn.Linear(config.ffn, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.input_norm = nn.RMSNorm(config.hidden, eps=config.norm_eps)
        self.attention = Attention(config)
        self.post_norm = nn.RMSNorm(config.hidden, eps=config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.input_norm(x), cos, sin)
        return x + self.mlp(self.post_norm(x))


class Llama(nn.Module):
    """A decoder-only Llama: token ids (batch, sequence) to logits (batch, sequence, vocabulary)."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocabulary, config.hidden)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.hidden, eps=config.norm_eps)
        self.lm_head = nn.Linear(config.hidden, config.vocabulary, bias=False)
        half = torch.arange(config.head_size // 2, dtype=torch.float32)
        frequencies = config.rope_theta ** (-2.0 * half / config.head_size)
        angles = torch.arange(config.context, dtype=torch.float32)[:, None] * frequencies
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed_tokens(ids)
        cos = self.cos[: ids.shape[1]]
        sin = self.sin[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, cos, sin)
        logits: Tensor = self.lm_head(self.norm(x))
        return logits


def llama(config: LlamaConfig, dtype: torch.dtype = torch.bfloat16, device: str = "meta") -> Llama:
    """A Llama in eval mode; on the meta device, the default, it has no weights."""
    with torch.device(device):
        return Llama(config).to(dtype).eval()


def torchvision_model(name: str, device: str = "meta") -> nn.Module:
    """A torchvision classifier in eval mode, randomly initialised (or on meta: not at all)."""
    models = import_torchvision().models
    with torch.device(device):
        model: nn.Module = models.get_model(name, weights=None)
    return model.eval()


@dataclass(frozen=True)
class BenchmarkModel:
    """A model of the benchmark table with the input that it is measured on."""

    name: str
    build: Callable[[str], nn.Module]  # takes the device
    shape: tuple[int, ...]
    vocabulary: int | None = None  # None: the input is floating, else token ids below this
    macs: int | None = None  # where the number is known from elsewhere

    def example(self, device: str) -> Tensor:
        if self.vocabulary is None:
            return torch.randn(self.shape, device=device)
        return torch.randint(self.vocabulary, self.shape, device=device)

    def weight_bytes(self) -> int:
        """What the real weights would need in memory."""
        return sum(p.numel() * p.element_size() for p in self.build("meta").parameters())


def _vision(name: str) -> Callable[[str], nn.Module]:
    return lambda device: torchvision_model(name, device)


def _llama(config: LlamaConfig) -> Callable[[str], nn.Module]:
    return lambda device: llama(config, device=device)


BENCHMARK_MODELS = {
    model.name: model
    for model in (
        BenchmarkModel("ResNet-50", _vision("resnet50"), (1, 3, 224, 224), macs=4_089_184_256),
        BenchmarkModel("ViT-B/16", _vision("vit_b_16"), (1, 3, 224, 224), macs=17_563_828_224),
        BenchmarkModel("ConvNeXt-L", _vision("convnext_large"), (1, 3, 224, 224)),
        BenchmarkModel(
            "Llama-70B at 4096",
            _llama(LLAMA_3_70B),
            (1, 4096),
            LLAMA_3_70B.vocabulary,
            macs=306_669_254_868_992,
        ),
        BenchmarkModel(
            "Llama-405B at 8192", _llama(LLAMA_3_405B), (1, 8192), LLAMA_3_405B.vocabulary
        ),
    )
}
