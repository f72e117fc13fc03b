"""How well replayed calls add up to the real forward, and how well a second replay repeats them.

`python benchmarks/replays.py [--threads 1] [--budget 30] [model ...]`, models of models.py by name.
The machine must be idle for the numbers to mean anything.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.models import LlamaConfig, llama, torchvision_model
from nnprof.inputs import make_inputs
from nnprof.replay import Measurements, replay
from nnprof.run import run

_LLAMA = LlamaConfig(
    hidden=1024, ffn=2816, layers=8, heads=16, kv_heads=16, vocabulary=32000, context=512
)


def _real_seconds(model: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> list[float]:
    model(*arguments)
    seconds = []
    for _ in range(15):
        start = time.perf_counter()
        model(*arguments)
        seconds.append(time.perf_counter() - start)
    return seconds


def _sum(measured: Measurements, signatures: list[int]) -> float:
    return sum(measured.seconds[number] or 0.0 for number in signatures)


def compare(name: str, budget: float) -> None:
    if name == "llama":
        model, shape = llama(_LLAMA, torch.float32, "cpu"), (1, 128)
    else:
        model, shape = torchvision_model(name, "cpu"), (1, 3, 224, 224)
    with torch.no_grad():
        arguments, keywords = make_inputs(model.eval(), shape)
        real_arguments = tuple(
            torch.randn(shape) if argument.is_meta else argument for argument in arguments
        )
        running, _ = run(model, arguments, keywords)
        result = running._result
        assert result is not None
        real = _real_seconds(model, real_arguments)
        first, second = (replay(result, "cpu", time_budget=budget, seed=seed) for seed in (0, 1))
        real += _real_seconds(model, real_arguments)
    signatures = result.ops()["signature"].tolist()
    ratios = [
        b / a
        for a, b in zip(first.seconds, second.seconds, strict=True)
        if a is not None and b is not None
    ]
    spread = statistics.median(abs(ratio - 1) for ratio in ratios)
    sums = [_sum(measured, signatures) * 1e3 for measured in (first, second)]
    forward = statistics.median(real) * 1e3
    print(
        f"{name}: forward {forward:.2f} ms (fastest {min(real) * 1e3:.2f}), "
        f"replays {sums[0]:.2f} and {sums[1]:.2f} ms ({sums[0] / forward - 1:+.1%}), "
        f"an operator repeats within {spread:.1%}; {first.took_s:.1f} s, "
        f"{sum(first.discarded)} samples discarded of {sum(first.samples)}, "
        f"{first.status.count('no time')} operators without a time"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--budget", type=float, default=30.0)
    parser.add_argument("models", nargs="*", default=["resnet50", "llama"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.models:
        compare(name, options.budget)


if __name__ == "__main__":
    main()
