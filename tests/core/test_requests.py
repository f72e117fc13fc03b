"""What a trace asks of its device's allocator, against what real GPUs were asked for.

The traces are of forwards and training steps of a course's transformer on CUDA devices, recorded by
PyTorch. Their twins here run on the meta device. Compared are the sizes of all allocations in
order, which of them are freed between any two, and what PyTorch then held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nnprof
from nnprof import _core
from tests.core import course_transformer, student_transformer
from tests.core.allocator_traces import TRACES, Trace
from tests.core.course_transformer import Sizes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

#: Of cuBLAS, on the devices of these traces that show it.
WORKSPACE = 8_519_680
MEDIUM = Sizes(1024, 4096, 24, 16)
XL = Sizes(2560, 10240, 32, 32)  # as its blocks are, whatever the trace's name says


@dataclass(frozen=True)
class Request:
    """An allocation, or with 0 bytes the end of one. `op`: of the call that it belongs to."""

    block: int
    bytes: int
    op: str = ""


def recorded(number: str) -> tuple[Trace, list[Request]]:
    """A published trace, and its requests; blocks that were there before are numbered -1."""
    trace = Trace(next(path for path in TRACES if path.name.startswith(number)))
    requests: list[Request] = []
    at: dict[int, int] = {}
    made = 0
    for event, size, address, _ in trace.events:
        if event == "alloc":
            requests.append(Request(made, size))
            at[address] = made
            made += 1
        elif event == "free_requested":
            requests.append(Request(at.pop(address, -1), 0))
    return trace, requests


def asked(profile: nnprof.Profile) -> list[Request]:
    """What a profile's calls ask for."""
    data: Any = profile.data
    requests = data.requests()
    assert requests is not None
    columns = requests.columns()
    ops, index = data.signatures()["op"], data.call_index()["signature"]
    of_call = [*(ops[number] for number in index), ""]
    return [
        Request(int(block), int(size) if size >= 0 else WORKSPACE, of_call[call])
        for block, call, size in zip(*(columns[n] for n in ("block", "call", "bytes")), strict=True)
    ]


def without(requests: Iterable[Request], unwanted: Callable[[Request], bool]) -> list[Request]:
    gone = set()
    kept = []
    for request in requests:
        if request.bytes != 0 and unwanted(request):
            gone.add(request.block)
        if request.block not in gone:
            kept.append(request)
    return kept


def in_turns(requests: Sequence[Request]) -> Iterator[tuple[list[int], int | None]]:
    """What is freed, and then the size of what is allocated next; None at the end.

    Which of several blocks is freed first makes no difference to an allocator.
    """
    freed: list[int] = []
    for request in requests:
        if request.bytes == 0:
            freed.append(request.block)
        else:
            yield freed, request.bytes
            freed = []
    yield freed, None


def first_difference(own: Sequence[Request], real: Sequence[Request]) -> str | None:
    """Where two programs ask for something else; None where they never do.

    Blocks that were there before are only counted.
    """
    twin: dict[int, int] = {}
    blocks = [iter([r.block for r in side if r.bytes]) for side in (own, real)]
    for number, (ours, theirs) in enumerate(zip(in_turns(own), in_turns(real), strict=False)):
        freed = sorted(twin.get(block, -1) for block in ours[0])
        if freed != sorted(theirs[0]):
            return f"before allocation {number}: frees {freed}, really {sorted(theirs[0])}"
        if ours[1] != theirs[1]:
            return f"allocation {number}: {ours[1]} bytes, really {theirs[1]}"
        if ours[1] is not None:
            twin[next(blocks[0])] = next(blocks[1])
    return None if len(own) == len(real) else f"{len(own)} requests, really {len(real)}"


def peaks(requests: Iterable[Request], start: _core.CachingAllocator) -> tuple[int, int]:
    """Allocated and reserved at most, from where `start` is."""
    places: dict[int, int] = {}
    for request in requests:
        if request.bytes == 0:
            if request.block in places:
                start.free(places.pop(request.block))
            continue
        place = start.allocate(request.bytes)
        assert place is not None
        places[request.block] = place
    return start.peak_allocated, start.peak_reserved


def made(sizes: Sizes) -> tuple[nn.Module, Tensor]:
    with torch.device("meta"):
        tokens = torch.zeros(sizes.batch, sizes.tokens, dtype=torch.int64)
        return course_transformer.Transformer(sizes), tokens


def casting(dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    return torch.autocast("cuda", dtype, enabled=dtype is not None)


FORWARDS = {
    "033": (XL, True, None),
    "035": (XL, True, None),
    "061": (replace(MEDIUM, tokens=1024), False, None),
    "063": (MEDIUM, False, None),
    "065": (replace(MEDIUM, tokens=256), False, None),
    "095": (XL, False, None),
    "029": (replace(XL, tokens=1024), False, None),
    "031": (XL, False, torch.bfloat16),
    "041": (replace(XL, tokens=512), False, torch.bfloat16),
    "039": (replace(XL, tokens=2048), False, torch.bfloat16),
    "097": (replace(XL, tokens=512), True, torch.bfloat16),
}


@pytest.mark.parametrize("number", FORWARDS)
def test_a_forward_asks_for_the_same(number: str) -> None:
    sizes, grad, dtype = FORWARDS[number]
    model, tokens = made(sizes)
    with nnprof.trace(model, backward=grad) as running, torch.set_grad_enabled(grad):
        with casting(dtype):
            out = model(tokens)
        del out
    # The program has multiplied before: the workspace is there.
    own = without(asked(running.profile()), lambda request: request.bytes == WORKSPACE)
    trace, real = recorded(number)
    assert first_difference(own, real) is None
    assert peaks(own, trace.allocator()) == peaks(real, trace.allocator())
    assert peaks(own, trace.allocator())[1] == trace.peak_reserved


@pytest.mark.parametrize(("number", "tokens"), [("057", 100), ("059", 200)])
def test_three_forwards_from_an_empty_device(number: str, tokens: int) -> None:
    sizes = Sizes(512, 1344, 4, 16, batch=10, tokens=tokens)
    model = student_transformer.Transformer(sizes).to("meta")
    given = torch.zeros(sizes.batch, tokens, dtype=torch.int64, device="meta")
    with nnprof.trace(model, backward=True) as running:
        for _ in range(3):
            model(given)
    there = [4 * parameter.numel() for parameter in model.parameters()] + [8 * given.numel()]
    put = [Request(-2 - number, size) for number, size in enumerate(there)]
    own = put + asked(running.profile())
    trace, real = recorded(number)
    assert first_difference(own, real) is None
    assert peaks(own, _core.CachingAllocator())[1] == trace.peak_reserved


Step = Callable[[nn.Module, Tensor, torch.optim.Optimizer], None]


def mixed_step(model: nn.Module, tokens: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    with casting(torch.bfloat16):
        logits = model(tokens)
        loss = F.cross_entropy(logits.float().flatten(0, 1), tokens.flatten())
    loss.backward()
    optimizer.step()


class FloatStep:
    """Keeps its logits and its loss until it has new ones."""

    logits: Tensor
    loss: Tensor

    def __call__(self, model: nn.Module, tokens: Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        self.logits = model(tokens)
        self.loss = F.cross_entropy(self.logits.flatten(0, 1), tokens.flatten())
        self.loss.backward()
        optimizer.step()


STEPS: dict[str, tuple[Sizes, Step]] = {
    "069": (replace(MEDIUM, look_up=True), FloatStep()),
    "037": (XL, mixed_step),
}
#: Of traces.csv, as the device's own count has it.
PEAK_ALLOCATED = {"069": 8_511_549_952, "037": 68_630_923_776}


def second_step(requests: list[Request], left: int) -> list[Request]:
    """After the first step's last temporaries, the optimizer's square roots, are freed.

    And so many blocks that the step itself lets go of when it ends.
    """
    roots = [request.block for request in requests if request.op == "aten::_foreach_sqrt"]
    first = set(roots[: len(roots) // 2])
    last = max(i for i, request in enumerate(requests) if request.block in first)
    return requests[last + 1 + left :]


def sorts(request: Request) -> bool:
    """Of the gradient of a look-up."""
    return request.bytes != 0 and request.op == "aten::index_put_"


def without_look_up(requests: list[Request], table: int, places: int) -> list[Request]:
    """A real step without what sorts the places of a look-up, nor a copy of its gradient.

    `table` bytes are looked up at `places`. An older torch (069) copies the gradient once more.
    """
    size_of = {request.block: request.bytes for request in requests if request.bytes}
    sorting = [8 * places] * 5 + [1]
    gradient = next(
        block
        for block, size in size_of.items()
        if size == table and [size_of.get(block + i) for i in range(1, 7)] == sorting
    )
    gone = set(range(gradient + 1, gradient + 7))
    freed = Request(gradient, 0)
    if freed in requests:
        gone.add(gradient + 7)
        assert size_of[gradient + 7] == table
    kept = without(requests, lambda request: request.block in gone)
    return [request for request in kept if request != freed]


def trained(number: str, steps: int) -> tuple[nn.Module, Tensor, nnprof.Profile]:
    sizes, step = STEPS[number]
    model, tokens = made(sizes)
    optimizer = torch.optim.AdamW(model.parameters())
    with nnprof.trace(model, backward=True) as running:
        for _ in range(steps):
            step(model, tokens, optimizer)
    return model, tokens, running.profile()


@pytest.mark.parametrize("number", STEPS)
def test_a_training_step_asks_for_the_same(number: str) -> None:
    """But for the end of its backward, where the gradient of the look-up is sorted and copied."""
    sizes, step = STEPS[number]
    _, tokens, profile = trained(number, steps=2)
    left = 2 if step is mixed_step else 0  # its logits and its loss
    own = without(second_step(asked(profile), left), sorts)
    _, real = recorded(number)
    real = without_look_up(real, 4 * sizes.vocabulary * sizes.width, tokens.numel())
    assert first_difference(own, real) is None


@pytest.mark.parametrize("number", STEPS)
def test_training_from_an_empty_device_comes_to_the_real_peaks(number: str) -> None:
    """Three steps: the first makes the optimizer's state, the others have it."""
    _, _, profile = trained(number, steps=3)
    data: Any = profile.data
    own = _core.device_use(data.requests(), _core.AllocatorOptions(), blas_workspace=WORKSPACE)
    trace, _ = recorded(number)
    assert own["peak_reserved"] == trace.peak_reserved
    assert own["peak_allocated"] == pytest.approx(PEAK_ALLOCATED[number], rel=2e-4)
