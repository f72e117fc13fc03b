"""What a program keeps on the CPU takes nothing of its GPU."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

import nnprof

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 256
BYTES = 4 * SIDE * SIDE


class Net(nn.Module):
    """A product, and what `then` makes of it and a table on the CPU, many times, all kept."""

    def __init__(self, then: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.product = nn.Linear(SIDE, SIDE, device="meta")
        self.table = torch.zeros(2 * SIDE, SIDE)
        self.then = then

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        y = self.product(x)
        return y, [self.then(y, self.table) for _ in range(5)]


def into_a_buffer(y: Tensor, _: Tensor) -> Tensor:
    buffer = torch.empty(y.shape, dtype=y.dtype, device="cpu")
    return buffer.copy_(y)


ON_THE_HOST: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "to": lambda y, _: y.to("cpu"),
    "cpu": lambda y, _: y.detach().cpu(),
    "a sum there": lambda y, _: y.to("cpu") + 1,
    "a buffer": into_a_buffer,
    "ones": lambda y, _: torch.ones(SIDE, SIDE),
    "like what is there": lambda _, table: torch.ones_like(table),
    "looked up there": lambda _, table: table[torch.arange(SIDE)],
    "a constant": lambda y, _: torch.tensor([1.0] * SIDE),
}
ON_THE_DEVICE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "a sum": lambda y, _: y + 1,
    "there and back": lambda y, _: y.to("cpu").to(y.device),
    "looked up and moved": lambda y, table: table[torch.arange(SIDE)].to(y.device),
    "ones that are moved": lambda y, _: torch.ones(SIDE, SIDE).to(y.device),
    "ones": lambda y, _: torch.ones(SIDE, SIDE, device=y.device),
    "like what is there": lambda y, _: torch.ones_like(y),
    "moved by another": lambda y, table: table[:SIDE].to(y) + 0,
}


def peak(then: Callable[[Tensor, Tensor], Tensor], backward: bool) -> int:
    """Bytes beyond the model, the input and the product."""
    model = Net(then).train()
    profile = nnprof.measure(
        model,
        (SIDE, SIDE),
        hardware="a100",
        backward=backward,
        loss=(lambda _: model.product.bias.sum()) if backward else None,
    )
    return profile.memory.peak_of("forward") - (3 * BYTES + 4 * SIDE)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", ON_THE_HOST)
def test_takes_nothing_of_the_device(name: str, backward: bool) -> None:
    assert peak(ON_THE_HOST[name], backward) <= 2048  # the loss


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", ON_THE_DEVICE)
def test_what_is_moved_there_does(name: str, backward: bool) -> None:
    assert 5 * BYTES <= peak(ON_THE_DEVICE[name], backward) <= 7 * BYTES + 2048


class Deep(nn.Module):
    def __init__(self, offloads: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(SIDE, SIDE, device="meta") for _ in range(8))
        self.offloads = offloads

    def forward(self, x: Tensor) -> Tensor:
        with torch.autograd.graph.save_on_cpu() if self.offloads else nullcontext():
            for layer in self.layers:
                x = layer(x).relu()
        return x


def test_activations_that_are_offloaded() -> None:
    """Those of one layer are there at a time, not those of eight."""
    held = {}
    for offloads in (False, True):
        memory = nnprof.measure(
            Deep(offloads).train(), (16 * SIDE, SIDE), hardware="a100", backward=True
        ).memory
        held[offloads] = memory.after("forward")["activations"]
    assert held[False] == 8 * 16 * BYTES + 1024  # and the loss, and what autograd starts from
    assert held[True] <= 17 * BYTES + 2048  # the output


def test_a_model_on_the_cpu_that_is_counted_for_a_gpu_has_all_of_it_there() -> None:
    class OnTheCpu(Net):
        def __init__(self) -> None:
            super().__init__(lambda y, _: torch.ones(y.shape, device=y.device))
            self.product = nn.Linear(SIDE, SIDE)

    profile = nnprof.measure(OnTheCpu(), (SIDE, SIDE), hardware="a100")
    assert profile.memory.peak >= 8 * BYTES
