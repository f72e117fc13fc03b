"""How long it takes to say whether a run fits: `python benchmarks/fits.py`.

Llama-3.1-8B trained whole, with LoRA, and with LoRA on weights of four bits, at three lengths, on
24, 40 and 80 GB: verdicts and seconds beside those for building the models. And the simulation of
the allocator alone, by request, over three steps of training. Needs peft for the adapters.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from rich.console import Console
from rich.table import Table

import nnprof
from benchmarks import conditions
from benchmarks.bars import bar, missed, show_bars
from benchmarks.large_models import LARGE_MODELS
from nnprof import _core
from nnprof.base.packages import import_torchvision
from nnprof.fitting.methods import adapted

GPUS = ("24GB", "a100-40", "h100")
LENGTHS = (2048, 8192, 32768)
REPEATS = 7


@dataclass(frozen=True)
class Way:
    name: str
    lora: bool
    quantize: str | None

    def build(self) -> tuple[Any, int]:
        model = LARGE_MODELS["Llama-3.1-8B"].build().to(torch.bfloat16).train()
        return adapted(model, "r=16" if self.lora else None, self.quantize)


WAYS = (Way("whole", False, None), Way("LoRA", True, None), Way("QLoRA", True, "nf4"))


def verdicts(console: Console) -> tuple[list[dict[str, Any]], float]:
    """All of them, and the seconds that they took, without those for building."""
    table = Table(title="Llama-3.1-8B, a batch of one", title_justify="left")
    for heading in ("trained", "tokens", *GPUS):
        table.add_column(heading)
    found, seconds = [], 0.0
    for way in WAYS:
        model, beside = way.build()
        for length in LENGTHS:
            start = time.perf_counter()
            fit = nnprof.fits(model, GPUS[0], batch=1, sequence=length, train=True, beside=beside)
            cells = []
            for gpu in GPUS:
                there = fit.on(gpu)
                cells.append(f"{there.verdict}: {there.spare / 2**30:+.1f} GiB")
                found.append(
                    {
                        "trained": way.name,
                        "tokens": length,
                        "gpu": gpu,
                        "verdict": there.verdict,
                        "reserved": there.memory.reserved,
                        "spare": there.spare,
                    }
                )
            seconds += time.perf_counter() - start
            table.add_row(way.name, f"{length:,}", *cells)
    console.print(table)
    return found, seconds


def simulation() -> tuple[int, float]:
    """Requests of three steps, and seconds for simulating them, the least of several times."""
    model, _ = WAYS[0].build()
    fit = nnprof.fits(model, "h100", batch=1, sequence=2048, train=True)
    data: Any = fit.profile.data
    requests = data.requests()
    assert requests is not None
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        _core.device_use(requests, _core.AllocatorOptions(), blas_workspace=1 << 25)
        best = min(best, time.perf_counter() - start)
    return len(requests.columns()["bytes"]), best


def main() -> int:
    console = Console(width=110)
    import_torchvision()  # which transformers asks for where it is installed
    found, seconds = verdicts(console)
    requests, took = simulation()
    bars = [
        bar("seconds for all verdicts, beside building", seconds, "<=", 5, " s"),
        bar("a request, simulated", 1e9 * took / requests, "<=", 200, " ns"),
    ]
    show_bars(console, bars)
    result = conditions.conditions("peft", "transformers")
    conditions.write("fits", result | {"verdicts": found, "requests": requests, "bars": bars})
    return int(missed(bars))


if __name__ == "__main__":
    sys.exit(main())
