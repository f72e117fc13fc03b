"""Do replayed calls add up to the real forward on this CPU, and do estimates agree with them?

    python benchmarks/replays.py [--calibrate] [--budget 20] [model ...]

Each model is measured twice: the sum of the replays is held against the real forward, which ran
before and after them in the same process; the estimates against the replays, by class of operator
over all models; and the second replay against the first, call by call. Calibrate first, on an idle
machine: what else runs there is measured too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from rich.console import Console
from rich.table import Table

import nnprof
from benchmarks.bars import bar, missed, show_bars
from benchmarks.conditions import conditions, write
from benchmarks.models import torchvision_model
from nnprof.hardware import for_device
from nnprof.hardware.fit import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from nnprof.results.times import Times

#: What the project promises of this benchmark.
SUM_WITHIN = 0.10  # of the real forward, median over the models
ESTIMATE_WITHIN = 0.25  # median error of a class of operator
REPEAT_WITHIN = 0.05  # median over calls of more than...
REPEATED_FROM_S = 50e-6


def _transformer(model: str, config: str) -> nn.Module:
    from nnprof.base.packages import import_torchvision

    import_torchvision()  # which transformers would else fail to import
    import transformers

    made: nn.Module = getattr(transformers, model)(getattr(transformers, config)())
    return made.eval()


_IMAGE = (1, 3, 224, 224)
_TOKENS = {"input_ids": (1, 128)}
MODELS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "ResNet-50": (lambda: torchvision_model("resnet50", "cpu"), _IMAGE),
    "ViT-B/16": (lambda: torchvision_model("vit_b_16", "cpu"), _IMAGE),
    "BERT-base": (lambda: _transformer("BertModel", "BertConfig"), _TOKENS),
    "GPT-2": (lambda: _transformer("GPT2LMHeadModel", "GPT2Config"), _TOKENS),
}


def measured(name: str, budget: float) -> list[nnprof.Profile]:
    """Two measurements of one model."""
    build, shape = MODELS[name]
    model = build()
    with torch.no_grad():
        return [
            nnprof.measure(model, shape, device="cpu", time_budget=budget, progress=False)
            for _ in range(2)
        ]


def times_of(profile: nnprof.Profile) -> Times:
    assert profile.times is not None
    return profile.times


def share_of_real(profile: nnprof.Profile) -> float:
    assert profile.measured_s is not None
    assert profile.end_to_end_s is not None
    return profile.measured_s / profile.end_to_end_s


def repeatability(first: nnprof.Profile, second: nnprof.Profile) -> list[float]:
    """By how much the second time of each long call is off the first."""
    pairs = zip(times_of(first).by_signature, times_of(second).by_signature, strict=True)
    return [
        abs(b.measured_s / a.measured_s - 1)
        for a, b in pairs
        if a.measured_s and b.measured_s and a.measured_s > REPEATED_FROM_S
    ]


def model_result(name: str, profiles: list[nnprof.Profile]) -> dict[str, Any]:
    first = profiles[0]
    real = times_of(first).end_to_end
    assert real is not None
    return {
        "estimated_s": first.estimated_s,
        "replays_s": [profile.measured_s for profile in profiles],
        "end_to_end_s": [profile.end_to_end_s for profile in profiles],
        "interval_s": [real.low_s, real.high_s],
        "runs": real.samples,
        "disturbed_runs": real.discarded,
        "replays_over_end_to_end": statistics.mean(map(share_of_real, profiles)),
        "unmeasured": times_of(first).total.unmeasured,
        "repeats": repeatability(*profiles),
        "notes": list(real.notes),
    }


def class_errors(profiles: list[nnprof.Profile]) -> dict[str, dict[str, float]]:
    pairs = defaultdict(list)
    for profile in profiles:
        for one in times_of(profile).by_signature:
            if one.status == "measured" and one.measured_s and one.estimated_s:
                pairs[one.op_class].append((one.estimated_s, one.measured_s))
    return {
        name: asdict(errors(*zip(*those, strict=True))) for name, those in sorted(pairs.items())
    }


def show(console: Console, result: dict[str, Any]) -> None:
    table = Table(title="Sum of the replays against the real forward", title_justify="left")
    for title in (
        "model",
        "estimated",
        "replays",
        "real forward",
        "replays/real",
        "repeats within",
    ):
        table.add_column(title, justify="left" if title == "model" else "right")
    for name, one in result["models"].items():
        table.add_row(
            name,
            f"{1e3 * one['estimated_s']:.1f} ms",
            " ".join(f"{1e3 * seconds:.1f}" for seconds in one["replays_s"]) + " ms",
            " ".join(f"{1e3 * seconds:.1f}" for seconds in one["end_to_end_s"]) + " ms",
            f"{one['replays_over_end_to_end']:.3f}",
            f"{100 * statistics.median(one['repeats']):.1f} %",
        )
    console.print(table)
    table = Table(title="Estimates against the replays, % of the time", title_justify="left")
    for title in ("class", "calls", "median", "MAPE", "p90", "bias", "by time"):
        table.add_column(title, justify="left" if title == "class" else "right")
    for name, one in result["errors"].items():
        statistics_of = (one[key] for key in ("median", "mape", "p90", "bias", "weighted"))
        table.add_row(name, str(one["n"]), *(f"{100 * value:.1f}" for value in statistics_of))
    console.print(table)
    show_bars(console, result["bars"])


def bars(result: dict[str, Any]) -> list[dict[str, Any]]:
    models = result["models"].values()
    gap = statistics.median(abs(one["replays_over_end_to_end"] - 1) for one in models)
    repeats = statistics.median(value for one in models for value in one["repeats"])
    found = [
        ("sum of the replays off the real forward, median of the models", gap, SUM_WITHIN),
        ("second replay off the first, median of calls over 50 us", repeats, REPEAT_WITHIN),
    ]
    found += [
        (f"estimate off the replay, median of {name} calls", one["median"], ESTIMATE_WITHIN)
        for name, one in result["errors"].items()
    ]
    return [bar(name, 100 * value, "<=", 100 * limit, " %") for name, value, limit in found]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(MODELS), metavar="MODEL")
    parser.add_argument("--calibrate", action="store_true", help="the time model first")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds for a measurement")
    options = parser.parse_args()
    unknown = set(options.models) - set(MODELS)
    if unknown:
        parser.error(f"no model {', '.join(unknown)}: there are {', '.join(MODELS)}")
    if options.calibrate:
        from nnprof.timing.calibrate import calibrate, save

        print(f"calibrated: {save(calibrate('cpu'), 'cpu')}")
    result: dict[str, Any] = {"conditions": conditions("transformers"), "models": {}}
    firsts = []
    for name in options.models:
        profiles = measured(name, options.budget)
        result["models"][name] = model_result(name, profiles)
        firsts.append(profiles[0])
    hardware = for_device("cpu")
    result["hardware"] = hardware.to_dict()
    result["errors"] = class_errors(firsts)
    result["bars"] = bars(result)
    show(Console(width=130), result)
    print(f"hardware: {hardware.title}, {hardware.source}")
    print(f"written to {write('replays', result)}")
    return int(missed(result["bars"]))


if __name__ == "__main__":
    sys.exit(main())
