"""Seconds of calls, layers and the whole: sums by hand, files, and how hardware is named."""

from __future__ import annotations

import json
from dataclasses import replace
from math import isnan, sqrt
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import nnprof
from nnprof.errors import InputError
from nnprof.hardware import find
from nnprof.report.time_notes import verdict
from nnprof.results.time_records import EndToEnd, Measurements, Timeline
from nnprof.results.times import LayerTimes, Times, added

if TYPE_CHECKING:
    from pathlib import Path

    from nnprof.results.profile import Layer, Profile


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(16, 64)
        self.narrow = nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(torch.relu(self.wide(x)))


class Net(nn.Module):
    """`shared` is called by the model twice and by `again` once; `own` work is the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = Block()
        self.again = nn.Sequential(self.shared, nn.Tanh())
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(self.shared(x * 2))
        return self.head(self.again(x).view(-1, 16))


@pytest.fixture
def profile() -> Profile:
    return nnprof.measure(Net(), (8, 16), hardware="h100")


def times_of(profile: Profile) -> Times:
    assert profile.times is not None
    return profile.times


def measured(profile: Profile, seconds: list[float | None], **changed: Any) -> Profile:
    """The profile as if each signature had taken so many seconds, 10 % up or down."""
    known = [one is not None for one in seconds]
    values: dict[str, Any] = {
        "device": "cuda:0",
        "conditions": {"device_name": "NVIDIA H100 80GB HBM3"},
        "seconds": seconds,
        "low_s": [0.9 * one if one is not None else None for one in seconds],
        "high_s": [1.1 * one if one is not None else None for one in seconds],
        "fastest_s": seconds,
        "warm_s": seconds,
        "host_s": seconds,
        "samples": [10 * one for one in known],
        "discarded": [0] * len(seconds),
        "status": ["measured" if one else "no time" for one in known],
        "notes": [""] * len(seconds),
        "interrupted": False,
        "took_s": 1.0,
        "peak_bytes": 1,
    }
    times = times_of(profile)
    found = Measurements(**values | changed)
    return profile.replaced(times=Times(profile.data, times.estimates, found))


def by_op(profile: Profile) -> dict[str, Any]:
    """Times by operator; several signatures of one operator by their output sizes."""
    shapes = profile.data.signatures()["output_shapes"]
    each = times_of(profile).by_signature
    names = {f"{one.op.removeprefix('aten::')} {shapes[one.signature][0]}": one for one in each}
    assert len(names) == len(each)
    return names


# Sums.


def test_calls_are_counted_by_signature(profile: Profile) -> None:
    assert {name: one.calls for name, one in by_op(profile).items()} == {
        "linear [8, 64]": 3,
        "relu [8, 64]": 3,
        "linear [8, 16]": 3,
        "add.Tensor [8, 16]": 3,
        "mul.Tensor [8, 16]": 1,
        "tanh [8, 16]": 1,
        "view [8, 16]": 1,
        "linear [8, 4]": 1,
    }


def test_layers_are_the_sums_of_their_calls(profile: Profile) -> None:
    op = {name: one.estimated_s for name, one in by_op(profile).items()}
    block = (
        op["linear [8, 64]"] + op["relu [8, 64]"] + op["linear [8, 16]"] + op["add.Tensor [8, 16]"]
    )
    expected = {
        "shared": 3 * block,
        "shared.wide": 3 * op["linear [8, 64]"],
        "shared.narrow": 3 * op["linear [8, 16]"],
        "again": block + op["tanh [8, 16]"],
        "again.1": op["tanh [8, 16]"],
        "head": op["linear [8, 4]"],
        "": 3 * block + op["mul.Tensor [8, 16]"] + op["tanh [8, 16]"] + op["linear [8, 4]"],
    }
    for path, seconds in expected.items():
        assert profile[path].estimated_s == pytest.approx(seconds, rel=1e-12), path
    assert profile["shared"].own_estimated_s == pytest.approx(
        3 * (op["relu [8, 64]"] + op["add.Tensor [8, 16]"])
    )
    assert profile[""].own_estimated_s == pytest.approx(op["mul.Tensor [8, 16]"])
    assert profile.estimated_s == pytest.approx(expected[""])


def check_sums(layer: Layer, name: str) -> None:
    children = sum(getattr(child, name) or 0.0 for child in layer.children)
    own = getattr(layer, f"own_{name}") or 0.0
    assert (getattr(layer, name) or 0.0) == pytest.approx(own + children, rel=1e-9)
    for child in layer.children:
        check_sums(child, name)


def test_children_and_own_are_the_whole(profile: Profile) -> None:
    count = len(times_of(profile).by_signature)
    profile = measured(profile, [None if n == 1 else 1e-3 * (n + 1) for n in range(count)])
    for name in ("estimated_s", "measured_s", "unmeasured_s"):
        check_sums(profile.layers[0], name)
        own = sum(getattr(layer, f"own_{name}") or 0.0 for layer in profile.layers)
        assert own == pytest.approx(getattr(profile, name), rel=1e-9)


def test_unused_modules_and_layers_without_work_take_no_time() -> None:
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(4, 4))
    profile = nnprof.measure(model, (2, 2, 2), hardware="h100")
    assert profile["0"].estimated_s == 0
    assert profile["1"].estimated_s == 0
    assert profile["1"].times is not None
    assert profile["1"].times.bound == ""
    assert profile["2"].estimated_s == profile.estimated_s


def test_measured_calls_by_hand(profile: Profile) -> None:
    op = by_op(profile)
    seconds: list[float | None] = [None] * len(op)
    seconds[op["linear [8, 64]"].signature] = 2e-3
    seconds[op["linear [8, 16]"].signature] = 1e-3
    profile = measured(profile, seconds)
    total = times_of(profile).total
    assert total.measured_s == pytest.approx(3 * 2e-3 + 3 * 1e-3)
    # Three equal calls err alike, and the two kinds by themselves.
    half = sqrt((0.1 * 6e-3) ** 2 + (0.1 * 3e-3) ** 2)
    assert total.low_s == pytest.approx(9e-3 - half)
    assert total.high_s == pytest.approx(9e-3 + half)
    known = 3 * (op["linear [8, 64]"].estimated_s + op["linear [8, 16]"].estimated_s)
    assert profile.estimated_s is not None
    assert total.unmeasured == pytest.approx(1 - known / profile.estimated_s)
    assert profile.unmeasured_s == pytest.approx(profile.estimated_s - known)
    assert total.ratio == pytest.approx(known / 9e-3)
    assert total.flags == ("no time",)
    assert profile["shared.wide"].measured_s == pytest.approx(6e-3)
    assert profile["head"].measured_s is None
    assert profile["head"].unmeasured_s == pytest.approx(profile["head"].estimated_s)
    wide = profile["shared.wide"].times
    assert wide is not None
    assert (wide.unmeasured, wide.flags) == (0, ())


def test_errors_of_estimates_add_up_as_they_have_one_cause(profile: Profile) -> None:
    op = by_op(profile)
    wide, narrow = op["linear [8, 64]"], op["linear [8, 16]"]
    found = times_of(profile).of_calls({wide.signature: 3, narrow.signature: 1})
    by_hand = 3 * wide.error * wide.estimated_s + narrow.error * narrow.estimated_s
    assert found.error_s == pytest.approx(by_hand)


def test_intervals_need_samples(profile: Profile) -> None:
    """Few samples of calls that make up the time have no interval, and neither has their sum."""
    count = len(times_of(profile).by_signature)
    for samples in (1, 2, 6):
        few = [samples] * count
        total = times_of(measured(profile, [1e-3] * count, samples=few)).total
        assert (total.low_s, total.high_s) == (None, None)
        assert total.measured_s == pytest.approx(16e-3)
    enough = times_of(measured(profile, [1e-3] * count, samples=[7] * count)).total
    assert enough.low_s is not None


def test_ratios_and_misses(profile: Profile) -> None:
    op = by_op(profile)
    count = len(op)
    estimates = times_of(profile).estimates
    seconds: list[float | None] = [one / 2 if one else None for one in estimates.seconds]
    seconds[op["linear [8, 4]"].signature] = 1.0
    times = times_of(measured(profile, seconds))
    each = {one.signature: one for one in times.by_signature}
    assert len(each) == count
    assert each[op["linear [8, 64]"].signature].ratio == pytest.approx(2)
    assert each[op["view [8, 16]"].signature].ratio is None
    assert times.worst(1)[0].signature == op["linear [8, 4]"].signature
    assert times.worst(1)[0].missed_s == pytest.approx(1, rel=1e-3)
    missed = [one.missed_s for one in times.worst(100)]
    assert missed == sorted(missed, reverse=True)
    assert times.error is not None
    assert times.error.n == count - 1
    assert times.errors["elementwise"].mape == pytest.approx(1)
    assert times.errors["matmul"].n == 3


def test_estimates_for_another_device_have_no_errors(profile: Profile) -> None:
    count = len(times_of(profile).by_signature)
    conditions = {"device_name": "NVIDIA A100-SXM4-80GB"}
    times = times_of(measured(profile, [1e-3] * count, conditions=conditions))
    assert not times.of_one_device
    assert times.errors == {}
    assert times.error is None
    assert times.worst() == []


def test_layers_of_several_parents_are_added(profile: Profile) -> None:
    first = LayerTimes(1.0, 0.1, 2.0, 1.9, 2.1, 0.5, ("failed",), "memory", 0.25)
    second = LayerTimes(3.0, 0.2, None, None, None, 1.0, ("failed", "no time"), "compute", 0.75)
    both = added([first, second])
    assert (both.estimated_s, both.measured_s) == (4, 2)
    assert both.unmeasured == pytest.approx((0.5 * 1 + 1 * 3) / 4)
    assert both.flags == ("failed", "no time")
    assert both.bound == "compute"
    assert both.error_s == pytest.approx(0.3)
    assert added([first]) == first


def test_shares_of_the_peak(profile: Profile) -> None:
    op = by_op(profile)["linear [8, 64]"]
    flops = 2 * 8 * 16 * 64 + 8 * 64
    assert op.flops == flops
    assert op.peak_share == pytest.approx(flops / op.estimated_s / 66.9e12)
    layer = profile["shared.wide"].times
    assert layer is not None
    assert layer.peak_share == pytest.approx(op.peak_share)


# The whole forward.


def test_mfu_by_hand() -> None:
    """Products alone, at 989.4 TFLOP/s, over the wall time."""
    model = nn.Linear(4096, 4096, dtype=torch.bfloat16, device="meta")
    profile = nnprof.measure(model, (4096, 4096), hardware="h100")
    times = times_of(profile)
    assert profile.mfu == pytest.approx(2 * 4096**3 / 989.4e12 / times.timeline.wall_s)
    assert profile.hfu == profile.mfu
    real = EndToEnd("cuda:0", eager_s=1e-3)
    profile = profile.replaced(times=Times(profile.data, times.estimates, None, real))
    assert profile.mfu == pytest.approx(2 * 4096**3 / 989.4e12 / 1e-3)
    assert profile.end_to_end_s == 1e-3


def test_mfu_takes_each_precision_at_its_own_peak() -> None:
    class Mixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x @ x).float() @ x.float()

    x = torch.empty(1024, 1024, dtype=torch.bfloat16, device="meta")
    profile = nnprof.measure(Mixed(), inputs=x, hardware="a100")
    at_peak = 2 * 1024**3 / 312e12 + 2 * 1024**3 / 19.5e12
    assert profile.mfu == pytest.approx(at_peak / times_of(profile).wall_s)


def test_hfu_leaves_out_what_a_causal_mask_hides() -> None:
    class Attend(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)

    x = torch.empty(1, 4, 1024, 64, dtype=torch.bfloat16, device="meta")
    profile = nnprof.measure(Attend(), inputs=x, hardware="a100")
    assert profile.mfu is not None
    assert profile.hfu == pytest.approx(profile.mfu * 1025 / 2048)


def test_the_wall_of_another_device_is_not_taken() -> None:
    profile = nnprof.measure(nn.Linear(4, 4), (2, 4), hardware="h100")
    estimated = times_of(profile).timeline.wall_s
    profile = measured(profile, [1e-3], device="cpu")
    times = times_of(profile)
    real = EndToEnd("cpu", eager_s=5.0)
    times = Times(profile.data, times.estimates, times.measurements, real)
    profile = profile.replaced(times=times)
    assert times_of(profile).wall_s == estimated


# Tables and files.


def test_the_table_of_calls(profile: Profile) -> None:
    op = by_op(profile)
    seconds: list[float | None] = [1e-3] * len(op)
    seconds[op["linear [8, 4]"].signature] = None
    before = profile.estimated_s
    ops = measured(profile, seconds).ops
    assert {"op_class", "estimated_s", "bound", "measured_s", "status"} <= set(ops.columns)
    assert len(ops) == 16
    assert ops["estimated_s"].sum() == pytest.approx(before)
    for name, status, took in zip(ops["op"], ops["status"], ops["measured_s"], strict=True):
        assert isnan(took) == (status == "no time")
        assert name.startswith("aten::")
    assert int((ops["status"] == "no time").sum()) == 1
    assert set(ops["op_class"]) == {"matmul", "elementwise", "free"}
    frame = ops.to_pandas()
    assert frame.groupby("scope")["estimated_s"].sum()["again.1"] == pytest.approx(
        profile["again.1"].estimated_s
    )


def test_a_saved_profile_has_the_same_times(profile: Profile, tmp_path: Path) -> None:
    op = by_op(profile)
    seconds: list[float | None] = [1e-3 * n for n in range(1, len(op) + 1)]
    seconds[2] = None
    profile = measured(profile, seconds)
    times = times_of(profile)
    real = EndToEnd("cuda:0", 1e-2, 0.9e-2, 1.1e-2, 12, 1, notes=("a note",))
    line = Timeline(1.0, 2.0, 3.0)
    times = Times(profile.data, times.estimates, times.measurements, real, line)
    profile = profile.replaced(times=times)
    profile.save(tmp_path / "out.json")
    loaded = nnprof.Profile.load(tmp_path / "out.json")
    now, then = times_of(loaded), times_of(profile)
    assert now.estimates == then.estimates
    assert now.measurements == then.measurements
    assert now.end_to_end == then.end_to_end
    assert now.timeline == line
    assert now.by_signature == then.by_signature
    assert now.total == then.total
    assert now.rows == then.rows
    for name in ("estimated_s", "measured_s", "unmeasured_s", "end_to_end_s", "mfu", "hfu"):
        assert getattr(loaded, name) == getattr(profile, name), name
    assert (loaded.hardware, loaded.device) == (profile.hardware, "cuda:0")
    assert loaded["shared"].times == profile["shared"].times
    # Nothing in the file but plain JSON: no NaN.
    text = (tmp_path / "out.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(name))


def test_without_hardware_there_are_no_times(tmp_path: Path) -> None:
    profile = nnprof.measure(Net(), (8, 16))
    nothing = ("times", "hardware", "device", "estimated_s", "measured_s", "unmeasured_s")
    for name in (*nothing, "end_to_end_s", "mfu", "hfu"):
        assert getattr(profile, name) is None, name
    layer = profile["shared"]
    for name in ("estimated_s", "measured_s", "unmeasured_s"):
        assert getattr(layer, name) is None
        assert getattr(layer, f"own_{name}") is None
    assert layer.times is layer.own_times is None
    assert "estimated_s" not in profile.ops.columns
    profile.save(tmp_path / "out.json")
    assert nnprof.Profile.load(tmp_path / "out.json").times is None


# Which hardware.


def test_hardware_by_name_path_and_object(tmp_path: Path) -> None:
    known = find("h100-sxm")
    known.save(tmp_path / "mine.json")
    expected = nnprof.measure(Net(), (8, 16), hardware=known)
    for hardware in (
        *("h100", "H100-SXM", "NVIDIA H100 80GB HBM3"),
        tmp_path / "mine.json",
        str(tmp_path / "mine.json"),
    ):
        profile = nnprof.measure(Net(), (8, 16), hardware=hardware)
        assert profile.estimated_s == expected.estimated_s
        assert profile.hardware == known


def test_hardware_of_a_trace() -> None:
    model, x = Net(), torch.randn(8, 16)
    with nnprof.trace(model) as running:
        model(x)
    assert running.profile().times is None
    found = {name: running.profile(hardware=name).estimated_s for name in ("h100", "t4", "x86")}
    assert found["h100"] == nnprof.measure(Net(), (8, 16), hardware="h100").estimated_s
    assert len(set(found.values())) == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("h1000", "did you mean h100"),
        ("a10o", "did you mean a10"),
        ("abacus", "known are a10, a100-pcie-40"),
        ("gone.json", "gone.json cannot be read"),
        (7, "hardware is a name, a path or a Hardware, not int"),
    ],
)
def test_unknown_hardware_is_explained_before_anything_runs(wrong: Any, message: str) -> None:
    class Never(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("ran")

    with pytest.raises(InputError, match=message):
        nnprof.measure(Never(), (8, 16), hardware=wrong)
    with nnprof.trace() as running:
        torch.ones(2) + 1
    with pytest.raises(InputError, match=message):
        running.profile(hardware=wrong)


def test_a_changed_device_changes_the_times() -> None:
    slow = replace(find("h100"), constants={"launch_s": 1.0})
    profile = nnprof.measure(Net(), (8, 16), hardware=slow)
    assert profile.estimated_s == pytest.approx(15, rel=1e-3)  # calls that launch


# Whether to believe them.


def doubted(*, sum_s: float, real_s: float, disturbed: bool = False, lost: float = 0.0) -> Times:
    """Times of calls that add up to `sum_s`, beside a real forward of `real_s`."""
    profile = nnprof.measure(Net(), (8, 16), hardware="cpu")
    count = len(times_of(profile).by_signature)
    found = times_of(measured(profile, [1e-3] * count))
    assert found.measurements is not None
    conditions = found.measurements.conditions | {"lost_share": lost, "other_processors": 0.5}
    return Times(
        profile.data,
        found.estimates,
        replace(found.measurements, device="cpu", conditions=conditions),
        EndToEnd("cpu", eager_s=real_s, samples=9, disturbed=disturbed),
        Timeline(sum_s, 0.0, sum_s),
    )


def test_a_quiet_machine_is_trusted() -> None:
    times = doubted(sum_s=0.95, real_s=1.0, lost=0.01)
    assert times.doubts == ()
    assert times.replayed_share == pytest.approx(0.95)
    text = verdict(times)
    assert text == (
        "the times can be trusted: threads had to wait for others for 0.010 s of every second, "
        "other programs kept 0.5 processors busy meanwhile"
    )


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ({"lost": 0.4}, "threads were ready to run and had to wait for 0.40 s of every second"),
        ({"disturbed": True}, "nearly every run of the real forward was disturbed"),
        ({"sum_s": 4.6}, "the calls one by one take 4.60 times the real forward"),
        ({"sum_s": 0.5}, "the calls one by one take 0.50 times the real forward"),
    ],
)
def test_what_makes_times_doubtful(seen: dict[str, Any], why: str) -> None:
    times = doubted(**{"sum_s": 1.0, "real_s": 1.0} | seen)
    assert len(times.doubts) == 1
    assert times.doubts[0].startswith(why)
    assert verdict(times).startswith(f"the times cannot be trusted: {why}")
