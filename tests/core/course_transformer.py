"""The transformer of a systems course whose runs many of the allocator traces are of.

Plain torch, written after the course's public description (a pre-norm decoder with RMSNorm, SwiGLU
and rotary positions, its softmax written out): what matters here is which
tensors it makes, in which order, and when it lets them go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Sizes:
    width: int
    inner: int
    layers: int
    heads: int
    vocabulary: int = 10_000
    batch: int = 4
    tokens: int = 128
    look_up: bool = False  # rows of the rotary table by position, rather than sliced


def softmax(x: Tensor) -> Tensor:
    rescaled = x - torch.max(x, dim=-1, keepdim=True)[0]
    exponentiated = torch.exp(rescaled)
    return exponentiated / torch.sum(exponentiated, dim=-1, keepdim=True)


class Linear(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("...i,oi->...o", x, self.weight)


class Embedding(nn.Module):
    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.weight[tokens, :]


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        dtype = x.dtype
        x = x.to(torch.float32)
        rms = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)
        x = x * rms
        return (self.weight * x).to(dtype)


class Rotary(nn.Module):
    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.table: Tensor
        self.register_buffer("table", torch.empty(2, context, width // 2), persistent=False)

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        # "... (half two) -> two ... half"
        pairs = x.unflatten(-1, (-1, 2)).movedim(-1, 0)
        x1, x2 = pairs.unbind(0)
        rows = slice(x.size(-2)) if positions is None else positions
        cos, sin = self.table[:, rows, :].unbind(0)
        x1_turned = cos * x1 - sin * x2
        x2_turned = sin * x1 + cos * x2
        return torch.concat((x1_turned, x2_turned), dim=-1)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    scores = torch.einsum("...qd,...kd->...qk", query, key) / math.sqrt(key.shape[-1])
    scores = torch.where(mask, scores, float("-inf"))
    weights = softmax(scores)
    return torch.einsum("...qk,...kd->...qd", weights, value)


class Attention(nn.Module):
    def __init__(self, sizes: Sizes, rotary: Rotary) -> None:
        super().__init__()
        width = sizes.width
        self.heads, self.look_up = sizes.heads, sizes.look_up
        self.q_proj = Linear(width, width)
        self.k_proj = Linear(width, width)
        self.v_proj = Linear(width, width)
        self.output_proj = Linear(width, width)
        self.rotary = rotary

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value)
        )
        positions = torch.arange(x.size(1), device=x.device) if self.look_up else None
        query = self.rotary(query, positions)
        key = self.rotary(key, positions)
        places = torch.arange(x.size(1), device=x.device)
        mask = places[:, None] >= places[None, :]
        mask = mask[None, ...]
        out = attention(query, key, value, mask)
        out = out.transpose(1, 2).flatten(2).contiguous()
        return self.output_proj(out)


class SwiGLU(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w1 = Linear(width, inner)
        self.w2 = Linear(inner, width)
        self.w3 = Linear(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(silu(self.w1(x)) * self.w3(x))


def silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


class Block(nn.Module):
    def __init__(self, sizes: Sizes, rotary: Rotary) -> None:
        super().__init__()
        self.attn = Attention(sizes, rotary)
        self.ffn = SwiGLU(sizes.width, sizes.inner)
        self.ln1 = RMSNorm(sizes.width)
        self.ln2 = RMSNorm(sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        x_attn = self.attn(self.ln1(x))
        attended = x + x_attn
        x_ffn = self.ffn(self.ln2(attended))
        return attended + x_ffn


class Transformer(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.token_embeddings = Embedding(sizes.vocabulary, sizes.width)
        rotary = Rotary(sizes.tokens, sizes.width // sizes.heads)
        self.positional_encoder = rotary
        self.layers = nn.ModuleList(Block(sizes, rotary) for _ in range(sizes.layers))
        self.ln_final = RMSNorm(sizes.width)
        self.lm_head = Linear(sizes.width, sizes.vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        embedded = self.token_embeddings(x)  # held to the end
        x = embedded
        for layer in self.layers:
            x = layer(x)
        x = self.ln_final(x)
        return self.lm_head(x)
