"""Copies: outputs as PyTorch's; they cost what they move, and nothing where nothing changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

import nnprof
from tests.rules.costs import CallCost, cost_of, meta
from tests.rules.differential import compare
from tests.rules.memory_formats import IMAGES

if TYPE_CHECKING:
    from collections.abc import Callable

INPUTS = {**IMAGES, "matrix": torch.randn(3, 4), "number": torch.randn(())}
last = torch.channels_last

COPIES: dict[str, Callable[[Tensor], Any]] = {
    "clone": lambda x: x.clone(),
    "clone channels last": lambda x: x.clone(memory_format=last),
    "contiguous": lambda x: x.contiguous(),
    "contiguous channels last": lambda x: x.contiguous(memory_format=last),
    "to same": lambda x: x.to(torch.float32),
    "to device": lambda x: x.to("cpu"),
    "to half": lambda x: x.half(),
    "to copy": lambda x: x.to(torch.float32, copy=True),
    "to channels last": lambda x: x.to(memory_format=last),
    "to other": lambda x: x.to(torch.ones(1, dtype=torch.int32)),
    "type_as": lambda x: x.type_as(torch.ones(1, dtype=torch.bfloat16)),
    "bool": lambda x: x.bool(),
    "copy_": lambda x: torch.empty(7, *x.shape, dtype=torch.float64).copy_(x),
    "copy_ wrongly": lambda x: torch.empty(7).copy_(x),
    "cat": lambda x: torch.cat([x, x.half(), x], -1),
    "cat along too much": lambda x: torch.cat([x, x], 4),
    "cat of unlike": lambda x: torch.cat([x, x[..., :2]], 0),
    "concat": lambda x: torch.concat([x, x], 0),
    "stack": lambda x: torch.stack([x, x]),
    "stack last": lambda x: torch.stack([x, x, x], -1),
    "stack between": lambda x: torch.stack([x, x], 1),
    "stack of unlike": lambda x: torch.stack([x, x[:1]]),
    "hstack": lambda x: torch.hstack([x, x]),
    "repeat": lambda x: x.repeat(2, 1, 2, 1, 3),
    "repeat too few": lambda x: x.repeat(2),
    "tile": lambda x: x.tile(2),
    "repeat_interleave": lambda x: x.repeat_interleave(3, 1),
    "repeat_interleave all": lambda x: x.repeat_interleave(2),
    "repeat_interleave by": lambda x: x.repeat_interleave(torch.arange(x.shape[0]), 0),
    "flip": lambda x: x.flip(0, -1),
    "flip twice": lambda x: x.flip(0, 0),
    "roll": lambda x: x.roll((1, -2), (0, 1)),
    "roll all": lambda x: x.roll(3),
    "roll unlike": lambda x: x.roll((1, 2), 0),
    "rot90": lambda x: x.rot90(),
    "rot90 twice": lambda x: x.rot90(-2, (1, 2)),
    "rot90 not": lambda x: x.rot90(4),
    "rot90 in one": lambda x: x.rot90(1, (1, 1)),
}


@pytest.mark.parametrize("x", INPUTS.values(), ids=INPUTS.keys())
def test_copies(x: Tensor) -> None:
    found = [m for name, copy in COPIES.items() for m in compare(name, copy, ((x,), {}))]
    assert not found, "\n".join(map(str, found))


def test_nothing_to_do_returns_the_tensor_itself() -> None:
    x = meta(2, 3)
    with nnprof.trace() as running:
        assert x.contiguous() is x
        assert x.to("cuda") is x
        assert x.float() is x
        assert x.type_as(x) is x
    assert running.profile().bytes == 0


def moved(read: int, written: int) -> CallCost:
    return CallCost(0, {}, read, written, 0)


def test_bytes() -> None:
    x = meta(2, 3)  # 24 bytes
    assert cost_of(torch.clone, x) == moved(24, 24)
    assert cost_of(torch.clone, meta(1, 3).expand(2, 3)) == moved(12, 24)
    assert cost_of(lambda x: x.t().contiguous(), x) == moved(24, 24)
    assert cost_of(lambda x: x.half(), x) == moved(24, 12)
    # What it is converted to, or its shape, is no traffic.
    assert cost_of(lambda x, y: x.type_as(y), x, meta(99, dtype=torch.float16)) == moved(24, 12)
    assert cost_of(lambda x, y: x.copy_(y), x, meta(3, dtype=torch.float16)) == moved(6, 24)
    assert cost_of(lambda x, y: torch.cat([x, y]), x, meta(1, 3)) == moved(36, 36)
    assert cost_of(lambda x, y: torch.stack([x, y]), x, meta(2, 3)) == moved(48, 48)
    assert cost_of(lambda x: x.repeat(2, 5), x) == moved(24, 240)
    assert cost_of(lambda x: x.repeat_interleave(4, 1), x) == moved(24, 96)
    assert cost_of(lambda x: x.flip(0), x) == moved(24, 24)
    assert cost_of(lambda x: x.roll(1, 0), x) == moved(24, 24)
