"""The answers of a `Profile`, over a trace made by hand."""

from __future__ import annotations

import time
from typing import Any

import pytest

from nnprof.errors import InputError, MissingExtraError, NnprofError, UnknownLayerError
from nnprof.report.metrics import METRICS
from nnprof.results.profile import Profile
from nnprof.results.records import ModelFacts, StoredTrace


def test_making_one_asks_nothing_of_the_trace() -> None:
    data: Any = object()  # any question would raise
    started = time.perf_counter()
    for _ in range(100):
        Profile(data, ModelFacts("x"), 0.0)
    assert (time.perf_counter() - started) / 100 < 100e-6


def test_totals(cnn: Profile) -> None:
    assert cnn.bytes == cnn.bytes_read + cnn.bytes_written
    assert cnn.flops == sum(n for kind, n in cnn.flops_by_kind.items() if kind != "int_ops")
    assert cnn.params == cnn.trainable_params == cnn.active_params
    assert cnn.calls == len(cnn.ops)


def test_phases(cnn: Profile) -> None:
    assert cnn.phase("forward").macs == cnn.macs
    assert cnn.phase("backward").macs == 0
    with pytest.raises(InputError, match="forward, backward, optimizer"):
        cnn.phase("sideways")


def test_layers_are_a_tree_in_call_order(cnn: Profile) -> None:
    assert cnn.layers[0].path == ""
    assert [child.path for child in cnn.layers[0].children] == ["stem", "act", "stages", "fc"]
    assert sum(layer.own_bytes for layer in cnn.layers) == cnn.bytes
    assert cnn.layers[0].bytes == cnn.bytes


def test_a_layer_by_path(cnn: Profile) -> None:
    layer = cnn["stages.1.conv2"]
    assert (layer.type, layer.depth, layer.macs) == ("Conv2d", 3, 4_000_000)
    assert cnn[""].macs == cnn.macs


def test_an_unknown_layer_suggests_the_close_ones(cnn: Profile) -> None:
    with pytest.raises(UnknownLayerError, match=r"did you mean 'stages\.1\.conv2'"):
        cnn["stages.1.conv3"]
    with pytest.raises(KeyError):
        cnn["nowhere"]
    with pytest.raises(NnprofError, match="never called"):
        cnn["aux"]


def test_a_module_of_several_parents_is_combined(stored: dict[str, Any]) -> None:
    rows = stored["layers"]
    for row in rows:  # as if all blocks shared one first convolution, found under the first
        if row["path"].endswith(".conv1"):
            row["path"] = "stages.0.conv1"
    profile = Profile(StoredTrace(stored), ModelFacts("x"), 0.0)
    shared = profile["stages.0.conv1"]
    assert (shared.calls, shared.macs, shared.params) == (4, 16_000_000, 1_728)


def test_ops_are_numpy_columns(cnn: Profile) -> None:
    ops = cnn.ops
    assert ops["macs"].sum() == cnn.macs
    assert ops["bytes"].sum() == cnn.bytes
    assert set(ops["scope"]) <= {layer.path for layer in cnn.layers}
    assert ops["output_shapes"][0] == [[1, 64, 112, 112]]
    with pytest.raises(InputError, match="no column 'nope'"):
        ops["nope"]


def test_ops_as_a_data_frame(cnn: Profile) -> None:
    pytest.importorskip("pandas")
    frame = cnn.ops.to_pandas()
    assert list(frame.columns) == list(cnn.ops.columns)
    assert frame.groupby("op")["macs"].sum()["aten::linear"] == 64_000


def test_a_missing_pandas_is_named(cnn: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="pip install pandas"):
        cnn.ops.to_pandas()


def test_coverage(cnn: Profile) -> None:
    assert cnn.coverage.generic == {"mylib::blur": 3, "mylib::warp": 1}
    assert (cnn.coverage.ruled_calls, cnn.coverage.calls) == (19, 23)


def test_every_metric_is_there_on_profiles_and_layers(cnn: Profile) -> None:
    for metric in METRICS:
        assert metric.of(cnn) == metric.of(cnn.layers[0])
        metric.own(cnn.layers[0])


def test_repr_is_one_line(cnn: Profile) -> None:
    assert repr(cnn) == "<Profile of Net: 88.23 k params, at least 150.1 MMACs, 307.7 MFLOPs>"


def test_compare(cnn: Profile, decoder: Profile) -> None:
    same = cnn.compare(cnn)
    assert not same.layers
    assert all(total.ratio == 1 for total in same.totals)
    other = cnn.compare(decoder)
    assert {line.path for line in other.layers} >= {"fc", "lm_head"}
    assert "1.000x" in str(same)
    assert "≥ 150.1" in str(same)  # operators without a rule may do more
    assert "more" in str(other)


def test_a_stored_trace_answers_alike(cnn: Profile, stored: dict[str, Any]) -> None:
    again = StoredTrace(stored)
    assert StoredTrace.to_dict(again) == stored
    assert again.totals("forward") == cnn.data.totals("forward")


def test_unknown_facts_of_a_newer_file_are_dropped() -> None:
    facts = ModelFacts("x", never_called=("a",))
    assert ModelFacts.from_dict(facts.to_dict() | {"novelty": 1}) == facts


def test_a_shell_around_the_model_is_not_a_layer(stored: dict[str, Any], cnn: Profile) -> None:
    rows = stored["layers"]
    shell = dict(rows[0], type="", parent=-1, output_shapes=[])
    for row in rows:
        row["parent"] += 1
        row["depth"] += 1
    stored["layers"] = [shell, *rows]
    stored["ops"]["scope"] = [row + 1 for row in stored["ops"]["scope"]]
    stored["module_calls"]["layer"] = [row + 1 for row in stored["module_calls"]["layer"]]
    profile = Profile(StoredTrace(stored), cnn.facts, cnn.trace_s)
    assert profile.layers == cnn.layers
    assert str(profile) == str(cnn)
    assert profile.summary() == cnn.summary()
    assert (profile.ops["scope"] == cnn.ops["scope"]).all()


def test_work_around_the_model_is_kept_and_counted_once(stored: dict[str, Any]) -> None:
    rows = stored["layers"]
    root = rows[0]
    shell = dict(root, type="", parent=-1, own_flops=1, flops=root["flops"] + 1)
    for row in rows:
        row["parent"] += 1
    stored["layers"] = [shell, *rows]
    profile = Profile(StoredTrace(stored), ModelFacts("x"), 0.0)
    assert [layer.type for layer in profile.layers[:2]] == ["", "Net"]
    assert profile[""].flops == root["flops"] + 1
    assert "─ Net " in str(profile)
