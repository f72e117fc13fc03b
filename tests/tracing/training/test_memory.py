"""The simulated memory of a step is what a real one takes on the CPU, as PyTorch's profiler saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import nnprof
from benchmarks.training_models import TRAINING_MODELS, TrainingModel, scalar_loss
from tests.tracing.training.real import Memory, bytes_of, one_thread, real_memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Step = Callable[[], object]


def traced_memory(step: Step, before: Iterable[Tensor]) -> Memory:
    """``before``: what was there before the step, which a trace counts and a profiler does not."""
    with nnprof.trace(backward=True, target="cpu") as running:
        step()
    memory = running.result.memory()
    there = sum(bytes_of(tensor) for tensor in before)
    return Memory(memory["peak"] - there, int(memory["live"][-1]) - there)


@pytest.fixture(autouse=True)
def _several_threads() -> Iterator[None]:
    """However many the run has: kernels take memory for each of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


# Whole models -------------------------------------------------------------------------------------

SLOW = {"vit_b_16", "bert", "gpt2"}


MODELS = [
    pytest.param(case, id=case.name, marks=pytest.mark.long if case.name in SLOW else ())
    for case in TRAINING_MODELS
]


def resident(model: nn.Module, x: Tensor) -> int:
    return sum(map(bytes_of, [*model.parameters(), *model.buffers(), x]))


@pytest.mark.parametrize("case", MODELS)
def test_peak_of_training(case: TrainingModel) -> None:
    model, x = case.make("cpu").train(), case.make_input("cpu")

    def step() -> None:
        scalar_loss(model(x)).backward()

    step()  # what is made once for the process is no part of it
    model.zero_grad()
    expected = resident(model, x) + real_memory(step).peak
    model.zero_grad()
    with nnprof.trace(model, backward=True) as running:
        running.mark_inputs(x)
        step()
    assert running.result.memory()["peak"] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("case", MODELS)
def test_peak_of_inference(case: TrainingModel) -> None:
    model, x = case.make("cpu").eval(), case.make_input("cpu")
    with torch.no_grad():
        model(x)
        expected = resident(model, x) + real_memory(lambda: model(x)).peak
        with nnprof.trace(model) as running:
            running.mark_inputs(x)
            model(x)
    assert running.result.memory()["peak"] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("batch", [2, 5])
def test_peak_where_images_are_lower_than_the_filter(batch: int) -> None:
    # oneDNN takes other kernels for these, by the CPU's instructions.
    layer = nn.Conv2d(512, 512, 3, padding=1, bias=False)
    before = [*layer.parameters(), torch.randn(batch, 512, 2, 2)]

    def step() -> None:
        layer(before[-1]).sum().backward()
        layer.zero_grad()

    step()
    expected = real_memory(step).peak
    assert traced_memory(step, before).peak == pytest.approx(expected, rel=0.02)


# Small programs, to the byte ----------------------------------------------------------------------

# Each makes what is there before the step, and tells the step and those tensors.
Program = Callable[[], tuple[Step, list[Tensor]]]


def mlp(inplace: bool = False) -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(inplace=inplace), nn.Linear(128, 32))


def of_model(
    step: Callable[[nn.Sequential, Tensor], object], make: Callable[[], nn.Sequential] = mlp
) -> Program:
    def program() -> tuple[Step, list[Tensor]]:
        model, x = make(), torch.randn(16, 64)
        return lambda: step(model, x), [*model.parameters(), x]

    return program


def of_leaf(step: Callable[[Tensor], object]) -> Program:
    def program() -> tuple[Step, list[Tensor]]:
        x = torch.randn(64, 64, requires_grad=True)
        return lambda: step(x), [x]

    return program


def with_optimizer(kind: type[torch.optim.Optimizer], **options: Any) -> Program:
    def program() -> tuple[Step, list[Tensor]]:
        model, x = mlp(), torch.randn(16, 64)
        optimizer = kind(model.parameters(), **options)

        def step() -> None:
            for _ in range(2):
                model(x).sum().backward()
                optimizer.step()
                optimizer.zero_grad()

        return step, [*model.parameters(), x]

    return program


def plain(model: nn.Sequential, x: Tensor) -> None:
    model(x).sum().backward()


def inference(model: nn.Sequential, x: Tensor) -> None:
    with torch.no_grad():
        model(x)


def accumulating(model: nn.Sequential, x: Tensor) -> None:
    for _ in range(2):
        model(x).sum().backward()


def zeroing(set_to_none: bool) -> Callable[[nn.Sequential, Tensor], None]:
    def step(model: nn.Sequential, x: Tensor) -> None:
        for _ in range(2):
            model(x).sum().backward()
            model.zero_grad(set_to_none)

    return step


def retaining(model: nn.Sequential, x: Tensor) -> None:
    loss = model(x).sum()
    loss.backward(retain_graph=True)
    loss.backward()


def detaching(model: nn.Sequential, x: Tensor) -> None:
    hidden = model[0](x).detach()
    model[1:](hidden).square().sum().backward()


def expanded_gradient(model: nn.Sequential, x: Tensor) -> None:
    hidden = model[0](x).detach()
    model[1:](hidden).sum().backward()


def cross_entropy(model: nn.Sequential, x: Tensor) -> None:
    F.cross_entropy(model(x), torch.arange(16)).backward()


def autocast(model: nn.Sequential, x: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(x).sum()
    loss.backward()


def penalty(model: nn.Sequential, x: Tensor) -> None:
    x = x.detach().requires_grad_()
    (grad,) = torch.autograd.grad(model(x).tanh().sum(), x, create_graph=True)
    grad.square().sum().backward()


def views(x: Tensor) -> None:
    flat = (x * x)[:32].t().reshape(-1)
    (flat * flat).sum().backward()


def writes_to_views(x: Tensor) -> None:
    both = torch.zeros(128, 64)
    both[:64] = x
    both[64:].add_(x)
    (both * both).sum().backward()


def in_place(x: Tensor) -> None:
    y = x * x
    y.add_(x).mul_(x.detach())
    y.sum().backward()


def deleting(x: Tensor) -> Tensor:
    with torch.no_grad():
        first = x * x
        second = first + x
        del first
        third = second * x
        del second
        return third.sum()


def attention_by_hand(x: Tensor) -> None:
    query = x.view(2, 4, 64, 8)
    ((query @ query.mT).softmax(-1) @ query).sum().backward()


def attention(x: Tensor) -> None:
    query = x.view(2, 4, 64, 8)
    F.scaled_dot_product_attention(query, query, query).square().sum().backward()


def times_a_number(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x * 2


def checkpointed(reentrant: bool) -> Program:
    def program() -> tuple[Step, list[Tensor]]:
        parts = [nn.Sequential(nn.Linear(64, 64), nn.GELU()) for _ in range(3)]
        x = torch.randn(64, 64, requires_grad=True)

        def step() -> None:
            hidden = x
            for part in parts:
                hidden = checkpoint(part, hidden, use_reentrant=reentrant, preserve_rng_state=False)
            hidden.square().sum().backward()

        return step, [x, *(p for part in parts for p in part.parameters())]

    return program


def tied() -> tuple[Step, list[Tensor]]:
    embedding, head, ids = nn.Embedding(50, 32), nn.Linear(32, 50, bias=False), torch.arange(20)
    head.weight = embedding.weight
    return lambda: head(embedding(ids)).sum().backward(), [head.weight, ids]


PROGRAMS: dict[str, Program] = {
    "plain": of_model(plain),
    "relu in place": of_model(plain, lambda: mlp(inplace=True)),
    "inference": of_model(inference),
    "two steps": of_model(accumulating),
    "gradients set to none": of_model(zeroing(True)),
    "gradients set to zero": of_model(zeroing(False)),
    "graph retained": of_model(retaining),
    "detached": of_model(detaching),
    "expanded gradient of a product": of_model(expanded_gradient),
    "cross entropy": of_model(cross_entropy),
    "autocast": of_model(autocast),
    "gradient penalty": of_model(penalty),
    "views": of_leaf(views),
    "writes to views": of_leaf(writes_to_views),
    "in place": of_leaf(in_place),
    "deleted": of_leaf(deleting),
    "attention by hand": of_leaf(attention_by_hand),
    "attention": of_leaf(attention),
    "number": of_leaf(times_a_number),
    "checkpoint": checkpointed(reentrant=False),
    "reentrant checkpoint": checkpointed(reentrant=True),
    "tied": tied,
    "sgd": with_optimizer(torch.optim.SGD, lr=0.1),
    "momentum": with_optimizer(torch.optim.SGD, lr=0.1, momentum=0.9),
    "adam": with_optimizer(torch.optim.AdamW),
    "adam of lists": with_optimizer(torch.optim.AdamW, foreach=True),
    "fused adam": with_optimizer(torch.optim.AdamW, fused=True),
}


@pytest.fixture(name="one_thread")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


BUGS = {
    "autocast": "the CPU's products of bfloat16 take scratch memory",
    "reentrant checkpoint": "gradients of leaves made in the trace are held to its end",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=BUGS[name]))
        if name in BUGS
        else name
        for name in PROGRAMS
    ],
)
@pytest.mark.usefixtures("one_thread")
def test_small_programs(name: str) -> None:
    PROGRAMS[name]()[0]()  # what is made once for the process is no part of it
    step, before = PROGRAMS[name]()
    expected = real_memory(step)
    step, before = PROGRAMS[name]()
    assert traced_memory(step, before) == expected


def attention_of(
    length: int, dtype: torch.dtype, wants_grad: bool, by_position: bool
) -> tuple[Step, list[Tensor]]:
    heads = [torch.randn(2, 3, length, 8, dtype=dtype, requires_grad=wants_grad) for _ in range(3)]
    gradient = torch.randn(2, length, 3, 8, dtype=dtype).transpose(1, 2)
    if not by_position:
        gradient = gradient.contiguous()

    def step() -> object:
        output = F.scaled_dot_product_attention(heads[0], heads[1], heads[2])
        return torch.autograd.grad(output, heads, gradient) if wants_grad else output

    return step, [*heads, *([gradient] if wants_grad else [])]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("length", [5, 64, 192, 700, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("wants_grad", "by_position"), [(False, True), (True, True), (True, False)]
)
def test_fused_attention(
    length: int, dtype: torch.dtype, wants_grad: bool, by_position: bool
) -> None:
    step, before = attention_of(length, dtype, wants_grad, by_position)
    step()
    assert traced_memory(step, before) == real_memory(step)
