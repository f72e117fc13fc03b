"""Every report, over every profile; their looks are kept as golden files."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from nnprof.errors import InputError
from nnprof.report import REPORTS, Report, TableOptions, report_for_suffix
from nnprof.results.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

every_report = pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.name)
every_profile = pytest.mark.parametrize("which", ["cnn", "decoder", "alternating", "training"])


@every_report
def test_looks_as_before(report: Report, cnn: Profile, golden: Callable[[str, str], None]) -> None:
    golden(f"cnn.{report.name}", report.render(cnn, TableOptions()))


@pytest.mark.parametrize("name", ["table", "memory", "html"])
def test_a_training_step_looks_as_before(
    name: str, training: Profile, golden: Callable[[str, str], None]
) -> None:
    report = next(report for report in REPORTS if report.name == name)
    golden(f"training.{name}", report.render(training, TableOptions()))


@pytest.mark.parametrize("which", ["decoder", "alternating"])
def test_folded_tables_look_as_before(
    which: str, request: pytest.FixtureRequest, golden: Callable[[str, str], None]
) -> None:
    golden(f"{which}.table", str(request.getfixturevalue(which)))


@every_report
@every_profile
def test_a_loaded_profile_looks_the_same(
    report: Report, which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    profile = request.getfixturevalue(which)
    file = tmp_path / "profile.json"
    profile.save(file)
    loaded = Profile.load(file)
    assert report.render(loaded, TableOptions()) == report.render(profile, TableOptions())


@every_report
def test_no_report_is_coloured_or_ends_lines_with_blanks(report: Report, cnn: Profile) -> None:
    text = report.render(cnn, TableOptions())
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_report_names_and_suffixes_are_unique() -> None:
    assert len({report.name for report in REPORTS}) == len(REPORTS)
    suffixes = [report.suffix for report in REPORTS if report.suffix]
    assert len(set(suffixes)) == len(suffixes)


@pytest.mark.parametrize("suffix", [".json", ".csv", ".CSV"])
def test_save_goes_by_the_suffix(suffix: str, cnn: Profile, tmp_path: Path) -> None:
    cnn.save(tmp_path / f"out{suffix}")
    expected = report_for_suffix(suffix).render(cnn, TableOptions())
    assert (tmp_path / f"out{suffix}").read_text() == expected


@pytest.mark.parametrize("name", ["out.xlsx", "out"])
def test_save_names_the_suffixes_it_knows(name: str, cnn: Profile, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.json or \.csv"):
        cnn.save(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_csv_has_one_row_a_layer(cnn: Profile) -> None:
    rows = list(csv.DictReader(io.StringIO(report_for_suffix(".csv").render(cnn, TableOptions()))))
    assert [row["path"] for row in rows] == [layer.path for layer in cnn.layers]
    assert [int(row["macs"]) for row in rows] == [layer.macs for layer in cnn.layers]
    assert sum(int(row["own_flops"]) for row in rows) == cnn.flops


def test_json_is_json(cnn: Profile) -> None:
    stored: dict[str, Any] = json.loads(json.dumps(cnn.to_dict()))
    assert stored["format"] == "nnprof-profile"
    assert stored["totals"]["all"]["macs"] == cnn.macs


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("not json", "cannot read"),
        ("[]", "not a profile"),
        ('{"format": "other"}', "not a profile"),
        ('{"format": "nnprof-profile", "version": 99}', "update nnprof"),
    ],
)
def test_load_says_what_is_wrong_with_a_file(text: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(InputError, match=complaint):
        Profile.load(file)


def test_load_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.json"):
        Profile.load(tmp_path / "gone.json")


@pytest.mark.parametrize("place", ["missing/out.json", "."])
def test_save_to_where_nothing_can_be_written(place: str, cnn: Profile, tmp_path: Path) -> None:
    (tmp_path / "taken.json").mkdir()
    path = tmp_path / ("taken.json" if place == "." else place)
    with pytest.raises(InputError, match=path.name) as caught:
        cnn.save(path)
    assert isinstance(caught.value, OSError)
    assert caught.value.filename == str(path)
