"""A decoder as torchtitan writes it: the same modules, the same names, small sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sizes:
    width: int = 64
    layers: int = 3
    heads: int = 4
    groups: int = 2
    hidden: int = 160
    vocabulary: int = 256
    tokens: int = 32


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class Attention(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.head = sizes.width // sizes.heads
        self.wq = nn.Linear(sizes.width, sizes.heads * self.head, bias=False)
        self.wk = nn.Linear(sizes.width, sizes.groups * self.head, bias=False)
        self.wv = nn.Linear(sizes.width, sizes.groups * self.head, bias=False)
        self.wo = nn.Linear(sizes.heads * self.head, sizes.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q, k, v = (
            layer(x).view(batch, tokens, -1, self.head).transpose(1, 2)
            for layer in (self.wq, self.wk, self.wv)
        )
        q, k = rotated(q, cos, sin), rotated(k, cos, sin)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.wo(out.transpose(1, 2).reshape(batch, tokens, -1))


class FeedForward(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.w1 = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.w2 = nn.Linear(sizes.hidden, sizes.width, bias=False)
        self.w3 = nn.Linear(sizes.width, sizes.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.attention_norm, self.ffn_norm = nn.RMSNorm(sizes.width), nn.RMSNorm(sizes.width)
        self.attention, self.feed_forward = Attention(sizes), FeedForward(sizes)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        h = x + self.attention(self.attention_norm(x), cos, sin)
        return h + self.feed_forward(self.ffn_norm(h))


class Decoder(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.tok_embeddings: nn.Module | None = nn.Embedding(sizes.vocabulary, sizes.width)
        self.layers = nn.ModuleDict({str(i): Block(sizes) for i in range(sizes.layers)})
        self.norm: nn.Module | None = nn.RMSNorm(sizes.width)
        self.output: nn.Module | None = nn.Linear(sizes.width, sizes.vocabulary, bias=False)
        head = sizes.width // sizes.heads
        self.register_buffer("cos", torch.ones(sizes.tokens, head), persistent=False)
        self.register_buffer("sin", torch.ones(sizes.tokens, head), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.tok_embeddings is not None:
            x = self.tok_embeddings(x)
        for block in self.layers.values():
            x = block(x, self.cos, self.sin)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.output is None else self.output(x)
