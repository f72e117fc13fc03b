"""The same course's transformer as one of its students wrote it: traces 053 to 059.

Their code is not public. It is put together from what the traces show: which sizes follow each
other, and what lives how long.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.core.course_transformer import Embedding, Linear, Sizes, SwiGLU


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        rms = torch.sqrt(torch.mean(x**2, dim=-1, keepdim=True) + 1e-5)
        return x / rms * self.weight


class Rotary(nn.Module):
    """Its tables stay on the CPU: what is looked up in them is moved."""

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.cos = torch.zeros(context, width // 2)
        self.sin = torch.zeros(context, width // 2)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        cos = self.cos[positions].to(x.device)
        sin = self.sin[positions].to(x.device)
        x1, x2 = x[..., 0::2], x[..., 1::2]
        x1_turned = x1 * cos - x2 * sin
        x2_turned = x1 * sin + x2 * cos
        return torch.stack((x1_turned, x2_turned), dim=-1).flatten(-2)


def softmax(x: Tensor) -> Tensor:
    highest, _ = torch.max(x, dim=-1, keepdim=True)
    return torch.exp(x - highest) / torch.sum(torch.exp(x - highest), dim=-1, keepdim=True)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    scores = torch.einsum("...qd,...kd->...qk", query, key)
    scaled = scores / torch.sqrt(torch.tensor(key.shape[-1], device=query.device))
    scaled.masked_fill_(~mask.bool(), float("-inf"))
    return torch.einsum("...qk,...kd->...qd", softmax(scaled), value)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, rotary: Rotary) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = Linear(width, width)
        self.k_proj = Linear(width, width)
        self.v_proj = Linear(width, width)
        self.o_proj = Linear(width, width)
        self.rotary = rotary

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.size(1)
        query, key, value = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        query = query.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key = key.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        value = value.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        positions = torch.arange(tokens)
        query = self.rotary(query, positions)
        key = self.rotary(key, positions)
        out = attention(query, key, value, torch.tril(torch.ones(tokens, tokens)).to(x.device))
        out = out.transpose(1, 2).flatten(2)
        return self.o_proj(out)


class Block(nn.Module):
    def __init__(self, sizes: Sizes, rotary: Rotary) -> None:
        super().__init__()
        self.ln1 = RMSNorm(sizes.width)
        self.ln2 = RMSNorm(sizes.width)
        self.attn = Attention(sizes.width, sizes.heads, rotary)
        self.ffn = SwiGLU(sizes.width, sizes.inner)

    def forward(self, x: Tensor) -> Tensor:
        attended = self.attn(self.ln1(x))
        between = x + attended
        fed = self.ffn(self.ln2(between))
        return between + fed


class Transformer(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.token_embeddings = Embedding(sizes.vocabulary, sizes.width)
        rotary = Rotary(sizes.tokens, sizes.width // sizes.heads)
        self.layers = nn.ModuleList(Block(sizes, rotary) for _ in range(sizes.layers))
        self.ln_final = RMSNorm(sizes.width)
        self.lm_head = Linear(sizes.width, sizes.vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        x = self.token_embeddings(x)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.ln_final(x))
