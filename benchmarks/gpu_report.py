"""What `benchmarks/gpu.py` found, as Markdown: from its JSON alone, without torch or a device."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["Goal", "goals", "markdown"]

Result = dict[str, Any]

#: The device is the bottleneck of a forward in which it is busy for at least this share.
BUSY_SHARE = 0.8
#: Of a forward that is near to it, a verdict of "mixed" is right, too.
NEARLY_BUSY_SHARE = 0.7
#: Sums of replays are held against a real forward where no more of the estimated time is missing.
MOST_UNMEASURED = 0.05

LONG_S = 20e-6
WORST_OPERATORS = 12
LEFT_OUT_OPERATORS = 10


# --- goals ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """Something that is promised, and what became of it."""

    name: str
    text: str
    found: str
    met: bool | None  # None: there is nothing to judge

    @property
    def verdict(self) -> str:
        return {True: "met", False: "MISSED", None: "not judged"}[self.met]


def goals(result: Result) -> list[Goal]:
    """All of them, in the order of their names."""
    rows = [row for row in result["models"].values() if row.get("reason") is None]
    bound = [row for row in rows if _device_bound(row)]
    return [
        _estimate_goal("E0", "datasheet", 0.10, bound),
        _estimate_goal("E1", "calibrated", 0.05, bound),
        _sum_goal(bound),
        _repeat_goal(result),
        _operator_goal(rows),
        _wall_goal(rows),
        _verdict_goal(rows),
        _large_goal(result),
    ]


def _estimate_goal(name: str, source: str, most: float, rows: list[Result]) -> Goal:
    off = {
        row["title"]: row["estimated"][source]["device_s"] / row["end_to_end"]["busy_s"] - 1
        for row in rows
        if source in row["estimated"]
    }
    text = f"estimate ({source}) of a device-bound forward within {most:.0%} of Kineto's busy time"
    return Goal(name, text, *_judged(off, most))


def _sum_goal(rows: list[Result]) -> Goal:
    off = {
        row["title"]: row["replay"]["device_s"] / row["end_to_end"]["busy_s"] - 1
        for row in rows
        if (row["replay"]["unmeasured"] or 0.0) <= MOST_UNMEASURED
    }
    text = "sum of replays beside Kineto's busy time, device-bound: median <= 2 %, worst <= 5 %"
    if not off:
        return Goal("M1", text, "nothing to compare", None)
    median = statistics.median(map(abs, off.values()))
    found, met = _judged(off, 0.05)
    return Goal("M1", text, f"median {median:.1%}; {found}", bool(met) and median <= 0.02)


def _judged(off: dict[str, float], most: float) -> tuple[str, bool | None]:
    if not off:
        return "nothing to compare", None
    worst = max(off, key=lambda title: abs(off[title]))
    near = sum(abs(value) <= most for value in off.values())
    found = f"{near} of {len(off)} models; worst {off[worst]:+.1%} ({worst})"
    return found, near == len(off)


def _repeat_goal(result: Result) -> Goal:
    text = "one operator in another process: within 1 % from 20 µs on, 0.3 µs below (9 of 10 do so)"
    pairs = list(_repeats(result))
    return Goal("M2", text, *_judged_operators(pairs, lambda s: 0.01 * s if s >= LONG_S else 3e-7))


def _operator_goal(rows: list[Result]) -> Goal:
    text = "one operator beside its kernels in the forward: within max(2 %, 1 µs) (9 of 10 do so)"
    pairs = [
        (one["replay_s"], one["kineto_s"]) for row in rows for one in row["operators_in_forward"]
    ]
    return Goal("M3", text, *_judged_operators(pairs, lambda s: max(0.02 * s, 1e-6)))


def _judged_operators(
    pairs: Sequence[tuple[float, float]], allowed: Callable[[float], float]
) -> tuple[str, bool | None]:
    """`pairs` are of seconds; the second ones are what the first are held against."""
    if not pairs:
        return "nothing to compare", None
    near = sum(abs(ours - other) <= allowed(other) for ours, other in pairs)
    long = [abs(ours / other - 1) for ours, other in pairs if other >= LONG_S]
    most = f"; from 20 µs on median {statistics.median(long):.1%}" if long else ""
    worst = f", worst {max(long):.1%}" if long else ""
    return f"{near} of {len(pairs)} operators{most}{worst}", near >= 0.9 * len(pairs)


def _wall_goal(rows: list[Result]) -> Goal:
    off = {
        row["title"]: row["replay"]["wall_s"] / row["end_to_end"]["eager_s"] - 1
        for row in rows
        if (share := _busy_share(row)) is not None and share < BUSY_SHARE
    }
    text = "wall time of a host-bound forward from the replays, within 10 % of eager"
    return Goal("M4", text, *_judged(off, 0.10))


def _verdict_goal(rows: list[Result]) -> Goal:
    text = "the verdict, host- or device-bound, right on every model"
    known = [row for row in rows if _busy_share(row) is not None]
    wrong = [row["title"] for row in known if not _right_verdict(row)]
    if not known:
        return Goal("M4", text, "nothing to compare", None)
    names = f": not {', '.join(wrong)}" if wrong else ""
    return Goal("M4", text, f"{len(known) - len(wrong)} of {len(known)} models{names}", not wrong)


def _right_verdict(row: Result) -> bool:
    share = _busy_share(row)
    assert share is not None
    if row["replay"]["verdict"] == "mixed":
        return share >= NEARLY_BUSY_SHARE
    return (row["replay"]["verdict"] == "device-bound") == (share >= BUSY_SHARE)


def _large_goal(result: Result) -> Goal:
    text = (
        "Llama-405B's operators: <= 60 s, and in memory <= the largest one's tensors + 2 x L2 cache"
    )
    row, cache = result["models"].get("llama-405b", {}), _conditions(result).get("l2_bytes")
    if not row or row.get("reason") is not None or not cache:
        return Goal("M5", text, "not measured", None)
    memory, took = row["memory"], row["replay"]["took_s"]
    peak = memory["device_peak_bytes"] or memory["replay_peak_bytes"]
    most = memory["largest_operator_bytes"] + 2 * cache
    left = row["replay"]["unmeasured"] or 0.0
    found = f"{took:.0f} s, {_gigabytes(peak)} of {_gigabytes(most)}; {left:.1%} not measured"
    return Goal("M5", text, found, took <= 60 and peak <= most and left <= MOST_UNMEASURED)


def _busy_share(row: Result) -> float | None:
    real = row["end_to_end"] or {}
    if not real.get("busy_s") or not real.get("eager_s"):
        return None
    return float(real["busy_s"] / real["eager_s"])


def _device_bound(row: Result) -> bool:
    share = _busy_share(row)
    return share is not None and share >= BUSY_SHARE


def _repeats(result: Result) -> Iterator[tuple[float, float]]:
    """Seconds of the second process beside those of the first, of every operator with both."""
    for name, again in result["repeats"].items():
        first = result["models"][name]["operators"]
        if [one["op"] for one in first] != again.get("operators"):
            continue
        for one, seconds in zip(first, again["seconds"], strict=True):
            if seconds and one["measured_s"]:
                yield seconds, one["measured_s"]


# --- the page ------------------------------------------------------------------------------------


def markdown(result: Result) -> str:
    """All tables; of a run that is under way, of what it has."""
    sections = (
        _heading,
        _models,
        _classes,
        _worst,
        _left_out,
        _in_forward,
        _repeated,
        _legend,
    )
    return (
        "\n\n".join("\n".join(lines) for section in sections if (lines := section(result))) + "\n"
    )


def _conditions(result: Result) -> Result:
    known: Result = result.get("conditions", {})
    return known


_SHOWN_CONDITIONS = {
    "driver": "driver",
    "cuda": "CUDA",
    "cudnn": "cuDNN",
    "torch": "torch",
    "clock_mhz": "clock (MHz)",
    "most_clock_mhz": "of at most (MHz)",
    "power_limit_w": "power limit (W)",
    "mig": "MIG",
    "cpu": "host",
    "threads": "threads",
    "date": "date",
}


def _heading(result: Result) -> list[str]:
    known = _conditions(result)
    shown = [
        f"{label} {known[name]}" for name, label in _SHOWN_CONDITIONS.items() if known.get(name)
    ]
    calibration = result.get("calibration") or {}
    how = "calibrated"
    if "hardware" not in calibration:
        reason = calibration.get("reason", "not yet done")
        how = f"not calibrated, so all estimates are from the datasheet: {reason}"
    state = " **The run was interrupted.**" if result.get("interrupted") else ""
    took = f" It took {result['took_s']:.0f} s." if "took_s" in result else ""
    return [
        f"# nnprof on {known.get('device_name', 'an unknown device')}",
        "",
        f"{'; '.join(shown)}. The time model is {how}.{took}{state}",
    ]


def _models(result: Result) -> list[str]:
    rows = []
    for row in result["models"].values():
        if row.get("reason") is not None:
            rows.append([row["title"], f"no numbers: {row['reason']}", *[""] * 11])
            continue
        estimated, replay, real = row["estimated"], row["replay"], row["end_to_end"] or {}
        busy = real.get("busy_s")
        eager = real.get("eager_s")
        rows.append(
            [
                row["title"],
                *(_ms(estimated.get(name, {}).get("device_s")) for name in _SOURCES),
                _ms(replay["device_s"]),
                _ms(busy),
                _ms(eager) if eager else real.get("reason") or "",
                _ms(real.get("graph_s")),
                *(_ratio(estimated.get(n, {}).get("device_s"), busy or eager) for n in _SOURCES),
                _ratio(replay["device_s"], busy or eager),
                _ratio(replay["wall_s"], eager),
                replay["verdict"] + _share_text(row),
                f"{replay['unmeasured'] or 0.0:.1%}",
            ]
        )
    titles = [
        "model",
        "estimated, datasheet",
        "estimated, calibrated",
        "sum of replays",
        "Kineto busy",
        "eager",
        "CUDA graph",
        "datasheet / real",
        "calibrated / real",
        "replays / real",
        "wall / eager",
        "verdict (busy)",
        "not measured",
    ]
    notes = [
        f"- {row['title']}: {note}" for row in result["models"].values() for note in _notes(row)
    ]
    return [
        "## Models",
        "",
        (
            'Milliseconds of one forward. "Real" is the time that Kineto saw the device busy or, '
            "on a CPU, the eager time. Where an operator was not measured, the sum of replays has "
            "its estimate."
        ),
        "",
        *_table(titles, rows),
        *(["", *notes] if notes else []),
    ]


_SOURCES = ("datasheet", "calibrated")


def _notes(row: Result) -> Iterator[str]:
    if row.get("reason") is not None:
        return
    yield from (row["end_to_end"] or {}).get("notes", ())
    yield from row.get("notes", ())
    if row.get("expected_params") not in (None, row["params"]):
        yield f"{row['params']:,} parameters, and not {row['expected_params']:,} as published"


def _share_text(row: Result) -> str:
    share = _busy_share(row)
    if share is None:
        return ""
    return f" ({share:.0%})" if _right_verdict(row) else f" ({share:.0%}: wrong)"


def _classes(result: Result) -> list[str]:
    by_class: dict[str, list[Result]] = {}
    for _, one in _operators(result):
        if one["status"] == "measured" and one["measured_s"]:
            by_class.setdefault(one["op_class"], []).append(one)
    rows = []
    for name, those in sorted(by_class.items()):
        for source in _SOURCES:
            pairs = [
                (one["estimated_s"][source], one["measured_s"])
                for one in those
                if one["estimated_s"].get(source)
            ]
            if pairs:
                rows.append([name, source, str(len(pairs)), *_errors(pairs)])
    if not rows:
        return []
    titles = ["class", "estimate", "n", "mean", "median", "p90", "bias", "by time"]
    return [
        "## Errors of the estimates by class of operator",
        "",
        (
            "Of the measured time, over all unique calls that were measured. Bias: the median with "
            "its sign; by time: the sum of errors over the sum of times."
        ),
        "",
        *_table(titles, rows, left=2),
    ]


def _errors(pairs: list[tuple[float, float]]) -> list[str]:
    """What `nnprof.hardware.fit.errors` has, which imports torch."""
    signed = [ours / real - 1 for ours, real in pairs]
    size = sorted(map(abs, signed))
    high = statistics.quantiles(size, n=10, method="inclusive")[-1] if len(size) > 1 else size[0]
    by_time = sum(abs(ours - real) for ours, real in pairs) / sum(real for _, real in pairs)
    mean, median, bias = statistics.fmean(size), statistics.median(size), statistics.median(signed)
    return [f"{mean:.1%}", f"{median:.1%}", f"{high:.1%}", f"{bias:+.1%}", f"{by_time:.1%}"]


def _worst(result: Result) -> list[str]:
    def missed(entry: tuple[str, Result]) -> float:
        one = entry[1]
        return float(one["calls"] * abs(_best_estimate(one) - one["measured_s"]))

    measured = [entry for entry in _operators(result) if entry[1]["measured_s"]]
    rows = [
        [
            title,
            f"`{one['op']}`",
            _sizes(one),
            str(one["calls"]),
            *(_us(one["estimated_s"].get(name)) for name in _SOURCES),
            _us(one["measured_s"]),
            _us(one["warm_s"]),
            _ratio(_best_estimate(one), one["measured_s"]),
            one["note"],
        ]
        for title, one in sorted(measured, key=missed, reverse=True)[:WORST_OPERATORS]
    ]
    titles = ["model", "operator", "sizes", "calls", *_SOURCES, "measured", "warm", "ratio", "note"]
    return [
        "## Operators whose estimates miss the most time",
        "",
        "Microseconds a call.",
        "",
        *_table(titles, rows, left=3),
    ] * bool(rows)


def _best_estimate(one: Result) -> float:
    known = one["estimated_s"]
    return float(known.get("calibrated", known["datasheet"]))


def _left_out(result: Result) -> list[str]:
    def lost(entry: tuple[str, Result]) -> float:
        return float(entry[1]["calls"] * _best_estimate(entry[1]))

    left = [
        entry
        for entry in _operators(result)
        if entry[1]["status"] not in ("", "view", "measured", "scaled") and lost(entry)
    ]
    rows = [
        [title, f"`{one['op']}`", _sizes(one), _ms(lost((title, one))), _why(one)]
        for title, one in sorted(left, key=lost, reverse=True)[:LEFT_OUT_OPERATORS]
    ]
    titles = ["model", "operator", "sizes", "estimated, all calls (ms)", "why"]
    more = len(left) - len(rows)
    return [
        "## Not measured",
        "",
        *_table(titles, rows, left=5),
        *([f"\nand {more} more."] if more else []),
    ] * bool(rows)


def _why(one: Result) -> str:
    return f"{one['status']}: {one['note']}" if one["note"] else str(one["status"])


def _in_forward(result: Result) -> list[str]:
    rows = []
    for row in result["models"].values():
        if not row.get("operators_in_forward"):
            continue
        those = row["operators_in_forward"]
        seconds = sum(one["calls"] * one["replay_s"] for one in those)
        ratios = [one["replay_s"] / one["kineto_s"] for one in those]
        near = sum(
            abs(one["replay_s"] - one["kineto_s"]) <= max(0.02 * one["kineto_s"], 1e-6)
            for one in those
        )
        rows.append(
            [
                row["title"],
                str(len(those)),
                f"{seconds / row['replay']['device_s']:.0%}",
                f"{near / len(those):.0%}",
                f"{statistics.median(ratios):.3f}",
                f"{min(ratios):.2f}-{max(ratios):.2f}",
            ]
        )
    titles = ["model", "operators", "of the time", "within max(2 %, 1 µs)", "median ratio", "range"]
    return [
        "## Replayed operators beside their kernels in the real forward",
        "",
        "Replayed seconds over those of Kineto, of operators that both know by name and sizes.",
        "",
        *_table(titles, rows),
    ] * bool(rows)


def _repeated(result: Result) -> list[str]:
    pairs = list(_repeats(result))
    rows = []
    for title, low, high in (
        ("from 50 µs on", 50e-6, float("inf")),
        ("20 to 50 µs", LONG_S, 50e-6),
        ("below 20 µs", 0.0, LONG_S),
    ):
        those = sorted((abs(b - a), abs(b / a - 1)) for b, a in pairs if low <= a < high)
        if not those:
            continue
        shares, seconds = sorted(share for _, share in those), [off for off, _ in those]
        near = [o <= 3e-7 if low == 0.0 else s <= 0.01 for o, s in those]
        rows.append(
            [
                title,
                str(len(those)),
                f"{sum(near) / len(those):.0%}",
                *(f"{shares[int(q * (len(shares) - 1))]:.1%}" for q in (0.5, 0.9, 1.0)),
                *(f"{1e6 * seconds[int(q * (len(seconds) - 1))]:.2f}" for q in (0.5, 0.9)),
            ]
        )
    failed = [
        f"- {result['models'][name]['title']}: {again['reason']}"
        for name, again in result["repeats"].items()
        if again.get("reason")
    ]
    titles = ["operators", "n", "as promised", "median", "p90", "worst", "median (µs)", "p90 (µs)"]
    return [
        "## The same operators in another process",
        "",
        *_table(titles, rows),
        *failed,
    ] * bool(rows or failed)


def _legend(result: Result) -> list[str]:
    rows = [[goal.name, goal.text, goal.found, goal.verdict] for goal in goals(result)]
    return [
        "## Goals",
        "",
        (
            f"A forward is device-bound where Kineto saw the device busy for {BUSY_SHARE:.0%} of "
            "the eager time or more."
        ),
        "",
        *_table(["", "goal", "found", ""], rows, left=4),
    ]


# --- cells ---------------------------------------------------------------------------------------


def _operators(result: Result) -> Iterator[tuple[str, Result]]:
    for row in result["models"].values():
        for one in row.get("operators", ()):
            yield row["title"], one


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    rule = ["---" if number < left else "---:" for number in range(len(titles))]
    return [f"| {' | '.join(map(_cell, cells))} |" for cells in (titles, rule, *rows)]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _sizes(one: Result) -> str:
    return " ".join("x".join(map(str, shape)) or "()" for shape in one["input_shapes"][:3])


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:.4g}"


def _us(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e6 * seconds:.4g}"


def _ratio(ours: float | None, real: float | None) -> str:
    return f"{ours / real:.3f}" if ours and real else ""


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB"
