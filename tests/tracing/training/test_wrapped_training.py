"""Training under dispatch modes and on tensor subclasses: Python sees below autograd what it sees
in a real run, and what is counted is what FlopCounterMode counts there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)
from torch.utils.flop_counter import FlopCounterMode

import nnprof
from tests.helpers import oracles

if TYPE_CHECKING:
    from collections.abc import Callable

aten = torch.ops.aten


class Block(nn.Module):
    """Attention and an MLP, whose products a policy may keep or make again."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + attended.transpose(1, 2).flatten(2)
        out: Tensor = x + self.mlp(x)
        return out


def keep_products(_: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    kept = (aten.mm.default, aten.addmm.default, aten.bmm.default)
    return CheckpointPolicy.MUST_SAVE if op in kept else CheckpointPolicy.PREFER_RECOMPUTE


def keep_attention(_: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    kept = op is aten._scaled_dot_product_flash_attention_for_cpu.default
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.MUST_RECOMPUTE


class EverySecondProduct:
    """torchtitan's: it keeps every second product, and counts them apart in both passes."""

    def __init__(self) -> None:
        self.met = {False: 0, True: 0}

    def __call__(self, ctx: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        if op in (aten.mm.default, aten.addmm.default):
            self.met[ctx.is_recompute] += 1
            if self.met[ctx.is_recompute] % 2:
                return CheckpointPolicy.MUST_SAVE
        return CheckpointPolicy.PREFER_RECOMPUTE


POLICIES: dict[str, Callable[[], Any]] = {
    "products": lambda: keep_products,
    "attention": lambda: keep_attention,
    "every second product": EverySecondProduct,
    "a list": lambda: [aten.addmm.default],
    "all": lambda: lambda *args, **kwargs: CheckpointPolicy.MUST_SAVE,
    "none": lambda: lambda *args, **kwargs: CheckpointPolicy.MUST_RECOMPUTE,
    "booleans": lambda: lambda ctx, op, *args, **kwargs: op is aten.mm.default,
}


class Seen(TorchDispatchMode):
    """Notes what arrives at it: each operator, and the sizes and dtypes of its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func not in (aten.detach.default, aten.ones_like.default):
            self.calls.append((str(func), *tree_map(_picture, (args, out))))
        return out


def _picture(value: Any) -> Any:
    return (tuple(value.shape), value.dtype) if isinstance(value, Tensor) else type(value)


def block_step(policy: Callable[[], Any]) -> Callable[[], object]:
    model, x = nn.ModuleList(Block() for _ in range(2)), torch.randn(3, 5, 16)

    def step() -> None:
        out = x
        chosen = policy()
        for block in model:
            contexts = partial(create_selective_checkpoint_contexts, chosen)
            out = checkpoint(block, out, use_reentrant=False, context_fn=contexts)
        out.square().sum().backward()
        assert all(p.grad is not None for p in model.parameters())
        for parameter in model.parameters():
            parameter.grad = None

    return step


def traced(step: Callable[[], object]) -> Any:
    with nnprof.trace(backward=True, target="cpu") as running:
        step()
    return running.profile()


def real_macs(step: Callable[[], object]) -> int:
    """Of attention on the CPU FlopCounterMode knows nothing: both kernels are counted by hand."""
    return oracles.flop_counter_macs(step)


@pytest.mark.parametrize("policy", POLICIES)
def test_selective_checkpoints_run_again_what_pytorch_does(policy: str) -> None:
    step = block_step(POLICIES[policy])
    with Seen() as real:
        step()
    with nnprof.trace(backward=True, target="cpu"), Seen() as traced:
        step()
    assert traced.calls == real.calls


@pytest.mark.parametrize("policy", POLICIES)
def test_selective_checkpoints_count_what_is_run_again(policy: str) -> None:
    step = block_step(POLICIES[policy])
    attention = "aten::_scaled_dot_product_flash_attention_for_cpu"
    profile = traced(step)
    ops = profile.ops
    of_attention = sum(
        macs for op, macs in zip(ops["op"], ops["macs"], strict=True) if op.startswith(attention)
    )
    with FlopCounterMode(display=False) as counter:
        step()
    assert profile.macs - of_attention == counter.get_total_flops() // 2
    calls = sum(op == attention for op in ops["op"])
    assert calls == (2 if policy in ("attention", "all") else 4)


def test_selective_checkpoints_in_measure() -> None:
    """Two products forward, three back; what is kept is not multiplied again."""

    class Checkpointed(nn.Module):
        def __init__(self, policy: Any) -> None:
            super().__init__()
            self.contexts = partial(create_selective_checkpoint_contexts, policy)
            self.mlp = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16))

        def forward(self, x: Tensor) -> Any:
            return checkpoint(self.mlp, x, use_reentrant=False, context_fn=self.contexts)

    one = 4 * 16 * 64
    found = {
        name: nnprof.measure(Checkpointed(POLICIES[name]()), (4, 16), backward=True)
        for name in ("products", "none")
    }
    assert found["products"].phase("backward").macs == 3 * one
    # PyTorch stops when it has the last tensor that is wanted: the second product is not.
    assert found["none"].phase("backward").macs == 4 * one
    layer = found["none"]["mlp.0"]
    assert layer.macs == 3 * one  # forward, forward again, the weight's gradient


def test_what_a_checkpoint_keeps_is_held_in_memory() -> None:
    def kept(policy: str) -> int:
        with nnprof.trace(backward=True, target="cpu") as running:
            block_step(POLICIES[policy])()
        memory: dict[str, Any] = running.result.memory()
        return sum(bytes_ for _, bytes_ in memory["kept_by_layer"])

    assert kept("none") < kept("attention") < kept("products") < kept("all")


# Modes of the user's ------------------------------------------------------------------------------


def plain_step() -> Callable[[], object]:
    model, x = Block(), torch.randn(3, 5, 16, requires_grad=True)

    def step() -> None:
        model(x).square().sum().backward()
        assert x.grad is not None
        for tensor in (x, *model.parameters()):
            tensor.grad = None

    return step


def convolutions() -> Callable[[], object]:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2)
    )
    x = torch.randn(2, 3, 8, 8)

    def step() -> None:
        out = model(x)
        out[:, 0].zero_()
        out.mean().backward()
        for parameter in model.parameters():
            parameter.grad = None

    return step


STEPS = {"block": plain_step, "convolutions": convolutions}


@pytest.mark.parametrize("name", STEPS)
def test_a_mode_sees_a_training_step_as_it_really_is(name: str) -> None:
    step = STEPS[name]()
    with Seen() as real:
        step()
    with nnprof.trace(backward=True, target="cpu") as running, Seen() as seen:
        step()
    names = [[call[0] for call in calls] for calls in (seen.calls, real.calls)]
    assert names[0] == names[1]
    assert running.profile().macs == traced(step).macs


def test_a_mode_around_the_forward_alone() -> None:
    model, x = Block(), torch.randn(3, 5, 16)

    def step() -> None:
        with Seen():
            out = model(x)
        out.sum().backward()

    profile = traced(step)
    assert profile.macs == traced(lambda: model(x).sum().backward()).macs
    saved = profile.ops["saved_bytes"].sum()
    assert saved == traced(lambda: model(x).sum().backward()).ops["saved_bytes"].sum()


def test_the_flop_counter_agrees_with_the_trace_it_runs_in() -> None:
    model, x = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), torch.randn(2, 6)

    def step() -> None:
        model(x).sum().backward()

    expected = oracles.flop_counter_macs(step)
    with (
        nnprof.trace(backward=True) as running,
        FlopCounterMode(display=False) as counter,
    ):
        step()
    assert counter.get_total_flops() == 2 * expected
    assert running.profile().macs == expected


def test_a_mode_that_changes_what_is_called() -> None:
    class InHalf(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            if func is not aten.mm.default:
                return func(*args, **(kwargs or {}))
            return func(*(a.bfloat16() for a in args)).float()

    layer, x = nn.Linear(6, 5, bias=False), torch.randn(2, 6)

    def step() -> None:
        with InHalf():
            layer(x).sum().backward()
        layer.weight.grad = None

    with Seen() as real:
        step()
    with nnprof.trace(backward=True, target="cpu"), Seen() as seen:
        step()
    assert seen.calls == real.calls


def test_a_function_mode() -> None:
    seen: list[str] = []

    class Notes(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            seen.append(getattr(func, "__name__", str(func)))
            return func(*args, **(kwargs or {}))

    model, x = Block(), torch.randn(3, 5, 16)

    def step() -> None:
        with Notes():
            model(x).sum().backward()

    profile = traced(step)
    assert profile.macs == traced(lambda: model(x).sum().backward()).macs
    in_trace, seen = seen, []
    model.zero_grad()
    step()
    assert [name for name in in_trace if name in ("linear", "layer_norm")] == [
        name for name in seen if name in ("linear", "layer_norm")
    ]


def test_autocast_is_above_a_mode() -> None:
    layer, x = nn.Linear(6, 5), torch.randn(2, 6)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            layer(x).float().sum().backward()
        layer.zero_grad()

    with Seen() as real:
        step()
    with nnprof.trace(backward=True, target="cpu"), Seen() as seen:
        step()
    products = [
        [call for call in calls if call[0].startswith(("aten.mm", "aten.addmm"))]
        for calls in (seen.calls, real.calls)
    ]
    assert products[0] == products[1]


def test_errors_of_autograd_are_raised_under_a_mode() -> None:
    leaf = torch.ones(3, requires_grad=True)
    with nnprof.trace(backward=True), Seen(), pytest.raises(RuntimeError, match="in-place"):
        leaf.add_(1)
    with nnprof.trace(backward=True), Seen(), pytest.raises(RuntimeError, match="modified by"):
        _write_what_is_saved(leaf)


def _write_what_is_saved(leaf: Tensor) -> None:
    out = leaf.exp()
    out.add_(1)
    out.sum().backward()


# Subclasses ---------------------------------------------------------------------------------------


class Doubled(Tensor):
    """Holds two halves; what is computed on it is computed on their sum. It has a gradient."""

    low: Tensor
    high: Tensor

    @staticmethod
    def __new__(cls, low: Tensor, high: Tensor) -> Any:
        return torch.Tensor._make_wrapper_subclass(
            cls, low.shape, strides=low.stride(), dtype=low.dtype, device=low.device
        )

    def __init__(self, low: Tensor, high: Tensor) -> None:
        self.low, self.high = low, high

    def __tensor_flatten__(self) -> Any:
        return ["low", "high"], None

    @staticmethod
    def __tensor_unflatten__(inner: Any, context: Any, size: Any, stride: Any) -> Any:
        return Doubled(inner["low"], inner["high"])

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Doubled{tuple(self.shape)}"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (aten.detach.default, aten.view.default, aten.t.default, aten.clone.default):
            first, *rest = args
            return cls(func(first.low, *rest), func(first.high, *rest))

        def whole(value: Any) -> Any:
            return value.low + value.high if isinstance(value, Doubled) else value

        return func(*tree_map(whole, args), **tree_map(whole, kwargs or {}))


def with_doubled_weights() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    for layer in (model[0], model[2]):
        weight = cast("nn.Parameter", layer.weight).detach()
        layer.weight = nn.Parameter(Doubled(weight / 2, weight / 2))
    return model


@pytest.mark.parametrize("rows", [(4,), (2, 4)])
def test_a_subclass_with_a_gradient_trains(rows: tuple[int, ...]) -> None:
    model, x = with_doubled_weights(), torch.randn(*rows, 6)

    def step() -> None:
        model(x).sum().backward()

    expected = oracles.flop_counter_macs(step)
    real = {name: p.grad.shape for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    grads: dict[str, Any] = {}

    def note() -> None:
        step()
        grads.update((name, cast("Tensor", p.grad).shape) for name, p in model.named_parameters())

    with nnprof.trace(model, backward=True) as running:
        note()
    assert grads == real
    assert running.profile().macs == expected
    assert all(parameter.grad is None for parameter in model.parameters())
    assert nnprof.measure(model, inputs=x, backward=True, optimizer="adamw").macs == expected
    step()  # the model is as it was


def test_a_frozen_subclass_hands_the_gradient_on() -> None:
    """As a quantized base under adapters."""
    model, x = with_doubled_weights(), torch.randn(4, 6, requires_grad=True)
    for layer in (model[0], model[2]):
        layer.weight.requires_grad_(False)

    def step() -> None:
        model(x).sum().backward()
        assert x.grad is not None
        x.grad = None

    assert traced(step).macs == oracles.flop_counter_macs(step)


def test_a_subclass_under_a_selective_checkpoint() -> None:
    model, x = with_doubled_weights(), torch.randn(4, 6, requires_grad=True)
    contexts = partial(create_selective_checkpoint_contexts, [aten.addmm.default])

    def step() -> None:
        checkpoint(model, x, use_reentrant=False, context_fn=contexts).sum().backward()

    assert traced(step).macs == oracles.flop_counter_macs(step)
