"""Steps of a network that are what programs do beside calling layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

from tests.fuzz.drawing import Drawing, Step, at_least, computable, filled, floating, of_rank

# Steps: control flow ------------------------------------------------------------------------------


def branch(d: Drawing) -> Step:
    """On sizes: which of two layers comes next."""
    i = d.pick(floating, at_least(1))
    features, limit = d.pool[i].shape[-1], d.size(1, 4)
    narrow, wide = nn.Linear(features, 1), nn.Linear(features, 3)
    d.layers += [narrow, wide]

    def run(x: Tensor) -> Any:
        layer = wide if x.shape[0] > limit else narrow
        return layer(x.float())

    return Step(f"a layer by size({limit})", (i,), run)


def loop(d: Drawing) -> Step:
    """As often as there are rows, with a layer that is used again and again."""
    i = d.pick(floating, of_rank(2, 3), filled)
    features = d.pool[i].shape[-1]
    layer = d.layer(lambda: nn.Linear(features, features))

    def run(x: Tensor) -> Any:
        rows = [x[0].float()]
        for row in x[1:]:
            rows.append(layer(rows[-1]) + row)
        return torch.stack(rows)

    return Step(f"loop of {layer}", (i,), run)


def halved(d: Drawing) -> Step:
    """Until it is small."""

    def run(x: Tensor) -> Tensor:
        while x.numel() > 4 and x.shape[0] > 1:
            x = x[: x.shape[0] // 2] * 2
        return x

    return Step("halved until small", (d.pick(at_least(1)),), run)


def checkpointed(d: Drawing) -> Step:
    i = d.pick(floating, at_least(1))
    features = d.pool[i].shape[-1]
    layer = d.layer(lambda: nn.Sequential(nn.Linear(features, 2), nn.GELU()))

    def run(x: Tensor) -> Any:
        from torch.utils.checkpoint import checkpoint

        return checkpoint(layer, x.float(), use_reentrant=False)

    return Step(f"checkpoint of {layer}", (i,), run)


# Steps: what models do beside calling layers ------------------------------------------------------

CONSTANTS: dict[str, Callable[[Tensor], Any]] = {
    "positions": lambda x: torch.arange(x.shape[-1], device=x.device),
    "rows and columns": lambda x: torch.ones(x.shape[:2], dtype=torch.bool).nonzero(),
    "causal mask": lambda x: torch.full((x.shape[-1],) * 2, float("-inf")).triu(1) + 0 * x.shape[0],
    "a list": lambda x: torch.tensor([[1, 2], [3, x.shape[0]]]),
    "numbers": lambda x: torch.tensor([0.5, 1.5], dtype=torch.float64),
    "a number": lambda x: torch.tensor(2.0),
    "linspace": lambda x: torch.linspace(0, 1, x.shape[0]),
    "eye": lambda x: torch.eye(x.shape[-1], dtype=x.dtype),
    "randn": lambda x: torch.randn(x.shape[0], 3),
    "zeros": lambda x: torch.zeros(2, x.shape[-1]),
    "shape": lambda x: torch.tensor(x.shape),
    "rotations": lambda x: (torch.arange(3.0)[:, None] / torch.arange(1.0, 3.0)).cos(),
}


def constant(d: Drawing) -> Step:
    """Made from sizes. What floats were rounded to is not compared, nor what is drawn."""
    name = d.choice(list(CONSTANTS))
    i = d.pick_known(at_least(1)) if name != "eye" else d.pick(at_least(1))
    return Step(name, (i,), CONSTANTS[name])


COMPLEX: dict[str, Callable[[Tensor], Any]] = {
    "view_as_complex": lambda x: torch.view_as_complex(x.float().contiguous()),
    "rfft": lambda x: torch.fft.rfft(x.float()),
    "fft2": lambda x: torch.fft.fft2(x.float()),
    "polar": lambda x: torch.polar(x.float(), x.float()),
    "as real": torch.view_as_real,
    "conj": lambda x: x.conj() * 2,
    "irfft": torch.fft.irfft,
    "absolute": lambda x: x.abs(),
    "x.mH @ x": lambda x: x.mH @ x,
    "rotated": lambda x: torch.view_as_real(x * torch.ones_like(x)).flatten(-2),
}


def complex_numbers(d: Drawing) -> Step:
    name = d.choice(list(COMPLEX))
    return Step(name, (d.pick(),), COMPLEX[name], any_layout=True)


def inner_autocast(d: Drawing) -> Step:
    i, enabled = d.pick(floating, at_least(1)), d.flag()
    features = d.pool[i].shape[-1]
    layer = d.layer(lambda: nn.Linear(features, 2))

    def run(x: Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            return layer(x.float()).softmax(-1) + 1

    return Step(f"autocast({enabled}) of {layer}", (i,), run)


def weight_parts(d: Drawing) -> Step:
    """A part of a weight, through a view of it."""
    i, rows = d.pick(floating, at_least(1)), d.size(1, 3)
    features = d.pool[i].shape[-1]
    layer: Any = d.layer(lambda: nn.Linear(features, 4))

    def run(x: Tensor) -> Any:
        return F.linear(x.float(), layer.weight[:rows], layer.bias[:rows]) @ layer.weight[:rows]

    return Step(f"{rows} rows of {layer}", (i,), run)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x @ x.mT).mul_(2)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        raise NotImplementedError


def own_function(d: Drawing) -> Step:
    return Step("autograd.Function", (d.pick(floating, at_least(2)),), Doubled.apply)


def vmapped(d: Drawing) -> Step:
    i = d.pick(computable, at_least(2))
    features = d.pool[i].shape[-1]
    layer: Any = d.layer(lambda: nn.Linear(features, 2))

    def run(x: Tensor) -> Any:
        return torch.vmap(lambda row: torch.tanh(layer(row.float())))(x)

    return Step(f"vmap of {layer}", (i,), run)


STEPS: tuple[Callable[[Drawing], Step], ...] = (
    branch,
    loop,
    halved,
    checkpointed,
    constant,
    complex_numbers,
    inner_autocast,
    weight_parts,
    own_function,
    vmapped,
)
