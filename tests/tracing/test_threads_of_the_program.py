"""Threads that a forward starts, or hands work to: their calls are counted, in their modules."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import nnprof
from nnprof.errors import DataDependentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOWERS, ROWS, WIDTH = 4, 3, 8
OLD_POOL = ThreadPoolExecutor(2)
OLD_THREAD_POOL = ThreadPool(2)


@pytest.fixture(scope="module", autouse=True)
def _pools() -> Iterator[None]:
    yield
    OLD_POOL.shutdown()
    OLD_THREAD_POOL.close()
    OLD_THREAD_POOL.join()


def in_threads(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    results: list[Any] = [None] * len(items)

    def put(index: int) -> None:
        results[index] = work(items[index])

    threads = [threading.Thread(target=put, args=(i,)) for i in range(len(items))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def in_thread_subclass(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    class Worker(threading.Thread):
        def __init__(self, item: Any) -> None:
            super().__init__()
            self.item, self.result = item, None

        def run(self) -> None:
            self.result = work(self.item)

    workers = [Worker(item) for item in items]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [worker.result for worker in workers]


def in_executor(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(work, items))


def in_old_executor(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    return [future.result() for future in [OLD_POOL.submit(work, item) for item in items]]


def in_thread_pool(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    with ThreadPool(2) as pool:
        return pool.map(work, items)


def in_old_thread_pool(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    return list(OLD_THREAD_POOL.imap(work, items))


def one_by_one_in_old_thread_pool(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    waiting = [OLD_THREAD_POOL.apply_async(work, (item,)) for item in items]
    return [result.get() for result in waiting]


def in_asyncio(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(asyncio.to_thread(work, item) for item in items))

    return asyncio.run(all_of_them())


def in_a_thread_of_a_thread(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(in_threads, work, items).result()


def in_a_queue(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """A producer that waits for its consumer."""
    waiting: Any = queue.Queue(maxsize=1)
    results: list[Any] = []

    def consume() -> None:
        while (item := waiting.get()) is not None:
            results.append(work(item))

    consumer = threading.Thread(target=consume)
    consumer.start()
    for item in [*items, None]:
        waiting.put(item)
    consumer.join()
    return results


WAYS = [
    in_threads,
    in_thread_subclass,
    in_executor,
    in_old_executor,
    in_thread_pool,
    in_old_thread_pool,
    one_by_one_in_old_thread_pool,
    in_asyncio,
    in_a_thread_of_a_thread,
    in_a_queue,
]


class Towers(nn.Module):
    def __init__(self, way: Callable[..., list[Any]]) -> None:
        super().__init__()
        self.way = way
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, WIDTH + i), nn.ReLU()) for i in range(TOWERS)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self.way(lambda tower: tower(x), list(self.towers)), -1)


MACS = sum(ROWS * WIDTH * (WIDTH + i) for i in range(TOWERS))


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_all_are_counted_in_their_modules(way: Any, device: str) -> None:
    model = Towers(way).to(device)
    expected = model(torch.ones(ROWS, WIDTH, device=device)).shape
    profile = nnprof.measure(model, (ROWS, WIDTH))
    assert profile.macs == MACS
    assert profile.layers[0].output_shapes == [list(expected)]
    for i in range(TOWERS):
        layer = profile[f"towers.{i}.0"]
        assert (layer.calls, layer.macs) == (1, ROWS * WIDTH * (WIDTH + i))
        assert profile[f"towers.{i}"].depth == profile.layers[0].depth + 1
    assert profile.layers[0].macs == MACS
    if device == "cpu":
        assert model(torch.ones(ROWS, WIDTH)).device.type == "cpu"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_training_goes_through_them(way: Any) -> None:
    model, plain = Towers(way), Towers(lambda work, items: [work(item) for item in items])
    found = nnprof.measure(model, (ROWS, WIDTH), backward=True, optimizer="sgd")
    expected = nnprof.measure(plain, (ROWS, WIDTH), backward=True, optimizer="sgd")
    for phase in ("forward", "backward", "optimizer"):
        assert found.phase(phase).macs == expected.phase(phase).macs
        assert found.phase(phase).flops == expected.phase(phase).flops
    for i in range(TOWERS):
        assert found[f"towers.{i}.0"].macs == expected[f"towers.{i}.0"].macs


def test_many_calls_at_once() -> None:
    """Neither a call nor its place gets lost, however threads take turns."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            parts = ([nn.Linear(8, 8), nn.ReLU(), nn.LayerNorm(8)] * 20 for _ in range(6))
            self.chains = nn.ModuleList(nn.Sequential(*part) for part in parts)

        def forward(self, x: Tensor) -> Any:
            return sum(in_threads(lambda chain: chain(x), list(self.chains)))

    model = Deep()
    for _ in range(3):
        profile = nnprof.measure(model, (2, 8))
        assert profile.macs == 6 * 20 * 2 * 64
        for i in range(6):
            assert profile[f"chains.{i}"].macs == 20 * 2 * 64
            assert profile[f"chains.{i}"].own_macs == 0
        assert len(profile.ops["op"]) == 6 * 60 + 6  # sum() starts from 0


def test_a_backward_in_each_thread() -> None:
    parts = [nn.Linear(8, 8) for _ in range(4)]

    def train(part: nn.Module) -> None:
        part(torch.ones(2, 8)).sum().backward()

    with nnprof.trace(backward=True) as running:
        in_threads(train, parts)
    profile = running.profile()
    assert profile.phase("forward").macs == profile.phase("backward").macs == 4 * 2 * 64


def test_checkpoints_and_modes_in_threads() -> None:
    class Passes(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            time.sleep(0.001)  # others come in between
            return func(*args, **(kwargs or {}))

    parts, x = [nn.Linear(8, 8) for _ in range(4)], torch.ones(2, 8)

    def run(part: nn.Module) -> Any:
        with Passes():
            return checkpoint(part, x, use_reentrant=False)

    with nnprof.trace(backward=True) as running:
        outs = in_threads(run, parts)
        assert all(out.requires_grad for out in outs)
        sum(out.sum() for out in outs).backward()
    assert running.profile().macs == 2 * 4 * 2 * 64  # an addmm's output is not needed again


def test_grad_mode_is_that_of_a_new_thread() -> None:
    """As in a real run: `no_grad` is the thread's own."""
    seen: list[bool] = []
    with nnprof.trace(backward=True), torch.no_grad():
        thread = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_an_error_in_a_future_is_the_forwards() -> None:
    model = Towers(in_executor)
    with pytest.raises(nnprof.NnprofError, match=r"towers\.0\.0|mat1 and mat2|shape"):
        nnprof.measure(model, (ROWS, WIDTH + 1))
    assert nnprof.measure(model, (ROWS, WIDTH)).macs == MACS


def test_an_error_that_a_thread_swallows_is_raised() -> None:
    class Asks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            def look() -> None:
                if x.sum().item() > 0:
                    x.exp()

            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
            return x

    hook, threading.excepthook = threading.excepthook, lambda args: None
    try:
        with pytest.raises(DataDependentError):
            nnprof.measure(Asks(), inputs=torch.empty(8, 8, device="meta"))
    finally:
        threading.excepthook = hook


def test_a_worker_from_before_that_waits_at_a_queue_is_named() -> None:
    work: Any = queue.Queue()
    done: Any = queue.Queue()

    def serve() -> None:
        while (call := work.get()) is not None:
            done.put(call[0](call[1]))

    worker = threading.Thread(target=serve)
    worker.start()

    class Served(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Any:
            work.put((self.layer, x * 2))
            return done.get(timeout=30)

    model = Served()
    with pytest.raises(nnprof.NnprofError, match="started before the trace"):
        nnprof.measure(model.to("meta"), (2, 8))
    work.put(None)
    worker.join()
    assert nnprof.measure(model.layer, (2, 8)).macs == 2 * 64


def test_a_thread_that_goes_on_after_the_trace() -> None:
    go_on, results = threading.Event(), []

    def compute() -> None:
        assert go_on.wait(timeout=30)
        results.append(torch.ones(2, 2) @ torch.ones(2, 2))

    with nnprof.trace() as running:
        thread = threading.Thread(target=compute)
        thread.start()
        torch.empty(10, 10) @ torch.empty(10, 10)
    go_on.set()
    thread.join()
    assert results[0].tolist() == [[2.0, 2.0], [2.0, 2.0]]
    profile = running.profile()
    assert profile.macs == 1000
    assert any("thread" in line for line in profile.assumptions)


def test_pools_are_free_again_afterwards() -> None:
    nnprof.measure(Towers(in_old_executor), (ROWS, WIDTH))
    nnprof.measure(Towers(in_old_thread_pool), (ROWS, WIDTH))
    for result in (
        OLD_POOL.submit(torch.ones, 2).result(),
        OLD_THREAD_POOL.apply(torch.ones, (2,)),
    ):
        assert result.tolist() == [1.0, 1.0]
    assert "run" not in threading.Thread().__dict__


def test_a_measure_of_its_own_in_a_thread_of_a_trace() -> None:
    other = nn.Linear(5, 5)

    class Measures(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found = in_threads(lambda model: nnprof.measure(model, (1, 5)).macs, [other])
            assert found == [25]
            return x @ x

    assert nnprof.measure(Measures(), (10, 10)).macs == 1000
