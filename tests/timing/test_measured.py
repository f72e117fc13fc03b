"""`measure(device=)`: what comes out of a real run, whatever happens on the way.

How long anything takes is never tested: machines that run tests are shared.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import nnprof
from benchmarks.models import BENCHMARK_MODELS, LlamaConfig, llama
from nnprof.base.packages import import_torchvision
from nnprof.errors import InputError
from nnprof.hardware import find
from nnprof.results.times import Times
from nnprof.timing import measured
from nnprof.timing.end_to_end import forward, room
from tests.helpers.restless import restless
from tests.helpers.unchanged import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nnprof.results.profile import Profile
    from tests.helpers.alone import Starter

UNMEASURED = {"not replayable", "failed", "no memory", "no time", "interrupted"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few runs of the real forward, so that the rest may have all the time that it wants, and one
    thread: several of them wait for each other where tests share cores."""
    monkeypatch.setattr(measured, "_MOST_REAL_S", 0.02)
    monkeypatch.setattr(forward, "_PATIENCE_SECONDS", 0.02)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 32)
        self.second = nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x))).view(-1).softmax(0)


def measure(model: Any, *arguments: Any, **options: Any) -> Profile:
    given: dict[str, Any] = {"device": "cpu", "time_budget": 60.0, "progress": False}
    profile = nnprof.measure(model, *arguments, **given | options)
    check(profile)
    return profile


def times_of(profile: Profile) -> Times:
    assert profile.times is not None
    return profile.times


def check(profile: Profile) -> None:
    """What holds of every measured profile."""
    times = times_of(profile)
    assert profile.device == "cpu"
    assert profile.estimated_s is not None
    for one in times.by_signature:
        timed = one.measured_s is not None
        assert timed == (one.status in ("measured", "scaled")), one
        assert timed or one.status in UNMEASURED | {"view"}, one
        assert not timed or (one.samples > 0 and one.measured_s > 0)  # type: ignore[operator]
    assert times.total.unmeasured is not None
    assert 0 <= times.total.unmeasured <= 1
    assert (times.total.measured_s is None) == all(
        one.measured_s is None for one in times.by_signature
    )
    real = times.end_to_end
    assert real is not None
    assert (real.eager_s is None) == (real.reason is not None)
    loaded = Times.from_dict(profile.data, json.loads(json.dumps(times.to_dict())))
    assert loaded.by_signature == times.by_signature
    assert loaded.end_to_end == real
    assert str(profile)


def test_everything_is_there() -> None:
    profile = measure(Tiny(), (4, 16))
    times = times_of(profile)
    statuses = {one.op: one.status for one in times.by_signature}
    assert statuses == {
        "aten::linear": "measured",
        "aten::tanh": "measured",
        "aten::view": "view",
        "aten::softmax.int": "measured",
    }
    assert times.total.unmeasured == 0
    assert times.total.flags == ()
    assert profile.measured_s is not None
    assert profile.end_to_end_s is not None
    assert profile.measured_s == pytest.approx(
        sum(one.calls * one.measured_s for one in times.by_signature if one.measured_s)
    )
    assert times.hardware.kind == "cpu"
    assert times.of_one_device
    assert not times.interrupted
    assert set(times.errors) == {"matmul", "elementwise", "softmax"}
    assert profile["first"].measured_s is not None
    assert times.measurements is not None
    assert times.measurements.conditions["threads"] == 1
    # On a CPU, the host computes: the line is the sum of both.
    line = times.timeline
    assert line.device_s == pytest.approx(profile.measured_s)
    assert line.wall_s == pytest.approx(line.device_s + line.host_s)
    # Python around the calls is not replayed: it is estimated.
    assert line.host_s == times.estimates.timeline.host_s > 0


def test_a_real_run_is_part_of_the_utilization() -> None:
    profile = measure(nn.Linear(64, 64), (64, 64))
    times = times_of(profile)
    assert profile.end_to_end_s is not None
    assert profile.mfu == pytest.approx(
        2 * 64**3 / times.hardware.flops["fp32"] / profile.end_to_end_s
    )


def test_estimates_may_be_for_another_device() -> None:
    profile = measure(Tiny(), (4, 16), hardware="h100")
    times = times_of(profile)
    assert (times.hardware, profile.device) == (find("h100"), "cpu")
    assert not times.of_one_device
    assert times.errors == {}
    assert profile.measured_s is not None
    assert times.wall_s == times.estimates.timeline.wall_s


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_nothing_changes(train: bool, grad: bool) -> None:
    model, x = restless(train), torch.randn(2, 3, 8, 8)
    with torch.set_grad_enabled(grad):
        state = State(model, [x])
        measure(model, inputs=x)
        state.assert_same()


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "cpu:0"])
def test_how_the_device_is_named(device: Any) -> None:
    assert measure(nn.ReLU(), (4,), device=device).device == "cpu"


def test_a_meta_model_is_measured_too() -> None:
    with torch.device("meta"):
        model = Tiny()
    profile = measure(model, (4, 16))
    assert times_of(profile).total.unmeasured == 0
    assert profile.end_to_end_s is not None
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_functions_inputs_and_keywords() -> None:
    weight = torch.randn(8, 8)

    def call(x: Tensor, *, scale: Tensor) -> Tensor:
        return x @ weight * scale

    profile = measure(call, inputs=torch.randn(2, 8), kwargs={"scale": torch.ones(8)})
    assert times_of(profile).total.unmeasured == 0
    assert profile.end_to_end_s is not None


def test_autocast_runs_in_its_precision() -> None:
    profile = measure(nn.Linear(64, 64), (8, 64), autocast="bfloat16")
    dtypes = set(profile.ops["dtype"][profile.ops["op_class"] == "matmul"])
    assert dtypes == {"bfloat16"}
    assert profile.measured_s is not None
    assert profile.end_to_end_s is not None


# Devices that are not there.


class Never(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("the forward ran")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_without_a_gpu_it_says_so_before_anything_runs(device: Any) -> None:
    with pytest.raises(
        InputError, match="no cuda device is there to measure on: pass device='cpu'"
    ):
        nnprof.measure(Never(), (4,), device=device)


@pytest.mark.parametrize("device", ["abacus", "meta"])
def test_what_is_no_device_to_measure_on(device: str) -> None:
    with pytest.raises(InputError, match=r"pass (device=)?'cpu'"):
        nnprof.measure(Never(), (4,), device=device)


def test_a_budget_must_be_positive() -> None:
    with pytest.raises(InputError, match="time_budget"):
        nnprof.measure(Tiny(), (4, 16), device="cpu", time_budget=0)


# What does not fit.


@pytest.mark.parametrize("name", ["Llama-70B at 4096", "a wide perceptron"])
def test_what_does_not_fit_is_measured_call_by_call(name: str) -> None:
    """A minute's calls in a second: some are done, and the rest is named."""
    if name in BENCHMARK_MODELS:
        known = BENCHMARK_MODELS[name]
        model, shape = known.build("meta"), (1, 16)
    else:
        with torch.device("meta"):
            model = nn.Sequential(*(nn.Linear(8000, 8000) for _ in range(2000)))
        shape = (1, 8000)
    profile = measure(model, shape, time_budget=1.0)
    times = times_of(profile)
    assert 0 <= times.total.unmeasured <= 1  # type: ignore[operator]
    for one in times.not_measured:
        assert one.status in ("no time", "no memory", "scaled")
    assert times.end_to_end is not None
    assert times.end_to_end.reason is not None
    assert times.end_to_end.reason.startswith("does not fit: needs ")
    assert "needs" in str(profile)


def test_too_little_memory_for_the_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda device: 1000)
    profile = measure(Tiny(), (4, 16))
    times = times_of(profile)
    assert times.end_to_end is not None
    assert times.end_to_end.reason == "does not fit: needs 6 kB, 1 kB are free"
    assert profile.end_to_end_s is None
    assert times.total.unmeasured == 0
    assert times.wall_s == times.timeline.wall_s


def test_a_budget_that_is_spent_at_once() -> None:
    profile = measure(Tiny(), (4, 16), time_budget=1e-6)
    times = times_of(profile)
    assert times.total.unmeasured == pytest.approx(1)
    assert times.total.flags == ("no time",)
    assert profile.measured_s is None
    assert times.timeline == times.estimates.timeline


# What goes wrong.


@torch.library.custom_op("nnprof_measured_test::raises", mutates_args=())
def raises(x: Tensor) -> Tensor:
    raise ValueError("no luck with this one")


@raises.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("nnprof_measured_test::interrupts", mutates_args=())
def interrupts(x: Tensor) -> Tensor:
    raise KeyboardInterrupt


@interrupts.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(torch.ops.nnprof_measured_test.raises(torch.tanh(x)))


class Interrupts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(torch.ops.nnprof_measured_test.interrupts(torch.tanh(x)))


def statuses(profile: Profile) -> dict[str, str]:
    return {one.op.partition("::")[2]: one.status for one in times_of(profile).by_signature}


def test_an_operator_that_raises() -> None:
    profile = measure(Raises(), (4, 16))
    times = times_of(profile)
    assert statuses(profile) == {"tanh": "measured", "raises": "failed", "relu": "measured"}
    (failed,) = times.not_measured
    assert "no luck with this one" in failed.note
    assert times.total.flags == ("failed",)
    assert times.end_to_end is not None
    assert times.end_to_end.reason == "the model raised: ValueError: no luck with this one"
    assert not times.interrupted


def stop_after(count: int) -> Callable[[int, int, str], None]:
    def progress(done: int, of: int, op: str) -> None:
        if done == count:
            raise KeyboardInterrupt

    return progress


def check_interrupted(profile: Profile) -> None:
    times = times_of(profile)
    assert times.interrupted
    assert times.end_to_end is not None
    assert times.end_to_end.eager_s is not None or times.end_to_end.reason == "interrupted"
    assert "interrupted" in times.total.flags
    assert "interrupted" in str(profile)
    # And the next one works.
    again = measure(Tiny(), (4, 16))
    assert not times_of(again).interrupted
    assert times_of(again).total.unmeasured == 0


def test_ctrl_c_while_replaying_keeps_what_was_measured() -> None:
    model, x = restless(train=False), torch.randn(2, 3, 8, 8)
    state = State(model, [x])
    profile = measure(model, inputs=x, progress=stop_after(2))
    state.assert_same()
    done = [one for one in times_of(profile).by_signature if one.status == "measured"]
    assert len(done) == 2
    assert profile.measured_s is not None
    assert profile.end_to_end_s is not None  # its first runs came before the replays
    check_interrupted(profile)


def test_ctrl_c_does_not_hide_why_the_forward_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "nnprof.timing.end_to_end.forward.room.why_not", lambda *_: "no room for a copy"
    )
    profile = measure(Tiny(), (4, 16), progress=stop_after(1))
    end_to_end = times_of(profile).end_to_end
    assert times_of(profile).interrupted
    assert end_to_end is not None
    assert end_to_end.reason == "no room for a copy"


def test_ctrl_c_in_the_real_forward() -> None:
    x = torch.randn(4, 16)
    state = State(nn.ReLU(), [x])
    profile = measure(Interrupts(), inputs=x)
    state.assert_same()
    assert set(statuses(profile).values()) == {"interrupted"}
    assert profile.measured_s is None
    assert times_of(profile).total.unmeasured == pytest.approx(1)
    check_interrupted(profile)


def test_what_a_display_raises_is_raised_and_leaves_nothing() -> None:
    def progress(*_: Any) -> None:
        raise ZeroDivisionError("a bug of the display")

    model, x = restless(train=True), torch.randn(2, 3, 8, 8)
    state = State(model, [x])
    with pytest.raises(ZeroDivisionError, match="a bug of the display"):
        nnprof.measure(model, inputs=x, device="cpu", time_budget=1, progress=progress)
    state.assert_same()
    assert times_of(measure(Tiny(), (4, 16))).total.unmeasured == 0


def test_progress_is_told_after_each_operator() -> None:
    seen: list[tuple[int, int, str]] = []
    measure(Tiny(), (4, 16), progress=lambda *told: seen.append(told))
    # In the first pass, all that can be replayed: two layers and two functions.
    assert [(done, of) for done, of, _ in seen[:4]] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {op for _, _, op in seen[:4]} == {"aten::linear", "aten::tanh", "aten::softmax.int"}
    assert all(1 <= done <= of <= 4 for done, of, _ in seen)


def test_a_nested_measure_is_refused_and_later_ones_work() -> None:
    class Nested(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            nnprof.measure(nn.ReLU(), (4,), device="cpu")
            return x

    with pytest.raises(nnprof.errors.NestedTraceError):
        nnprof.measure(Nested(), (4,))
    assert measure(nn.ReLU(), (4,)).measured_s is not None


TF32_BY_ITS_NEWER_NAMES = """
import torch, nnprof
torch.backends.mkldnn.matmul.fp32_precision = "tf32"
torch.backends.cuda.matmul.fp32_precision = "tf32"
profile = nnprof.measure(torch.nn.Linear(16, 16), (4, 16), device="cpu", time_budget=1)
assert profile.measured_s is not None
"""


def test_tf32_by_its_newer_names_is_no_obstacle(run_alone: Starter) -> None:
    """torch raises where it is then asked by the older ones; in a process of its own, for they
    cannot be put back."""
    run = run_alone(TF32_BY_ITS_NEWER_NAMES)
    assert (run.returncode, run.stderr) == (0, "")


# Language models.

CONFIG = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize("where", ["cpu", "meta"])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_phases(phase: str, where: str) -> None:
    import_torchvision()
    transformers = pytest.importorskip("transformers")
    with torch.device(where):
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)).eval()
    profile = measure(model, phase=phase, batch=2, context=24, time_budget=1.5)
    times = times_of(profile)
    assert profile.measured_s is not None
    assert times.end_to_end is not None
    assert times.end_to_end.reason is None
    assert profile.tokens == (48 if phase == "prefill" else 2)
    assert profile.memory.kv_cache == 2 * 2 * 2 * 24 * 2 * 8 * 4
    (attention,) = (one for one in times.by_signature if one.op_class == "attention")
    assert attention.calls == 2
    assert {one.status for one in times.by_signature} <= {"measured", "view", "no time"}


def test_equal_layers_are_measured_once() -> None:
    """32 layers have no more unique calls than 4."""

    def unique(layers: int) -> list[tuple[str, int]]:
        config = LlamaConfig(
            hidden=32, ffn=64, layers=layers, heads=4, kv_heads=2, vocabulary=50, context=16
        )
        profile = measure(llama(config, torch.float32, "cpu"), (1, 16), time_budget=4)
        assert profile.measured_s is not None
        return [(one.op, one.calls) for one in times_of(profile).by_signature]

    few, many = unique(4), unique(32)
    assert [op for op, _ in few] == [op for op, _ in many]
    assert {after - before for (_, before), (_, after) in zip(few, many, strict=True)} >= {0, 28}
