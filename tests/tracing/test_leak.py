"""Memory stays as it is over thousands of profiles, of models that do all that leaves traces."""

from __future__ import annotations

import gc
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nnprof

if TYPE_CHECKING:
    from collections.abc import Callable


class Block(nn.Module):
    """Keeps what it made in itself, writes in place, has a hook."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.seen: list[Tensor] = []
        self.last: Tensor | None = None
        self.conv.register_forward_hook(lambda module, args, out: self.seen.append(out))

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        x = F.dropout(self.norm(self.conv(x)), training=self.training)
        x[:, 0] = 0
        self.last = x.relu_()
        return self.last.mul_(2)


class Routed(nn.Module):
    """Integers that are really computed, and guesses."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids).flatten(0, 1)
        chosen = x[:, :3].softmax(-1).topk(1).indices.flatten()
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            rows = (chosen == i).nonzero().flatten()
            out.index_add_(0, rows, expert(x[rows]))
        mask = torch.arange(ids.shape[1]) < int(ids.max())
        return out[: int(mask.sum())]


class Fails(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out @ x


class AsksForValues(Fails):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out if bool(out.mean() > 0) else out * 2


def raises(model: nn.Module, shape: tuple[int, ...]) -> None:
    try:
        nnprof.measure(model, shape)
    except nnprof.NnprofError:
        return
    pytest.fail("it was to raise")


def traced(x: Tensor, linear: nn.Linear) -> None:
    with nnprof.trace() as running:
        kept = linear(x).softmax(-1)
        del kept
    running.profile().table()


def jobs() -> list[Callable[[], Any]]:
    block, routed, fails, asks = Block().train(), Routed().eval(), Fails(), AsksForValues()
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    lstm, linear = nn.LSTM(4, 5, 2), nn.Linear(6, 7)
    with torch.device("meta"):
        on_meta = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8))
    image, rows = torch.randn(2, 3, 6, 6), torch.randn(3, 6)
    return [
        lambda: nnprof.measure(block, inputs=image),
        lambda: nnprof.measure(block, (2, 3, 8, 8), autocast="bfloat16").ops["macs"],
        lambda: nnprof.measure(routed, (2, 5)).assumptions,
        lambda: nnprof.measure(attention, (2, 5, 8)).layers,
        lambda: nnprof.measure(lstm, (3, 2, 4)).to_dict(),
        lambda: nnprof.measure(on_meta, (3, 4)).summary(),
        lambda: raises(fails, (3, 4)),
        lambda: raises(fails, (3, 9)),
        lambda: raises(asks, (3, 4)),
        lambda: traced(rows, linear),
    ]


def alive() -> Counter[str]:
    """Python's objects, and the tensors among them."""
    gc.collect()
    objects = gc.get_objects()
    return Counter(
        objects=len(objects),
        tensors=sum(isinstance(item, Tensor) for item in objects if _is_safe(item)),
    )


def _is_safe(item: Any) -> bool:
    # A lazy module's stand-in would import what it stands for when asked for its class.
    return issubclass(type(item), Tensor)


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def run(times: int, work: list[Callable[[], Any]]) -> None:
    for i in range(times):
        work[i % len(work)]()


@pytest.mark.parametrize("profiles", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_memory_stays_flat(profiles: int) -> None:
    work = jobs()
    run(profiles // 4, work)  # what is kept for the life of the process, and the allocator's pools
    before, resident = alive(), resident_bytes()
    run(profiles, work)
    after, grown = alive(), resident_bytes() - resident
    assert after["tensors"] <= before["tensors"]
    assert after["objects"] <= before["objects"] + 100
    # 3 kB a profile in the short run, less than any trace takes; 300 bytes in the long one.
    assert grown < 3_000_000, f"{grown:,} bytes more after {profiles} profiles"
