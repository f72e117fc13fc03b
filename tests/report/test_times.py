"""Times in every report: what is shown, what is marked as missing, how far estimates are off."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nnprof.report import (
    REPORTS,
    Report,
    TableOptions,
    report_for_suffix,
    table,
    times,
    tree,
)
from nnprof.results import stored
from nnprof.results.profile import Profile
from nnprof.results.time_records import EndToEnd
from tests.report.made_up_times import FACTORS, GPU, REAL, with_times

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: What may have come of measuring, by signature of `cnn`: 0 the stem, 1 ReLU, 2 what blocks do
#: themselves, 3 their convolutions, 4 the head.
STATES: dict[str, dict[str, Any]] = {
    "estimated": {"measured": False},
    "measured": {},
    "partly": {"status": {1: "failed", 3: "scaled", 4: "no time"}},
    "nothing": {"status": dict.fromkeys(range(5), "no time")},
    "failed": {"status": dict.fromkeys(range(5), "failed")},
    "interrupted": {
        "status": {2: "interrupted", 4: "interrupted"},
        "end_to_end": EndToEnd("cuda:0", reason="interrupted"),
    },
    "views": {"status": {1: "view"}},
    "alone": {"end_to_end": None},
    "once": {"samples": [1] * 5},
}

every_report = pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.name)
every_state = pytest.mark.parametrize("state", STATES)


def times_of(profile: Profile, width: int | None = None, **options: Any) -> str:
    return times.render(profile, TableOptions(width=width, **options))


def notes_of(profile: Profile) -> dict[str, str]:
    return dict(table.notes(profile))


@pytest.mark.parametrize("state", ["estimated", "measured", "partly", "interrupted"])
@pytest.mark.parametrize("report", ["table", "times", "csv"])
def test_looks_as_before(
    report: str, state: str, cnn: Profile, golden: Callable[[str, str], None]
) -> None:
    chosen = next(one for one in REPORTS if one.name == report)
    text = chosen.render(with_times(cnn, **STATES[state]), TableOptions())
    golden(f"cnn_{state}.{report}", text)


@pytest.mark.parametrize("report", ["table", "times", "html"])
def test_folded_times_look_as_before(
    report: str, decoder: Profile, golden: Callable[[str, str], None]
) -> None:
    chosen = next(one for one in REPORTS if one.name == report)
    golden(
        f"decoder_measured.{report}",
        chosen.render(with_times(decoder, end_to_end=None), TableOptions()),
    )


@every_report
@every_state
def test_a_loaded_profile_is_the_same(
    report: Report, state: str, cnn: Profile, tmp_path: Path
) -> None:
    profile = with_times(cnn, **STATES[state])
    profile.save(tmp_path / "profile.json")
    loaded = Profile.load(tmp_path / "profile.json")
    assert loaded.to_dict() == profile.to_dict()
    assert report.render(loaded, TableOptions()) == report.render(profile, TableOptions())


@pytest.mark.parametrize("width", [60, 80, 100, 120])
@pytest.mark.parametrize(
    ("which", "state"),
    [*(("cnn", state) for state in STATES), ("decoder", None), ("alternating", None)],
)
def test_fits_the_width_and_never_cuts_a_number(
    which: str, state: str | None, width: int, request: pytest.FixtureRequest
) -> None:
    profile = with_times(request.getfixturevalue(which), **(STATES[state] if state else {}))
    text = times_of(profile, width)
    assert all(len(line) <= width for line in text.splitlines())
    assert text.count("Estimated") >= 2
    assert not re.search(r" \d+\.\d+…|\d [µmn]s?…", text)


def test_without_times_it_says_how_to_get_them(cnn: Profile) -> None:
    text = times_of(cnn)
    assert len(text.splitlines()) == 1
    assert 'hardware="h200"' in text
    assert "--device" in text


# The table and the files.


def test_without_times_there_are_no_columns(cnn: Profile) -> None:
    assert "Estimated" not in cnn.table()
    assert "estimated_s" not in report_for_suffix(".csv").render(cnn, TableOptions())


def test_an_estimate_has_no_measured_column(cnn: Profile) -> None:
    profile = with_times(cnn, measured=False)
    assert "Measured" not in profile.table()
    notes = notes_of(profile)
    assert notes["Hardware"] == "Toy 9000: datasheet, not calibrated"
    assert "Measured" not in notes
    assert "End to end" not in notes


def test_rows_add_up(cnn: Profile) -> None:
    profile = with_times(cnn)
    text = report_for_suffix(".csv").render(profile, TableOptions())
    rows = list(csv.DictReader(io.StringIO(text)))
    for name in ("estimated_s", "measured_s"):
        own = sum(float(row[f"own_{name}"] or 0) for row in rows)
        assert own == pytest.approx(float(rows[0][name]))
        assert float(rows[0][name]) == pytest.approx(getattr(profile, name))


def test_equal_layers_fold_whatever_their_times(cnn: Profile) -> None:
    timed = with_times(cnn)
    root = tree.build(timed.layers[0])
    blocks = root.children[2].children[0]
    assert blocks.count == 4
    assert blocks.times is not None
    assert blocks.values["measured_s"] == pytest.approx(4 * (timed["stages.1"].measured_s or 0))
    assert blocks.times.measured_s == pytest.approx(blocks.values["measured_s"])


@pytest.mark.parametrize("sort", ["estimated_s", "measured_s", "unmeasured_s"])
def test_sort_by_times_known_or_not(sort: str, cnn: Profile) -> None:
    def order(profile: Profile) -> list[str]:
        return re.findall(r"─ (\w+)", profile.table(depth=1, sort=sort))

    assert order(Profile(cnn.data, cnn.facts, 0.0)) == ["stem", "act", "stages", "fc"]
    assert order(with_times(cnn, **STATES["partly"]))[0] == "stages"


def test_what_is_missing_is_marked(cnn: Profile) -> None:
    text = with_times(cnn, status={3: "no memory"}).table()
    rows = {match[1]: line for line in text.splitlines() if (match := re.search(r"─ (\w+)", line))}
    assert rows["conv1"].endswith("-")
    assert "> " in rows["stages"]
    assert "> " not in rows["stem"]


def test_compare_takes_noise_for_none(cnn: Profile) -> None:
    before = with_times(cnn)
    after = stored.from_dict(before.to_dict())
    assert before.times is not None
    assert before.times.measurements is not None
    assert after.times is not None
    slower: list[float | None] = [
        1.02 * (seconds or 0) for seconds in before.times.measurements.seconds
    ]
    after.times.measurements = replace(before.times.measurements, seconds=slower)
    comparison = before.compare(after)
    assert not comparison.layers
    assert [total.metric.title for total in comparison.totals[-2:]] == ["Estimated", "Measured"]


def test_compare_with_a_profile_without_times(cnn: Profile, decoder: Profile) -> None:
    comparison = with_times(cnn).compare(decoder)
    total = next(one for one in comparison.totals if one.metric.name == "measured_s")
    assert (total.after, total.ratio) == (None, None)
    assert "Measured" in str(comparison)


# The lines under the table.


def test_wall_says_what_bounds_it(cnn: Profile) -> None:
    wall = notes_of(with_times(cnn))["Wall"]
    assert "device-bound" in wall
    assert "idle" in wall


def test_the_device_busy_is_what_the_calls_are_held_against(cnn: Profile) -> None:
    profile = with_times(cnn)
    assert profile.times is not None
    share = profile.times.timeline.device_s / 1.21e-3
    text = notes_of(profile)["End to end"]
    assert text.startswith("1.40 ms [1.39, 1.45] ms eager on cuda:0, median of 25 (2 disturbed")
    assert "1.25 ms as a CUDA graph" in text
    assert f"take {share:.2f} times that" in text
    assert text.endswith("weights are random")


def test_a_forward_that_did_not_run_says_why(cnn: Profile) -> None:
    real = EndToEnd("cuda:0", reason="16.1 GB are needed, 8.0 GB are free")
    text = notes_of(with_times(cnn, end_to_end=real))["End to end"]
    assert text == "did not run: 16.1 GB are needed, 8.0 GB are free"


def test_what_was_not_measured_is_listed_with_why(cnn: Profile) -> None:
    notes = list(table.notes(with_times(cnn, **STATES["partly"])))
    titles = [title for title, _ in notes]
    lines = [text for _, text in notes[titles.index("Not measured") :][:2]]
    assert lines[0].startswith("failed, ")
    assert "aten::relu x5 (RuntimeError: no kernel)" in lines[0]
    assert lines[1].startswith("no time, ")
    measured = dict(notes)["Measured"]
    assert "of the estimated time was not measured" in measured
    assert "in a part of the batch, and scaled" in measured


@pytest.mark.parametrize("state", ["nothing", "failed"])
def test_nothing_measured(state: str, cnn: Profile) -> None:
    profile = with_times(cnn, **STATES[state])
    assert notes_of(profile)["Measured"].startswith("nothing; 100.0% of the estimated time")
    assert "Errors of the estimates" not in times_of(profile)


def test_interrupted_is_said(cnn: Profile) -> None:
    profile = with_times(cnn, **STATES["interrupted"])
    assert profile.times is not None
    assert profile.times.interrupted
    assert notes_of(profile)["Measured"].endswith("; interrupted")


def test_views_are_measured_by_their_nature(cnn: Profile) -> None:
    profile = with_times(cnn, **STATES["views"])
    assert profile.times is not None
    assert all(one.status != "view" for one in profile.times.not_measured)


def test_one_sample_has_no_interval(cnn: Profile) -> None:
    profile = with_times(cnn, **STATES["once"])
    assert profile.times is not None
    assert profile.times.total.low_s is None
    text = times_of(profile)
    assert "Interval" not in text
    assert "1 sample" in text
    assert "100.0% of the measured time is from too few samples for an interval" in text


def test_tokens_a_second(cnn: Profile) -> None:
    told = cnn.replaced(facts=replace(cnn.facts, tokens=14, language_phase="prefill"))
    assert notes_of(with_times(told))["Tokens/s"] == "10.00 k in 1.40 ms a forward"


# The report of times.


def test_ratios_are_estimated_over_measured(cnn: Profile) -> None:
    profile = with_times(cnn)
    assert profile.times is not None
    ratios = [one.ratio for one in profile.times.by_signature]
    assert ratios == pytest.approx(FACTORS)
    text = times_of(profile)
    assert all(f"{factor:.2f}" in text for factor in FACTORS[:4])


def test_calls_are_sorted_and_the_rest_is_counted(alternating: Profile) -> None:
    text = times_of(with_times(alternating))
    section = text.split("By unique call, of one call\n")[1].split("\n\n")[0].splitlines()
    percents = [re.findall(r"([\d.]+)%", line) for line in section[2:]]
    shares = [float(found[1]) for found in percents[:-1]]  # the first is that of ±
    assert section[-1].startswith("and ")
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) + float(percents[-1][0]) == pytest.approx(100, abs=0.5)


def test_errors_by_class_and_the_worst(cnn: Profile) -> None:
    profile = with_times(cnn, status={3: "scaled"})
    assert profile.times is not None
    assert set(profile.times.errors) == {"matmul", "elementwise"}
    assert [one.signature for one in profile.times.worst(2)] == [1, 0]
    assert all(one.status == "measured" for one in profile.times.worst())


def test_ratios_of_two_devices_are_no_errors(cnn: Profile) -> None:
    profile = with_times(cnn, hardware=replace(GPU, kind="cpu", architecture="x86"))
    assert "no errors of the estimates" in notes_of(profile)["Two devices"]
    assert "Errors of the estimates" not in times_of(profile)
    assert profile.times is not None
    assert profile.times.wall_s == profile.times.estimates.timeline.wall_s


def test_faster_than_the_peak_is_said(cnn: Profile) -> None:
    slow = replace(GPU, flops={"fp32": 1e10}, vector_flops={"fp32": 1e10})
    profile = with_times(cnn, hardware=slow)
    assert profile.times is not None
    profile.times.estimates = replace(profile.times.estimates, peak=[1e10] * 5)
    assert "the hardware's numbers are too low" in notes_of(profile)["Above peak"]


def test_calibrated_hardware_has_its_date(cnn: Profile) -> None:
    hardware = replace(GPU, source="measured", calibration={"date": "2026-01-02T03:04:05"})
    assert notes_of(with_times(cnn, hardware=hardware))["Hardware"] == (
        "Toy 9000: measured 2026-01-02"
    )


def test_notes_of_calls_are_numbered(cnn: Profile) -> None:
    text = times_of(with_times(cnn, **STATES["partly"]))
    assert "failed (" in text
    assert re.search(r"^\(\d\) +RuntimeError: no kernel$", text, re.MULTILINE)


def test_real_forwards_without_a_device_of_their_own(cnn: Profile) -> None:
    cpu = replace(REAL, device="cpu", busy_s=None, graph_s=None)
    text = notes_of(with_times(cnn, end_to_end=cpu))["End to end"]
    assert "CUDA graph" not in text
    assert "kernels ran" not in text
