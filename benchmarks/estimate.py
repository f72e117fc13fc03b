"""Estimated against published GPU times: no GPU is needed.

    python benchmarks/estimate.py PATH/TO/timings

PATH is a folder of the files that `benchmarks/published.py` names (`gemm_bf16.csv.gz`...), each
with columns for the device, the sizes and the time; files and devices may be missing, others may be
there. Every row is traced and estimated by nnprof's own model from the devices' data files. Beside
it stand a plain roofline of the same data (the longer of FLOPs / peak and bytes / bandwidth) and
the formula of `torch.utils._runtime_estimation`, which torch's own estimators use. A second table
has the constants of each device fitted on half of its rows and tried on the other half, a third how
many of the sums, times of whole models to which nothing was fitted, lie within their estimates' ±.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.conditions import conditions, write
from benchmarks.published import COLLECTIONS, Collection, rows, trace
from nnprof.hardware import Hardware, find
from nnprof.hardware.fit import Errors, errors, fit
from nnprof.results.times import Times
from nnprof.timing.estimate import estimate

if TYPE_CHECKING:
    import nnprof
    from benchmarks.published import Row
    from nnprof._core import TraceResult
    from nnprof.results.time_records import Estimates

Group = tuple[str, str]  # device, what was timed

#: What is promised from datasheet constants: (collection, group, device) -> (statistic, most).
BARS: dict[tuple[str, str, str], tuple[str, float]] = {
    ("gemm_bf16", "linear bf16", "h100-sxm"): ("mape", 0.09),
    ("gemm_bf16", "linear bf16", "a100-sxm-80"): ("mape", 0.13),
    ("gemm_bf16", "linear bf16", "l40s"): ("mape", 0.25),
    ("vector_fp32", "elementwise", "a100"): ("mape", 0.07),
    ("vector_fp32", "elementwise", "v100"): ("mape", 0.07),
    ("vector_fp32", "elementwise", "t4"): ("mape", 0.13),
    ("vector_fp32", "ln", ""): ("mape", 0.20),
    ("vector_fp32", "softmax", ""): ("mape", 0.20),
    ("attention_prefill_causal_bf16", "prefill", ""): ("median", 0.20),
    ("attention_decode_bf16", "decode", ""): ("median", 0.30),
    ("llm_end_to_end_fp32", "LLM forward", ""): ("mape", 0.15),
}
#: The same with constants fitted on the other half of the rows.
FITTED_BARS: dict[tuple[str, str, str], tuple[str, float]] = {
    ("attention_prefill_causal_bf16", "prefill", "l40s"): ("median", 0.16),
    ("attention_prefill_causal_bf16", "prefill", ""): ("median", 0.12),
    ("attention_decode_bf16", "decode", ""): ("median", 0.20),
}
#: Times better than the plain roofline, by device.
ROOFLINE_BARS = {"h100-sxm": 3.0, "a100-sxm-80": 3.0, "l40s": 1.5}

#: Times of whole models: sums of many calls.
SUMS = ("llm_end_to_end_fp32", "timm_end_to_end_amp_fp16")
#: Of the sums, the share that lies within one ±.
WITHIN = 0.58, 0.78

_MOST_TIMM = 120  # rows of a file of whole vision models: each is built


@dataclass
class Sample:
    """Rows of one device and kind: what was measured, and what each way estimates."""

    collection: Collection
    device: str
    group: str
    profiles: list[nnprof.Profile] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    estimated: list[float] = field(default_factory=list)
    off_by: list[float] = field(default_factory=list)  # the estimates' own ±, as shares
    roofline: list[float] = field(default_factory=list)
    torch_formula: list[float] = field(default_factory=list)

    @property
    def kernel(self) -> str | None:
        return self.collection.attention(self.device)

    def add(self, profile: nnprof.Profile, measured: float, hardware: Hardware) -> None:
        estimates = estimate(cast("TraceResult", profile.data), hardware, attention=self.kernel)
        times = Times(profile.data, estimates)
        calls = self.collection.calls
        self.profiles.append(profile)
        self.measured.append(measured)
        self.estimated.append(seconds_of(estimates, self.collection))
        self.off_by.append(times.total.error_s / times.total.estimated_s)
        self.roofline.append(roofline_seconds(times, hardware) / calls)
        self.torch_formula.append(torch_seconds(profile, times, hardware) / calls)


def seconds_of(estimates: Estimates, collection: Collection) -> float:
    line = estimates.timeline
    return (line.wall_s if collection.launched else line.device_s) / collection.calls


def roofline_seconds(times: Times, hardware: Hardware) -> float:
    """The longer of FLOPs at the datasheet's peak and bytes at its bandwidth, call by call."""
    return sum(
        one.calls * max(one.flops / one.peak, one.bytes / hardware.bandwidth)
        for one in times.by_signature
    )


def torch_seconds(profile: nnprof.Profile, times: Times, hardware: Hardware) -> float:
    """As torch's roofline estimator has it, told the device's numbers in place of its own table."""
    from torch.utils import _runtime_estimation

    torch_estimation: Any = _runtime_estimation
    seconds = 0.0
    contractions = profile.data.signatures()["contraction_flops"]
    for one, flops in zip(times.by_signature, contractions, strict=True):
        torch_estimation.get_device_tflops = lambda dtype, peak=one.peak: peak / 1e12
        compute = torch_estimation.flops_to_ns(flops, torch.float32) / 1e9
        transfer = one.bytes / hardware.bandwidth
        seconds += one.calls * max(compute, transfer)
    return seconds


def read(path: Path, collection: Collection, most: int | None) -> list[Row]:
    file = path / f"{collection.name}.csv.gz"
    found = list(rows(file)) if file.exists() else []
    if most is not None and len(found) > most:
        found = random.Random(0).sample(found, most)
    return found


def samples(
    path: Path, collection: Collection, most: int | None, failures: list[str]
) -> list[Sample]:
    by_group: dict[Group, Sample] = {}
    found = read(path, collection, most)
    for row in track(found, collection.name, console=Console(stderr=True), transient=True):
        device = row["device"]
        group = collection.group(row)
        sample = by_group.setdefault((device, group), Sample(collection, device, group))
        try:
            sample.add(trace(collection, row), collection.seconds(row), find(device))
        except Exception as error:
            failures.append(f"{collection.name} {dict(row)}: {type(error).__name__}: {error}")
    return [sample for sample in by_group.values() if sample.measured]


def fitted_errors(sample: Sample) -> tuple[Errors, Hardware]:
    """Of one half of the rows, with constants fitted on the other."""
    collection, kernel = sample.collection, sample.kernel
    order = list(range(len(sample.measured)))
    random.Random(1).shuffle(order)
    learned, tried = order[: len(order) // 2], order[len(order) // 2 :]

    def seconds(hardware: Hardware, numbers: list[int]) -> list[float]:
        return [
            seconds_of(estimate(data, hardware, attention=kernel), collection)
            for data in (cast("TraceResult", sample.profiles[n].data) for n in numbers)
        ]

    names = [name.format(kernel=kernel) for name in collection.fitted]
    fitted = fit(
        find(sample.device),
        names,
        lambda hardware: seconds(hardware, learned),
        [sample.measured[n] for n in learned],
    )
    return errors(seconds(fitted, tried), [sample.measured[n] for n in tried]), fitted


def within(those: list[Sample]) -> dict[str, Any]:
    """How many of the times lie within their estimate's ±, and how wide half of those are."""
    rows = [
        (abs(measured - estimated) <= share * estimated, share)
        for one in those
        for measured, estimated, share in zip(one.measured, one.estimated, one.off_by, strict=True)
    ]
    return {
        "n": len(rows),
        "within": sum(inside for inside, _ in rows) / len(rows),
        "median_width": statistics.median(share for _, share in rows),
    }


def coverage(sums: list[Sample]) -> list[dict[str, Any]]:
    """By collection, and of all."""
    names = list(dict.fromkeys(one.collection.name for one in sums))
    rows = [{"data": n} | within([s for s in sums if s.collection.name == n]) for n in names]
    if not sums:
        return rows
    least, most = WITHIN
    whole = within(sums)
    met = "met" if least <= whole["within"] <= most else "MISSED"
    return [*rows, {"data": "all"} | whole | {"verdict": f"{met}: {least:.0%} to {most:.0%}"}]


# --- what is printed -----------------------------------------------------------------------------


def bar_of(bars: dict[Any, tuple[str, float]], name: str, group: str, device: str) -> Any:
    for (collection, what, prefix), bar in bars.items():
        if (collection, what) == (name, group) and device.startswith(prefix):
            return bar
    return None


def verdict(found: Errors, bar: tuple[str, float] | None) -> str:
    if bar is None:
        return ""
    statistic, most = bar
    met = getattr(found, statistic) <= most
    return f"{'met' if met else 'MISSED'}: {statistic} <= {100 * most:.0f} %"


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def line(found: Errors) -> list[str]:
    return [
        str(found.n),
        *map(percent, (found.mape, found.median, found.p90, found.bias, found.weighted)),
    ]


_COLUMNS = ("n", "MAPE", "median", "p90", "bias", "by time")


def report(results: list[dict[str, Any]], title: str, peers: bool) -> None:
    table = Table(title=title, title_justify="left")
    for name in ("data", "device"):
        table.add_column(name)
    for name in (*_COLUMNS, *(("roofline", "torch", "roofline/ours") if peers else ())):
        table.add_column(name, justify="right")
    table.add_column("bar")
    for result in results:
        cells = [result["group"], result["device"], *line(Errors(**result["errors"]))]
        if peers:
            mapes = result["roofline"]["mape"], result["torch"]["mape"]
            cells += [*map(percent, mapes), f"{mapes[0] / result['errors']['mape']:.1f}x"]
        table.add_row(*cells, result["verdict"])
    Console(width=150).print(table)


def report_coverage(rows: list[dict[str, Any]]) -> None:
    table = Table(title="Sums within their ±, constants from datasheets", title_justify="left")
    for name in ("data", "n", "within, %", "median ±, %", "bar"):
        table.add_column(name, justify="left" if name in ("data", "bar") else "right")
    for row in rows:
        shares = percent(row["within"]), percent(row["median_width"])
        table.add_row(row["data"], str(row["n"]), *shares, row.get("verdict", ""))
    Console(width=150).print(table)


def datasheet_result(sample: Sample) -> dict[str, Any]:
    found = errors(sample.estimated, sample.measured)
    roofline = errors(sample.roofline, sample.measured)
    name, device, group = sample.collection.name, sample.device, sample.group
    judged = verdict(found, bar_of(BARS, name, group, device))
    if name == "gemm_bf16" and device in ROOFLINE_BARS:
        least = ROOFLINE_BARS[device]
        met = roofline.mape / found.mape >= least
        judged += f"; {'met' if met else 'MISSED'}: {least:g}x the roofline"
    return {
        "collection": name,
        "group": group,
        "device": device,
        "errors": asdict(found),
        "roofline": asdict(roofline),
        "torch": asdict(errors(sample.torch_formula, sample.measured)),
        "verdict": judged,
    }


def fitted_result(sample: Sample) -> dict[str, Any]:
    found, hardware = fitted_errors(sample)
    bar = bar_of(FITTED_BARS, sample.collection.name, sample.group, sample.device)
    return {
        "collection": sample.collection.name,
        "group": sample.group,
        "device": sample.device,
        "errors": asdict(found),
        "constants": dict(hardware.constants),
        "verdict": verdict(found, bar),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="folder of the timing files")
    parser.add_argument("--rows", type=int, help="at most so many of each file, drawn at random")
    parser.add_argument(
        "--timm", type=int, default=_MOST_TIMM, help="rows of whole vision models, 0 for all"
    )
    parser.add_argument("--no-fit", action="store_true", help="leave out the second table")
    arguments = parser.parse_args()
    if not any((arguments.path / f"{one.name}.csv.gz").exists() for one in COLLECTIONS):
        parser.error(f"{arguments.path} has none of the timing files that this reads")

    results: list[dict[str, Any]] = []
    fitted: list[dict[str, Any]] = []
    failures: list[str] = []
    sums: list[Sample] = []
    for collection in COLLECTIONS:
        most = (arguments.timm or None) if collection.name.startswith("timm") else arguments.rows
        found = samples(arguments.path, collection, most, failures)
        found.sort(key=lambda sample: (sample.group, sample.device))
        results += map(datasheet_result, found)
        if collection.name in SUMS:
            sums += found
        if collection.fitted and not arguments.no_fit:
            fitted += map(fitted_result, found)
    report(results, "Datasheet constants: errors in % of the measured time", peers=True)
    if fitted:
        report(fitted, "Constants fitted on half of the rows, tried on the other half", peers=False)
    covered = coverage(sums)
    report_coverage(covered)
    for failure in failures:
        print("not estimated:", failure, file=sys.stderr)
    path = write(
        "estimate",
        {
            "conditions": conditions("timm", "transformers", "scipy"),
            "rows": arguments.rows,
            "datasheet": results,
            "fitted": fitted,
            "within": covered,
            "failures": failures,
        },
    )
    print(f"written to {path}")
    return int(any("MISSED" in one.get("verdict", "") for one in (*results, *fitted, *covered)))


if __name__ == "__main__":
    sys.exit(main())
