"""What is known of values in a training step: nothing in a graph depends on how much that is."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import nnprof
from nnprof.tracing import run as run_module

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 16


class Looped(nn.Module):
    """A looped mixture of experts: each adds to a buffer of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, 4)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights, chosen = self.gate(x).softmax(-1).topk(2)
        where = functional.one_hot(chosen, 4).permute(2, 1, 0)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            slot, token = torch.where(where[number])
            out.index_add_(0, token, expert(x[token]) * weights[token, slot, None])
        return x + out


class ByRow(nn.Module):
    """Writes rows of a buffer, adds to it, and reads a part of it back."""

    def __init__(self, write: Callable[..., None]) -> None:
        super().__init__()
        self.layer, self.write = nn.Linear(WIDTH, WIDTH), write

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(len(x), WIDTH)
        for number in range(4):
            self.write(out, number, self.layer(x))
        return out[:4].sum(0)


def assign(out: torch.Tensor, number: int, y: torch.Tensor) -> None:
    out[number] = y[number]


def add(out: torch.Tensor, number: int, y: torch.Tensor) -> None:
    out += y * number


def put(out: torch.Tensor, number: int, y: torch.Tensor) -> None:
    out.index_put_((torch.tensor([number]),), y[:1], accumulate=True)


def copy_into(out: torch.Tensor, number: int, y: torch.Tensor) -> None:
    out.select(0, number).copy_(y[number])


def scatter(out: torch.Tensor, number: int, y: torch.Tensor) -> None:
    out.scatter_add_(0, torch.arange(len(y))[:, None].expand_as(y), y)


class Graph(nn.Module):
    """Messages along edges, gathered and scattered."""

    def __init__(self) -> None:
        super().__init__()
        self.message, self.update = nn.Linear(2 * WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        source = torch.arange(len(x)).repeat(3)
        target = (source * 7 + 1) % len(x)
        degree = torch.zeros(len(x)).index_add_(0, target, torch.ones(len(target)))
        for _ in range(2):
            sent = self.message(torch.cat([x[source], x.index_select(0, target)], -1))
            x = torch.zeros_like(x).index_add(0, target, sent) / degree[:, None].clamp(min=1)
            x = x + self.update(x)
        return x


class Solver(nn.Module):
    """Steps of a solver, whose times are floats that steer it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        times = torch.linspace(0, 1, 4)
        solution = torch.empty(len(times), *x.shape)
        solution[0] = x
        now = times[0]
        for number in range(1, len(times)):
            step = torch.tensor(0.3)
            while now < times[number]:
                step = torch.min(step, times[number] - now)
                x = x + self.layer(x) * step
                now = now + step
            solution[number] = x
        return solution


class Detector(nn.Module):
    """Maps of two strides, and a loss over the cells that targets fall in."""

    anchors: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.stride = nn.Linear(WIDTH, WIDTH), torch.tensor([8.0, 16.0])
        self.register_buffer("anchors", torch.rand(8, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        loss = torch.zeros(3)
        for level in range(2):
            y = self.layer(x)
            cells = (torch.arange(20) / float(self.stride[level])).long()
            target = torch.zeros_like(y[..., 0])
            chosen = y[cells]
            if (wide := self.anchors[:4].max() > 2) or len(chosen):
                loss[0] += chosen.mean() + float(wide)
                target[cells] = chosen.detach().mean(-1).clamp(0).type(target.dtype)
            loss[1] += functional.binary_cross_entropy_with_logits(y[..., 0], target)
        return loss.sum() * self.stride.numpy().sum()


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = ByRow(assign)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.inside, x, use_reentrant=False)


class Past(nn.Module):
    """Writes into a buffer of the model's, first past autograd."""

    sums: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("sums", torch.zeros(2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sums = self.sums.clone().expand(2, WIDTH).contiguous()
        sums.data[0] = 1.0
        assert sums[0, :3].sum() == 3
        sums[1] = self.layer(x).sum(0)
        return sums * self.layer(x)[:2]


MODELS: dict[str, Callable[[], nn.Module]] = {
    "experts": Looped,
    **{write.__name__: functools.partial(ByRow, write) for write in (assign, add, put, scatter)},
    "copy_into": lambda: ByRow(copy_into),
    "graph": Graph,
    "solver": Solver,
    "detector": Detector,
    "checkpointed": Checkpointed,
    "past": Past,
}


def counted(profile: nnprof.Profile) -> dict[str, Any]:
    """All that a first and a second trace must agree on."""
    found: dict[str, Any] = {"peak": profile.memory.peak, "guesses": profile.assumptions}
    for name in ("forward", "backward"):
        phase = profile.phase(name)
        found[name] = (phase.macs, phase.flops, phase.bytes)
    return found | {"ops": list(zip(profile.ops["op"], profile.ops["bytes"], strict=True))}


def measured_with(limits: dict[str, Any], model: nn.Module, x: torch.Tensor) -> nnprof.Profile:
    before = run_module.LIMITS
    run_module.LIMITS = (limits,)
    try:
        return nnprof.measure(model, inputs=x, backward=True)
    finally:
        run_module.LIMITS = before


def real_macs(model: nn.Module, x: torch.Tensor) -> tuple[int, int]:
    model = copy.deepcopy(model)
    with FlopCounterMode(display=False) as forward:
        loss = model(x).sum()
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    return forward.get_total_flops() // 2, backward.get_total_flops() // 2


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("tokens", [32, 320])
def test_a_second_trace_counts_what_the_first_one_does(name: str, tokens: int) -> None:
    model, x = MODELS[name](), torch.randn(tokens, WIDTH)
    first, second = (measured_with(limits, model, x) for limits in run_module.LIMITS)
    assert counted(first) == counted(second)
    right = real_macs(model, x)
    assert (second.phase("forward").macs, second.phase("backward").macs) == right


def test_gradients_reach_what_was_written_after_a_rerun() -> None:
    class Rerun(Looped):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert torch.arange(20_000).sum() > 0
            return super().forward(x)

    model, x = Rerun(), torch.randn(64, WIDTH)
    profile = nnprof.measure(model, inputs=x, backward=True)
    assert profile.phase("backward").macs == real_macs(model, x)[1]


# Values that are asked for -----------------------------------------------------------------------


class Reads(nn.Module):
    table: torch.Tensor
    lengths: torch.Tensor

    def __init__(self, read: Callable[..., object]) -> None:
        super().__init__()
        self.read, self.layer = read, nn.Linear(WIDTH, WIDTH)
        self.stride = torch.tensor([8.0, 16.0, 32.0])
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.scales = nn.Parameter(torch.arange(100.0))
        self.register_buffer("table", torch.arange(300.0).view(100, 3))
        self.register_buffer("lengths", torch.tensor([3, 5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.found = self.read(self, x)
        return self.layer(x)


READS: dict[str, Callable[[Reads, torch.Tensor], object]] = {
    "element": lambda m, x: float(m.stride[1]),
    "elements": lambda m, x: [float(s) for s in m.stride],
    "largest": lambda m, x: float(m.stride.max()),
    "with its index": lambda m, x: int(m.stride.max(0).indices),
    "view": lambda m, x: m.stride.view(3, 1).t()[0, 2].item(),
    "cast": lambda m, x: int(m.stride.to(torch.long).sum()),
    "cast to half": lambda m, x: float(m.stride.half().sum()),
    "list": lambda m, x: m.stride.tolist(),
    "array": lambda m, x: m.stride.numpy().sum(),
    "array of a product": lambda m, x: (m.stride * 2).numpy().tolist(),
    "np.asarray": lambda m, x: np.asarray(m.stride[:2]).tolist(),
    "constant": lambda m, x: torch.tensor([1.5, 2.5]).tolist(),
    "zeros written to": lambda m, x: torch.zeros(3).index_fill_(0, torch.tensor(1), 2).tolist(),
    "number of a parameter": lambda m, x: m.scale.exp().item(),
    "part of a parameter": lambda m, x: m.scales[3].item(),
    "data of a parameter": lambda m, x: m.scale.data.item(),
    "buffer": lambda m, x: float(m.table.max()),
    "part of a buffer": lambda m, x: float(m.table[:, 1].max()),
    "lengths": lambda m, x: torch.ceil(m.lengths / 2).long().tolist(),
    "input": lambda m, x: float(x.max()),
    "column": lambda m, x: float(x[:, 0].min()),
    "detached": lambda m, x: float(x.detach().double().sum()),
    "truth": lambda m, x: bool((x.unsqueeze(0) < 100).all()),
    "input's list": lambda m, x: x[:, 1].tolist(),
    "input's array": lambda m, x: float(x.numpy().sum()),
    "equality": lambda m, x: torch.equal(m.stride, torch.tensor([8.0, 16.0, 32.0])),
    "selected": lambda m, x: x[x[:, 0] > 0].shape,
    "selected by a mask": lambda m, x: m.layer(x).masked_select(x > 0).shape,
    "nonzero": lambda m, x: (x > 0).nonzero().shape,
    "unique": lambda m, x: torch.tensor([1.0, 2.0, 1.0]).unique().tolist(),
    "sorted": lambda m, x: x[:, 0].argsort().tolist(),
}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", READS)
def test_values_are_those_of_a_real_run(name: str, backward: bool) -> None:
    model, x = Reads(READS[name]), torch.randn(40, WIDTH)
    before = copy.deepcopy(model.state_dict())
    model(x)
    expected, model.found = model.found, None
    seen = []

    def read(module: Reads, x: torch.Tensor) -> object:
        seen.append(READS[name](module, x))
        return seen[-1]

    model.read = read
    profile = nnprof.measure(model, inputs=x, backward=backward)
    assert seen[-1] == pytest.approx(expected) if name != "equality" else seen[-1] == expected
    assert not profile.assumptions
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key])


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("size", [17, 20_000])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.long])
def test_a_given_mask_selects_what_it_says(dtype: torch.dtype, size: int, backward: bool) -> None:
    head = nn.Linear(WIDTH, 4)
    mask = torch.zeros(size, dtype=dtype)
    mask[3:13] = 1
    step = nnprof.measure(
        lambda x, mask: head(x.exp()[mask > 0]),
        inputs=(torch.randn(size, WIDTH), mask),
        backward=backward,
    )
    assert step.phase("forward").macs == 10 * WIDTH * 4
    assert not step.assumptions


def test_values_that_were_overwritten_by_unknown_ones_are_not_read() -> None:
    def forward(x: torch.Tensor) -> object:
        out = torch.zeros(4)
        out[1] = x.sum() * torch.randn(10_000).sum()
        return out.sum().item()

    for backward in (False, True):
        with (
            nnprof.trace(backward=backward),
            pytest.raises(nnprof.errors.DataDependentError),
        ):
            nn.Module.__call__(_Inside(forward), torch.randn(300, 3))


class _Inside(nn.Module):
    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> object:
        return self.function(x)


def test_an_array_is_no_way_to_write_to_what_the_user_has() -> None:
    seen = []
    model = Reads(lambda m, x: seen.append(m.table.numpy().fill(7) or float(m.table.sum())))
    before = model.table.clone()
    nnprof.measure(model, inputs=torch.randn(4, WIDTH))
    assert seen[-1] == 7 * 300
    assert torch.equal(model.table, before)


# Memory that nobody has written to ---------------------------------------------------------------


def loops(count: int) -> None:
    raise AssertionError(f"a loop of {count}")


GARBAGE: dict[str, Callable[[], object]] = {
    "integers": lambda: loops(int(torch.empty(1, dtype=torch.long))),
    "floats": lambda: loops(int(torch.empty(3)[0])),
    "like": lambda: loops(int(torch.empty_like(torch.arange(3)).sum())),
    "in part": lambda: loops(int(_first_written(torch.empty(3, dtype=torch.long)).sum())),
    "list": lambda: torch.empty(2, dtype=torch.long).tolist(),
}


def _first_written(x: torch.Tensor) -> torch.Tensor:
    x[0] = 3
    return x


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", GARBAGE)
def test_uninitialised_memory_is_not_known(name: str, backward: bool) -> None:
    model = _Inside(lambda x: GARBAGE[name]())
    with pytest.raises((nnprof.errors.DataDependentError, RuntimeError), match=r"data|value"):
        nnprof.measure(model, inputs=torch.randn(3), backward=backward)


def inverse(order: torch.Tensor) -> torch.Tensor:
    found = torch.empty_like(order)
    found[order] = torch.arange(len(order))
    return found


WRITTEN: dict[str, Callable[[], object]] = {
    "filled": lambda: torch.empty(3).fill_(2.0).tolist(),
    "empty": lambda: torch.cat([torch.empty(0), torch.ones(2)]).tolist(),
    "in parts": lambda: _first_written(_rest_written(torch.empty(4, dtype=torch.long))).tolist(),
    "a part of it": lambda: _first_written(torch.empty(3, dtype=torch.long))[:1].item(),
    "inverse": lambda: inverse(torch.tensor([2, 0, 1])).tolist(),
    "scattered": lambda: (
        torch.empty(3).scatter_(0, torch.tensor([2, 1, 0]), torch.tensor([1.0, 2.0, 3.0])).tolist()
    ),
    "out": lambda: torch.add(torch.ones(2), 1, out=torch.empty(2)).tolist(),
    "large": lambda: torch.empty(100_000, dtype=torch.long).zero_().sum().item(),
}


def _rest_written(x: torch.Tensor) -> torch.Tensor:
    x[1:] = torch.arange(len(x) - 1)
    return x


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_to_it_is_known(name: str, backward: bool) -> None:
    layer = nn.Linear(3, 3)
    seen = []
    nnprof.measure(
        lambda x: (seen.append(WRITTEN[name]()), layer(x))[1],  # type: ignore[func-returns-value]
        inputs=torch.randn(2, 3),
        backward=backward,
    )
    assert seen[-1] == WRITTEN[name]()


def test_random_numbers_drawn_into_it_are_known() -> None:
    drawn = []
    nnprof.measure(lambda x: drawn.append(torch.empty(1).uniform_().item()), inputs=torch.randn(3))
    assert 0 <= drawn[-1] < 1
