"""A forward that yields, or is asynchronous, runs as its caller would run it."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from torch import Tensor, nn

import nnprof

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

STEP = 2 * 4 * 4
STEPS = 3


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(4, 4)


class Yields(Lazy):
    def forward(self, x: Tensor) -> Iterator[Tensor]:
        for _ in range(STEPS):
            x = self.step(x)
            yield x


class YieldsFrom(Lazy):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Yields()

    def forward(self, x: Tensor) -> Iterator[Any]:
        yield from self.inner(x)


class Maps(Lazy):
    def forward(self, x: Tensor) -> Any:
        return map(self.step, [x] * STEPS)


class Zips(Lazy):
    def forward(self, x: Tensor) -> Any:
        return zip(range(STEPS), (self.step(x) for _ in range(STEPS)), strict=True)


class Chains(Lazy):
    def forward(self, x: Tensor) -> Any:
        return itertools.chain(map(self.step, [x]), itertools.starmap(self.step, [(x,)] * 2))


class InTuple(Lazy):
    def forward(self, x: Tensor) -> Any:
        return x.shape[0], {"steps": [map(self.step, [x] * STEPS)]}


class OfGenerators(Lazy):
    def forward(self, x: Tensor) -> Any:
        return (map(self.step, [x]) for _ in range(STEPS))


class Awaits(Lazy):
    async def forward(self, x: Tensor) -> Tensor:
        for _ in range(STEPS):
            await asyncio.sleep(0)
            x = self.step(x)
        return x


class YieldsAsync(Lazy):
    async def forward(self, x: Tensor) -> AsyncIterator[Tensor]:
        for _ in range(STEPS):
            x = self.step(x)
            await asyncio.sleep(0)
            yield x


class Gathers(Lazy):
    async def forward(self, x: Tensor) -> Any:
        return await asyncio.gather(*(asyncio.to_thread(self.step, x) for _ in range(STEPS)))


class OwnIterator(Lazy):
    def forward(self, x: Tensor) -> Any:
        outer = self

        class Steps:
            left = STEPS

            def __iter__(self) -> Any:
                return self

            def __next__(self) -> Tensor:
                if not self.left:
                    raise StopIteration
                self.left -= 1
                out: Tensor = outer.step(x)
                return out

        return Steps()


LAZY = [Yields, YieldsFrom, Maps, Zips, Chains, InTuple, OfGenerators, Awaits, YieldsAsync]
LAZY += [Gathers, OwnIterator]


@pytest.mark.parametrize("kind", LAZY)
def test_all_of_it_is_counted(kind: type[Lazy]) -> None:
    profile = nnprof.measure(kind(), (2, 4))
    assert profile.macs == STEPS * STEP
    found = [layer for layer in profile.layers if layer.path.endswith("step") and layer.calls]
    assert sum(layer.calls for layer in found) == STEPS


@pytest.mark.parametrize("kind", [*LAZY[:4], *LAZY[7:9]])
def test_it_runs_in_the_scope_of_its_module(kind: type[Lazy]) -> None:
    profile = nnprof.measure(kind(), (2, 4))
    root = profile.layers[0]
    assert (root.type, root.macs) == (kind.__name__, STEPS * STEP)
    inner = profile["inner.step" if kind is YieldsFrom else "step"]
    assert inner.macs == STEPS * STEP
    if kind is YieldsFrom:
        assert profile["inner"].macs == STEPS * STEP


@pytest.mark.parametrize("kind", LAZY)
def test_it_trains(kind: type[Lazy]) -> None:
    """The loss is the sum of all that comes out: a gradient goes through every step."""
    profile = nnprof.measure(kind(), (2, 4), backward=True, optimizer="sgd")
    chained = kind in (Yields, YieldsFrom, Awaits, YieldsAsync)
    weights, inputs = STEPS, STEPS - 1 if chained else 0
    assert profile.phase("forward").macs == STEPS * STEP
    assert profile.phase("backward").macs == (weights + inputs) * STEP
    assert profile.phase("optimizer").flops > 0


def test_a_loss_of_the_users_gets_the_generator() -> None:
    def last(steps: Any) -> Tensor:
        assert inspect.isgenerator(steps)
        *_, out = steps
        return cast("Tensor", out).sum()

    profile = nnprof.measure(Yields(), (2, 4), backward=True, loss=last)
    assert profile.phase("backward").macs == (2 * STEPS - 1) * STEP


def test_items_are_let_go_as_they_come() -> None:
    class Wide(nn.Module):
        def forward(self, x: Tensor) -> Iterator[Tensor]:
            for _ in range(20):
                yield x * 2

    size = 4 * 1000
    # The item that the caller has, and the next one.
    assert nnprof.measure(Wide(), (1000,)).memory.peak <= 3 * 4096 + size


def in_trace(function: Callable[[], Any]) -> Any:
    with nnprof.trace():
        return function()


def test_generators_are_sent_to_thrown_at_and_closed() -> None:
    log: list[Any] = []

    class Talks(nn.Module):
        def forward(self, x: Tensor) -> Generator[Any, Any, str]:
            try:
                log.append((yield 1))
                try:
                    yield 2
                except KeyError:
                    log.append("caught")
                yield 3
                return "end"
            finally:
                log.append("closed")

    def talk() -> Any:
        steps = Talks()(torch.ones(1))
        seen = [next(steps), steps.send("sent"), steps.throw(KeyError())]
        try:
            next(steps)
        except StopIteration as end:
            seen.append(end.value)
        again = Talks()(torch.ones(1))
        next(again)
        again.close()
        return seen, steps.__name__

    expected, noted = talk(), log[:]
    log.clear()
    assert in_trace(talk) == expected == ([1, 2, 3, "end"], "forward")
    assert log == noted


def test_one_that_is_run_after_the_trace_computes() -> None:
    model, x = Yields(), torch.randn(2, 4)
    with nnprof.trace():
        steps = model(x)
    assert [out.device.type for out in steps] == ["cpu"] * STEPS


@pytest.mark.parametrize("endless", [itertools.count, itertools.cycle, itertools.repeat])
def test_what_has_no_end_is_refused(endless: Any) -> None:
    arguments = () if endless is itertools.count else ([1],)
    with pytest.raises(nnprof.NnprofError, match="without an end"):
        nnprof.measure(lambda x: endless(*arguments), (2, 4))


def test_a_loop_that_runs_already_is_named() -> None:
    async def measured() -> None:
        nnprof.measure(Awaits(), (2, 4))

    with pytest.raises(nnprof.NnprofError, match="event loop"):
        asyncio.run(measured())


def test_an_error_on_the_way_is_raised() -> None:
    class Breaks(Lazy):
        def forward(self, x: Tensor) -> Iterator[Tensor]:
            yield self.step(x)
            yield self.step(x.flatten())

    with pytest.raises(nnprof.NnprofError, match="step"):
        nnprof.measure(Breaks(), (2, 4))


def test_the_real_forward_runs_to_its_end() -> None:
    profile = nnprof.measure(Yields(), (2, 4), device="cpu", time_budget=1.0)
    assert profile.macs == STEPS * STEP
    assert profile.end_to_end_s is not None


def test_an_open_file_is_no_generator(tmp_path: Any) -> None:
    path = tmp_path / "x"
    path.write_text("a\nb\n")
    with path.open() as file:
        nnprof.measure(lambda x: (x @ x, file), (4, 4))
        assert file.readline() == "a\n"
