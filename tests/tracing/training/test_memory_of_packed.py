"""Weights and moments in few bits, and adapters: what a step of training holds on a CPU, against
PyTorch's own allocations. Floats are made of the former for each use anew, and freed after it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_map
from torch.utils.checkpoint import checkpoint

from tests.tracing.training.ways import llama, peaks, tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

aten = torch.ops.aten
RANK, BLOCK = 8, 64


def replaced(model: Any, make: Callable[[nn.Linear], nn.Module]) -> Any:
    """Its blocks' products are made anew and the rest is frozen; the head stays, as in QLoRA."""
    model.requires_grad_(False)
    for parent in list(model.model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, make(child))
    return model


def adamw(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-3)


def sgd(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1e-3)


def state_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    found: list[Tensor] = []
    for state in optimizer.state.values():
        tree_map(lambda value: found.append(value) if isinstance(value, Tensor) else None, state)
    return found


def training(model: Any, make_optimizer: Callable[[Any], Any] = adamw) -> tuple[int, int]:
    """Peaks of a step that is not the first: the optimizer's state is there."""
    ids = tokens(length=16)
    optimizer = make_optimizer([p for p in model.parameters() if p.requires_grad])

    def step() -> None:
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    model.train()
    step()
    return peaks(model, [ids, *state_of(optimizer)], step)


def middles(table: Tensor) -> Tensor:
    """Where a value is as near to one of the table's as to the next."""
    return (table[1:] + table[:-1]) / 2


# Four bits ----------------------------------------------------------------------------------------


class Packed(nn.Module):
    """A weight as two values a byte, a scale for each block of them, and the values' table."""

    codes: Tensor
    scales: Tensor
    table: Tensor
    places = torch.int64

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        blocks = linear.weight.detach().view(-1, BLOCK)
        table, scales = torch.linspace(-1, 1, 16), blocks.abs().amax(1, keepdim=True)
        codes = torch.bucketize(blocks / scales, middles(table))
        first, second = codes.to(torch.uint8).view(-1, 2).unbind(1)
        self.shape = linear.weight.shape
        self.register_buffer("codes", first << 4 | second)
        self.register_buffer("scales", scales)
        self.register_buffer("table", table)

    def weight(self) -> Tensor:
        codes = torch.stack((self.codes >> 4, self.codes & 15), -1)
        values = self.table[codes.to(self.places)]
        return (values.view(-1, BLOCK) * self.scales).view(self.shape)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight())


class MadeAgain(torch.autograd.Function):
    """The product keeps no weight in floats for the backward, as bitsandbytes' does not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Packed) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.weight())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad @ ctx.layer.weight(), None


class PackedOnly(Packed):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = MadeAgain.apply(x, self)
        return out


class LoRA(nn.Module):
    """A product, and one of low rank beside it."""

    def __init__(self, base: nn.Module, linear: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(linear.in_features, RANK, bias=False)
        self.up = nn.Linear(RANK, linear.out_features, bias=False)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + self.up(self.down(self.dropout(x))) * 2.0
        return out


@pytest.mark.parametrize("make_optimizer", [adamw, sgd])
@pytest.mark.parametrize("packed", [Packed, PackedOnly])
def test_packed_weights_with_adapters(packed: Any, make_optimizer: Any) -> None:
    model = replaced(llama(), lambda linear: LoRA(packed(linear), linear))
    traced, real = training(model, make_optimizer)
    assert traced == pytest.approx(real, rel=0.01)


class PackedWithInts(PackedOnly):
    places = torch.int32


def test_packed_weights_whose_table_is_read_by_int32() -> None:
    model = replaced(llama(), lambda linear: LoRA(PackedWithInts(linear), linear))
    traced, real = training(model)
    assert traced == pytest.approx(real, rel=0.01)


def test_packed_weights_in_checkpointed_blocks() -> None:
    model = replaced(llama(), lambda linear: LoRA(Packed(linear), linear))
    for block in model.model.layers:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    model.config.use_cache = False  # the second run would add to it
    traced, real = training(model)
    assert traced == pytest.approx(real, rel=0.01)


# Eight bits ---------------------------------------------------------------------------------------


def rows_in_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    scale = weight.abs().amax(1) / 127
    return (weight / scale[:, None]).round().to(torch.int8), scale


class Int8Linear(nn.Module):
    data: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        data, scale = rows_in_int8(linear.weight.detach())
        self.register_buffer("data", data)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.data.to(x.dtype)) * self.scale


class Int8Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Int8Weight) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.data8.T.to(x.dtype) * weight.scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        grad_x = (grad * weight.scale) @ weight.data8.to(grad.dtype)
        return grad_x, grad.flatten(0, -2).T @ x.flatten(0, -2)


class Int8Weight(Tensor):
    """A float tensor to autograd and to an optimizer, made as torchao makes its own: products are
    of its parts, and what is written in place is rounded."""

    data8: Tensor
    scale: Tensor

    def __new__(cls, data8: Tensor, scale: Tensor) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, data8.shape, dtype=scale.dtype)

    def __init__(self, data8: Tensor, scale: Tensor) -> None:
        self.data8, self.scale = data8, scale

    def __tensor_flatten__(self) -> Any:
        return ["data8", "scale"], None

    def dense(self) -> Tensor:
        return self.data8 * self.scale[:, None]

    def write(self, dense: Tensor) -> Int8Weight:
        data8, scale = rows_in_int8(dense)
        self.data8.copy_(data8)
        self.scale.copy_(scale)
        return self

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear:
            return Int8Product.apply(*args[:2])
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        first, kwargs = args[0], kwargs or {}
        if func is aten.detach.default:
            out = cls(func(first.data8), func(first.scale))
            return return_and_correct_aliasing(func, args, kwargs, out)
        if func is aten.copy_.default:
            return first.write(args[1])
        dense = tree_map(lambda value: value.dense() if isinstance(value, cls) else value, args)
        out = func(*dense, **kwargs)
        return first.write(out) if func._schema.is_mutable else out


def in_int8(linear: nn.Linear) -> nn.Linear:
    weight: Any = Int8Weight(*rows_in_int8(linear.weight.detach()))
    linear.weight = nn.Parameter(weight, requires_grad=linear.weight.requires_grad)
    return linear


def test_int8_weights_with_adapters() -> None:
    model = replaced(llama(), lambda linear: LoRA(Int8Linear(linear), linear))
    traced, real = training(model)
    assert traced == pytest.approx(real, rel=0.01)


def test_int8_tensors_with_adapters() -> None:
    model = replaced(llama(), lambda linear: LoRA(in_int8(linear), linear))
    traced, real = training(model)
    assert traced == pytest.approx(real, rel=0.01)


@pytest.mark.parametrize("make_optimizer", [adamw, sgd])
def test_int8_tensors_that_are_trained(make_optimizer: Any) -> None:
    model = replaced(llama(), in_int8).requires_grad_()
    traced, real = training(model, make_optimizer)
    assert traced == pytest.approx(real, rel=0.01)


# Moments in eight bits ----------------------------------------------------------------------------


def zeros(like: Tensor, lowest: float) -> tuple[Tensor, ...]:
    """Codes, the largest of each block, and the values' table; of a norm's few values, floats."""
    if like.numel() < 4096:
        return (torch.zeros_like(like),)
    blocks = like.numel() // 256
    codes = torch.zeros(blocks, 256, dtype=torch.uint8)
    return codes, torch.zeros(blocks, 1), torch.linspace(lowest, 1, 256)


def read(moment: tuple[Tensor, ...], like: Tensor) -> Tensor:
    if len(moment) == 1:
        return moment[0].clone()
    codes, largest, table = moment
    return (table[codes.int()] * largest).view_as(like)


def write(moment: tuple[Tensor, ...], value: Tensor) -> None:
    if len(moment) == 1:
        moment[0].copy_(value)
        return
    codes, largest, table = moment
    blocks = value.view_as(codes)
    largest.copy_(blocks.abs().amax(1, keepdim=True).clamp_(min=1e-12))
    codes.copy_(torch.bucketize(blocks / largest, middles(table)))


class AdamW8bit(torch.optim.Optimizer):
    """Of one parameter after the other the moments are in floats, while it is updated."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        super().__init__(parameters, {"lr": 1e-3})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state |= {"first": zeros(p, -1), "second": zeros(p, 0), "steps": 0}
                state["steps"] += 1
                update(state, p.detach(), p.grad, group["lr"])


def update(state: dict[str, Any], p: Tensor, grad: Tensor, lr: float) -> None:
    first = read(state["first"], p).lerp_(grad, 0.1)
    second = read(state["second"], p).lerp_(grad.square(), 0.001)
    write(state["first"], first)
    write(state["second"], second)
    root = (second / (1 - 0.999 ** state["steps"])).sqrt_().add_(1e-8)
    p.mul_(1 - 0.01 * lr).addcdiv_(first, root, value=-lr / (1 - 0.9 ** state["steps"]))


def test_moments_in_eight_bits() -> None:
    traced, real = training(llama(vocab_size=1024), AdamW8bit)
    assert traced == pytest.approx(real, rel=0.01)


def test_moments_in_eight_bits_of_int8_tensors() -> None:
    model = replaced(llama(vocab_size=1024), in_int8).requires_grad_()
    traced, real = training(model, AdamW8bit)
    assert traced == pytest.approx(real, rel=0.01)


# Adapters -----------------------------------------------------------------------------------------


class DoRA(LoRA):
    """Direction and length of a weight are learned apart: the length of each row is a parameter,
    and that of the sum of both products is no part of the graph."""

    base: nn.Linear

    def __init__(self, base: nn.Module, linear: nn.Linear) -> None:
        super().__init__(base, linear)
        self.length = nn.Parameter(linear.weight.detach().norm(dim=1))

    def forward(self, x: Tensor) -> Tensor:
        added = self.up.weight @ self.down.weight
        length = (self.base.weight + added.detach() * 2.0).norm(dim=1).detach()
        share = self.length / length
        base = self.base(x)
        out: Tensor = base + (share - 1) * base + share * self.up(self.down(self.dropout(x))) * 2.0
        return out


@pytest.mark.parametrize("adapter", [LoRA, DoRA])
def test_adapters_of_weights_in_floats(adapter: Any) -> None:
    model = replaced(llama(), lambda linear: adapter(linear, linear))
    traced, real = training(model)
    assert traced == pytest.approx(real, rel=0.01)
