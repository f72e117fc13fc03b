"""A backward that runs as one task of PyTorch's engine, beside the engine's own way through it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import nnprof
from nnprof import _core

if TYPE_CHECKING:
    from collections.abc import Callable

as_one_task = _core.as_one_task
SUM_IN_PLACE = "aten::add_.Tensor"


class Block(nn.Module):
    """Attention and a gated layer with residuals: branches, views and sums of gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.gate, self.up = nn.Linear(8, 16, bias=False), nn.Linear(8, 16, bias=False)
        self.down = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).view(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        heads = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(heads.transpose(1, 2).reshape(2, 5, 8))
        return x + self.down(nn.functional.silu(self.gate(x)) * self.up(x))


class Tied(nn.Module):
    """A weight that is used three times, and a part that takes no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.frozen(self.embedding(ids)) + self.embedding(ids)
        return x @ self.embedding.weight.t()


def of_blocks(x: Tensor) -> Any:
    blocks = nn.Sequential(Block(), Block())
    return blocks, lambda: blocks(x).sum().backward()


def of_a_checkpoint(x: Tensor) -> Any:
    block = Block()
    return block, lambda: checkpoint(block, x, use_reentrant=False).sum().backward()


def of_a_tied_weight(_: Tensor) -> Any:
    tied, ids = Tied(), torch.arange(10).view(2, 5)
    return tied, lambda: tied(ids).sum().backward()


def of_sparse_rows(_: Tensor) -> Any:
    rows = nn.Embedding(11, 8, sparse=True)
    return rows, lambda: (rows(torch.tensor([1, 2])) + rows(torch.tensor([2, 2]))).sum().backward()


def of_two_roots(x: Tensor) -> Any:
    block = Block()

    def step() -> None:
        out = block(x)
        torch.autograd.backward([out, out.mul(2)], [torch.ones_like(out), torch.ones_like(out)])

    return block, step


def of_the_same_root(x: Tensor) -> Any:
    block = Block()

    def step() -> None:
        loss = block(x).sum()
        torch.autograd.backward([loss, loss])

    return block, step


def of_a_graph_that_stays(x: Tensor) -> Any:
    block = Block()

    def step() -> None:
        loss = block(x).sum()
        loss.backward(retain_graph=True)
        loss.backward()

    return block, step


def of_gradients_that_grow(x: Tensor) -> Any:
    block = Block()

    def step() -> None:
        for _ in range(3):
            block(x).sum().backward()

    return block, step


def of_second_derivatives(x: Tensor) -> Any:
    net = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 1))

    def step() -> None:
        given = x.clone().requires_grad_()
        net(given).sum().backward(create_graph=True)
        assert given.grad is not None
        given.grad.pow(2).sum().backward()

    return net, step


def of_recurrence(x: Tensor) -> Any:
    lstm = nn.LSTM(8, 6, num_layers=2, bidirectional=True)
    return lstm, lambda: lstm(x)[0].sum().backward()


def of_convolutions(_: Tensor) -> Any:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    return net, lambda: net(torch.randn(2, 3, 6, 6)).sum().backward()


def of_autocast(x: Tensor) -> Any:
    block = Block()

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = block(x).float().sum()
        loss.backward()

    return block, step


PROGRAMS = [
    of_blocks,
    of_a_checkpoint,
    of_a_tied_weight,
    of_sparse_rows,
    of_two_roots,
    of_the_same_root,
    of_a_graph_that_stays,
    of_gradients_that_grow,
    of_second_derivatives,
    of_recurrence,
    of_convolutions,
    of_autocast,
]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each backward: did it run as one task?"""
    found: list[bool] = []

    def spy(*args: Any) -> Any:
        as_one = as_one_task(*args)
        found.append(as_one is not None)
        return as_one

    monkeypatch.setattr(_core, "as_one_task", spy)
    return found


def measured(program: Callable[[Tensor], Any]) -> Any:
    """All that a profile tells of a step, and what it left for gradients."""
    torch.manual_seed(0)
    model, step = program(torch.randn(2, 5, 8))
    with nnprof.trace(model, backward=True) as running:
        step()
        gradients = [None if p.grad is None else p.grad.shape for p in model.parameters()]
    profile = running.profile()
    columns = {
        name: list(map(str, column))
        for name, column in profile.ops.columns.items()
        if name != "signature"  # numbers in the order of the calls
    }
    memory = running.result.memory()
    curves = {name: memory.pop(name).tolist() for name in ("live", "highest")}
    return columns, memory, curves, gradients


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")
@pytest.mark.parametrize("program", PROGRAMS)
def test_tells_what_the_engine_tells(
    program: Callable[[Tensor], Any], taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns, memory, curves, gradients = measured(program)
    assert taken, "no backward ran"
    assert all(taken)
    monkeypatch.setattr(_core, "as_one_task", lambda *_: None)
    of_engine = measured(program)
    # On meta the engine never adds gradients up in place; real ones are beside it in test_memory.
    sums_in_place = columns["op"] != of_engine[0]["op"]
    for found in (columns, of_engine[0]):
        found["op"] = [op.replace(SUM_IN_PLACE, "aten::add.Tensor") for op in found["op"]]
    assert (columns, gradients) == (of_engine[0], of_engine[3])
    assert sums_in_place or (memory, curves) == of_engine[1:3]


class Own(torch.autograd.Function):
    """A gradient function of the program's own, which asks the engine what it is at."""

    asked: Any = None

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        Own.asked = torch._C._current_autograd_node()
        return gradient


def with_own_function(block: Block, x: Tensor) -> None:
    Own.apply(block(x)).sum().backward()
    assert "OwnBackward" in type(Own.asked).__name__


def with_hook_on_a_tensor(block: Block, x: Tensor) -> None:
    out = block(x)
    out.register_hook(lambda gradient: gradient * 2)
    out.sum().backward()


def with_hook_on_a_leaf(block: Block, x: Tensor) -> None:
    seen = []
    handle = block.down.weight.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad))
    block(x).sum().backward()
    handle.remove()
    assert len(seen) == 1


def with_hook_on_a_function(block: Block, x: Tensor) -> None:
    loss = block(x).sum()
    assert loss.grad_fn is not None
    loss.grad_fn.register_prehook(lambda gradients: gradients)
    loss.backward()


def with_kept_gradient(block: Block, x: Tensor) -> None:
    out = block(x)
    out.retain_grad()
    out.sum().backward()
    assert out.grad is not None


def under_anomaly_mode(block: Block, x: Tensor) -> None:
    with torch.autograd.detect_anomaly(check_nan=False):
        block(x).sum().backward()


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize(
    "step",
    [
        with_own_function,
        with_hook_on_a_tensor,
        with_hook_on_a_leaf,
        with_hook_on_a_function,
        with_kept_gradient,
        under_anomaly_mode,
    ],
)
def test_leaves_to_the_engine(step: Callable[[Block, Tensor], None], taken: list[bool]) -> None:
    block, x = Block(), torch.randn(2, 5, 8)
    with nnprof.trace(block, backward=True):
        step(block, x)
    assert taken == [False]


def test_leaves_chosen_gradients_to_the_engine(taken: list[bool]) -> None:
    block, x = Block(), torch.randn(2, 5, 8)
    with nnprof.trace(block, backward=True):
        loss = block(x).sum()
        torch.autograd.grad(loss, [block.down.weight], retain_graph=True)
        loss.backward(inputs=[block.up.weight])
        assert block.down.weight.grad is None
        assert block.up.weight.grad is not None
    assert taken == []


def a_second_time(block: Block) -> None:
    loss = block(torch.randn(2, 5, 8)).sum()
    loss.backward()
    loss.backward()


def of_another_shape(block: Block) -> None:
    block(torch.randn(2, 5, 8)).backward(torch.ones(2, 5, 7))


def changed_after_it_was_kept(block: Block) -> None:
    hidden = block.gate(torch.randn(2, 8)).exp()
    out = hidden * 2
    hidden.add_(1)
    out.sum().backward()


@pytest.mark.parametrize("step", [a_second_time, of_another_shape, changed_after_it_was_kept])
def test_fails_as_the_engine(step: Callable[[Block], None]) -> None:
    with pytest.raises(RuntimeError) as real:
        step(Block())
    block = Block()
    with nnprof.trace(block, backward=True), pytest.raises(RuntimeError) as found:
        step(block)
    kind = "MetaFloatType", "torch.FloatTensor"
    assert str(found.value).replace(*kind) == str(real.value)
