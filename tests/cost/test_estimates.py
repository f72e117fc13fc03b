"""What `estimate` returns as a whole, and that estimating changes nothing."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import nnprof
from nnprof.base.packages import import_torchvision
from nnprof.hardware import find, names
from nnprof.results.time_records import Estimates
from nnprof.timing.estimate import estimate
from tests.cost.calls import HALF, linear, meta, traced
from tests.helpers.restless import restless
from tests.helpers.unchanged import State


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = import_torchvision().models.resnet18()
    return model.eval()


def test_every_column_has_an_entry_a_signature(resnet: nn.Module) -> None:
    result = traced(resnet, meta(1, 3, 224, 224))
    count = len(result.signatures()["op"])
    found = estimate(result, find("h100"))
    columns = {name: value for name, value in vars(found).items() if isinstance(value, list)}
    assert len(columns) == 10
    assert {len(column) for column in columns.values()} == {count}
    for seconds, compute, memory in zip(
        found.seconds, found.compute_s, found.memory_s, strict=True
    ):
        assert seconds >= max(compute, memory) >= 0  # parts overlap; none is longer than the whole


def test_flops_and_bytes_are_those_of_the_profile(resnet: nn.Module) -> None:
    profile = nnprof.measure(resnet, (2, 3, 224, 224), hardware="a100")
    assert profile.times is not None
    each = profile.times.by_signature
    assert sum(one.calls * one.flops for one in each) == profile.flops_executed
    assert sum(one.calls * one.bytes for one in each) == profile.bytes
    assert sum(one.calls for one in each) == profile.calls


def test_counts_are_the_same_with_and_without_times(resnet: nn.Module) -> None:
    plain = nnprof.measure(resnet, (2, 3, 64, 64)).to_dict()
    timed = nnprof.measure(resnet, (2, 3, 64, 64), hardware="h100").to_dict()
    for key in ("model", "totals", "layers"):
        assert strip(timed[key]) == strip(plain[key])


def strip(value: object) -> object:
    """Without what is known of time."""
    if isinstance(value, dict):
        return {k: strip(v) for k, v in value.items() if "times" not in k and not k.endswith("_s")}
    return [strip(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("train", [True, False])
def test_nothing_changes(train: bool) -> None:
    model, x = restless(train), torch.randn(2, 3, 8, 8)
    state = State(model, [x])
    nnprof.measure(model, inputs=x, hardware="h100")
    state.assert_same()


def test_estimating_again_gives_the_same(resnet: nn.Module) -> None:
    result = traced(resnet, meta(1, 3, 224, 224))
    first = {name: estimate(result, find(name)) for name in names()}
    for name, before in first.items():
        again = estimate(result, find(name))
        assert again.to_dict() == before.to_dict()
        assert again.timeline == before.timeline


def test_json_brings_all_back(resnet: nn.Module) -> None:
    found = estimate(traced(resnet, meta(1, 3, 64, 64)), find("t4"))
    assert Estimates.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_a_device_of_ones_own() -> None:
    """Twice the units, the clock and the memory: half the time but for what launches take."""
    one = find("h100")
    twice = replace(
        one,
        compute_units=2 * one.compute_units,
        bandwidth=2 * one.bandwidth,
        cache_bytes=2 * one.cache_bytes,
        flops={name: 2 * peak for name, peak in one.flops.items()},
        vector_flops={name: 2 * peak for name, peak in one.vector_flops.items()},
    )
    for call, x in (
        (linear(8192, 8192), meta(8192, 8192, dtype=HALF)),
        (torch.relu, meta(1 << 28)),
    ):
        result = traced(call, x)
        slow, fast = (estimate(result, device).seconds[0] for device in (one, twice))
        assert fast == pytest.approx(slow / 2, rel=0.08)


def test_constants_of_ones_own_are_used() -> None:
    result = traced(torch.relu, meta(1 << 28))
    known = find("h100")
    half = replace(known, constants={"bandwidth.elementwise": 0.45})
    before, after = (estimate(result, one).seconds[0] for one in (known, half))
    assert after == pytest.approx(2 * before, rel=0.01)


def test_an_empty_trace_takes_no_time() -> None:
    found = estimate(traced(lambda: None), find("h100"))
    assert found.seconds == []
    assert (found.timeline.device_s, found.timeline.wall_s) == (0, 0)


def test_empty_tensors_take_a_launch_at_most() -> None:
    def call(x: Tensor) -> Tensor:
        return torch.relu(x @ x.t()) + 1

    for name in names():
        assert sum(estimate(traced(call, meta(0, 8)), find(name)).seconds) < 100e-6


def test_newer_devices_are_faster(resnet: nn.Module) -> None:
    """In the order that everybody knows."""
    half = deepcopy(resnet).half()
    result = traced(half, meta(64, 3, 224, 224, dtype=torch.float16))
    found = {
        name: estimate(result, find(name)).timeline.device_s
        for name in ("x86", "t4", "v100-sxm", "a100-sxm-80", "h100-sxm", "b200-sxm")
    }
    assert list(found.values()) == sorted(found.values(), reverse=True)
