"""Steps of a network that are layers: contractions, images, indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

from tests.fuzz.drawing import (
    Drawing,
    Inapplicable,
    Step,
    at_least,
    filled,
    floating,
    integer,
    of_rank,
    set_item,
)

# Steps: contractions ------------------------------------------------------------------------------


def linear(d: Drawing) -> Step:
    i = d.pick(floating, at_least(1))
    outputs, bias = d.size(), d.flag()
    features = d.pool[i].shape[-1]
    layer = d.layer(lambda: nn.Linear(features, outputs, bias))
    return _of_dtype(d, i, layer)


def _of_dtype(d: Drawing, i: int, layer: nn.Module, **options: Any) -> Step:
    """The layer on the tensor, which is cast to the layer's dtype unless autocast will."""
    cast_first = d.choice([True, True, False])

    def run(x: Tensor) -> Any:
        return layer(x.float() if cast_first else x)

    return Step(repr(layer) + (" cast" if cast_first else ""), (i,), run, **options)


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def convolution(d: Drawing) -> Step:
    i = d.pick(floating, of_rank(2, 3, 4, 5), filled)
    shape = d.pool[i].shape
    batched = len(shape) == 5 or (len(shape) > 2 and d.flag())
    spatial, channels = len(shape) - 1 - batched, shape[1 if batched else 0]
    if spatial > 3:
        raise Inapplicable
    groups = d.choice([n for n in range(1, channels + 1) if channels % n == 0])
    options: dict[str, Any] = {
        "kernel_size": d.size(1, 3),
        "stride": d.size(1, 2),
        "padding": d.size(0, 1),
        "dilation": d.size(1, 2),
        "groups": groups,
        "bias": d.flag(),
    }
    transposed = d.choice([False, False, True])
    if not transposed:
        options["padding_mode"] = d.choice(["zeros", "zeros", "circular", "replicate"])
    kinds: Any = TRANSPOSED if transposed else CONVOLUTIONS
    outputs = groups * d.size(1, 2)
    layer = d.layer(lambda: kinds[spatial - 1](channels, outputs, **options))
    # Volumes are laid out as cuDNN does, which differs from the CPU.
    return _of_dtype(d, i, layer, any_layout=True)


def attention(d: Drawing) -> Step:
    i = d.pick(floating, at_least(2), filled)
    j = d.choice([i, d.pick(floating, at_least(2), lambda t: t.shape[-1] == d.pool[i].shape[-1])])
    causal = d.flag()

    def run(x: Tensor, y: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, y, y, is_causal=causal)

    return Step(f"attention(causal={causal})", (i, j), run, any_layout=True)


def masked_attention(d: Drawing) -> Step:
    i = d.pick(floating, at_least(2), filled)

    def run(x: Tensor) -> Tensor:
        length = x.shape[-2]
        mask = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        return F.scaled_dot_product_attention(x, x, x, attn_mask=mask)

    return Step("masked attention", (i,), run, any_layout=True)


def multihead(d: Drawing) -> Step:
    i = d.pick(floating, of_rank(2, 3), filled)
    embedding = d.pool[i].shape[-1]
    heads = d.choice([n for n in range(1, embedding + 1) if embedding % n == 0])
    first, weights, kind = (
        d.flag(),
        d.flag(),
        d.choice(["attention", "encoder", "pre-norm encoder"]),
    )
    if kind == "attention":
        layer = d.layer(lambda: nn.MultiheadAttention(embedding, heads, batch_first=first))

        def run(x: Tensor) -> Any:
            return layer(x.float(), x.float(), x.float(), need_weights=weights)

        return Step(f"{layer}, {heads} heads", (i,), run, any_layout=True)
    before = kind != "encoder"
    layer = d.layer(
        lambda: nn.TransformerEncoderLayer(
            embedding, heads, 5, batch_first=first, norm_first=before
        )
    )
    return _of_dtype(d, i, layer, any_layout=True)


def recurrent(d: Drawing) -> Step:
    i = d.pick(floating, of_rank(2, 3), filled)
    inputs_, hidden, layers = d.pool[i].shape[-1], d.size(1, 3), d.size(1, 2)
    both, first = d.flag(), d.flag()
    kind: Any = d.choice([nn.LSTM, nn.GRU, nn.RNN])
    layer = d.layer(lambda: kind(inputs_, hidden, layers, bidirectional=both, batch_first=first))
    return Step(repr(layer), (i,), lambda x: layer(x.float()), any_layout=True)


def cell(d: Drawing) -> Step:
    """Along the first dimension, a step a row."""
    i = d.pick(floating, of_rank(2, 3), filled)
    inputs_, hidden = d.pool[i].shape[-1], d.size(1, 3)
    kind: Any = d.choice([nn.LSTMCell, nn.GRUCell, nn.RNNCell])
    layer = d.layer(lambda: kind(inputs_, hidden))

    def run(x: Tensor) -> Any:
        state = None
        for row in x.float():
            state = layer(row, state)
        return state

    return Step(f"loop of {layer}", (i,), run)


def bilinear(d: Drawing) -> Step:
    i = d.pick(floating, at_least(1), filled)
    j = d.pick(floating, filled, lambda t: t.dim() > 0 and t.shape[:-1] == d.pool[i].shape[:-1])
    sizes = d.pool[i].shape[-1], d.pool[j].shape[-1], d.size(1, 3)
    layer = d.layer(lambda: nn.Bilinear(*sizes))
    return Step(repr(layer), (i, j), lambda x, y: layer(x.float(), y.float()))


# Steps: images ------------------------------------------------------------------------------------


def pooling(d: Drawing) -> Step:
    i = d.pick(floating, of_rank(3, 4), filled)
    size, stride, padding, ceil = d.size(1, 3), d.size(1, 2), d.size(0, 1), d.flag()
    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "max_pool1d": lambda x: F.max_pool1d(x, size, stride, padding, ceil_mode=ceil),
        "max_pool2d": lambda x: F.max_pool2d(x, size, stride, padding, ceil_mode=ceil),
        "avg_pool2d": lambda x: F.avg_pool2d(x, size, stride, padding, ceil_mode=ceil),
        "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, size),
        "adaptive_max_pool1d": lambda x: F.adaptive_max_pool1d(x, size),
        "interpolate": lambda x: F.interpolate(x, scale_factor=size),
        "bilinear": lambda x: F.interpolate(x, size=(size, stride), mode="bilinear"),
        "pixel_shuffle": lambda x: F.pixel_shuffle(x, stride),
        "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, stride),
        "unfold": lambda x: F.unfold(x, size, stride=stride, padding=padding),
        "lp_pool2d": lambda x: F.lp_pool2d(x, 2, size),
    }
    name = d.choice(list(kinds))
    return Step(f"{name}({size}, {stride}, {padding}, {ceil})", (i,), kinds[name])


# Steps: indices and masks -------------------------------------------------------------------------


def embedding(d: Drawing) -> Step:
    i, width = d.pick_known(integer), d.size(1, 3)
    layer = d.layer(lambda: nn.Embedding(6, width))
    return Step(repr(layer), (i,), layer)


KNOWN: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "x[index]": lambda x, index: x[index],
    "x[:, index]": lambda x, index: x[:, index],
    "x[index] = 1": lambda x, index: set_item(x.clone(), index, 1),
    "gather": lambda x, index: x.gather(0, index),
    "index_select": lambda x, index: x.index_select(-1, index),
    "take": torch.take,
    "take_along_dim": lambda x, index: x.take_along_dim(index, -1),
    "scatter_add": lambda x, index: torch.zeros_like(x).scatter_add(0, index, x),
    "scatter": lambda x, index: x.scatter(-1, index, 1),
    "index_add": lambda x, index: x.index_add(0, index, x),
    "index_fill": lambda x, index: x.index_fill(0, index, 0),
    "masked_select": torch.masked_select,
    "masked_fill": lambda x, mask: x.masked_fill(mask, 0),
    "where": lambda x, mask: torch.where(mask, x, 0),
    "first of them": lambda x, index: x[int(index.flatten()[0])],
    "as many": lambda x, index: x.repeat_interleave(index.clamp(0, 2), dim=0),
}

OF_KNOWN: dict[str, Callable[[Tensor], Any]] = {
    "nonzero": torch.nonzero,
    "one_hot": F.one_hot,
    "unique": torch.unique,
    "bincount": torch.bincount,
    "argsort": torch.argsort,
    "cumsum": lambda x: x.cumsum(-1),
    "max": lambda x: x.max() + x,
    "arange": lambda x: torch.arange(int(x.max()) + 1, device=x.device),
    "x[x > 0]": lambda x: x[x > 0],
    "if any": lambda x: x + 1 if bool((x > 0).any()) else x.flatten(),
    "sum": lambda x: x.sum(-1),
}


def index(d: Drawing) -> Step:
    name = d.choice(list(KNOWN))
    return Step(name, (d.pick(), d.pick_known()), KNOWN[name])


def of_known(d: Drawing) -> Step:
    name = d.choice(list(OF_KNOWN))
    return Step(name, (d.pick_known(filled),), OF_KNOWN[name])


STEPS: tuple[Callable[[Drawing], Step], ...] = (
    linear,
    convolution,
    attention,
    masked_attention,
    multihead,
    recurrent,
    cell,
    bilinear,
    pooling,
    embedding,
    index,
    of_known,
)
