"""The real forward: it leaves no trace, and whatever happens is told."""

from __future__ import annotations

import gc
import json
import time
import weakref
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from nnprof.base.packages import import_torchvision
from nnprof.calls.examples import Sizes
from nnprof.calls.model_call import ModelCall
from nnprof.calls.phases import language_call
from nnprof.errors import InputError
from nnprof.results.time_records import EndToEnd
from nnprof.timing.end_to_end import RealForward, room
from nnprof.tracing.run import bare_output
from tests.helpers.restless import restless
from tests.helpers.unchanged import State, picture

SHORT = 0.002  # seconds to sample: three runs, or a few


def forward_of(
    model: Any,
    *arguments: Any,
    keywords: Any = None,
    autocast: Any = None,
    device: str = "cpu",
    seconds: float = SHORT,
    **options: Any,
) -> EndToEnd:
    call = ModelCall(model, arguments, keywords or {}, autocast=autocast)
    with RealForward(call, device, **options) as real:
        real.sample(seconds)
        return real.result()


def sleeping(seconds: float) -> Any:
    """A model that sleeps in each forward. Its class counts them: what runs is a copy."""

    class Sleeps(nn.Module):
        runs = 0

        def forward(self, x: Tensor) -> Tensor:
            Sleeps.runs += 1
            time.sleep(seconds)
            return x

    return Sleeps()


def test_times_are_at_least_what_the_forward_waits() -> None:
    result = forward_of(sleeping(0.02), torch.ones(1), seconds=0.2)
    assert result.eager_s is not None
    assert result.eager_s >= 0.02
    # Of the few that are left on a busy machine there is no interval.
    assert (result.low_s is not None) == (result.samples >= 6)
    assert 0.02 <= (result.low_s or 0.02) <= result.eager_s <= (result.high_s or result.eager_s)
    assert result.eager_s < 2  # a bound for a busy machine, no more
    assert result.samples >= 3
    assert (result.reason, result.graph_s, result.busy_s) == (None, None, None)


def test_what_would_take_longer_than_there_is_time_is_not_begun() -> None:
    model = sleeping(0.05)
    until = time.perf_counter() + 0.08
    refused = forward_of(model, torch.ones(1), expected_s=0.05, until=until)
    assert model.runs == 0
    assert refused.reason is not None
    assert refused.reason.startswith("no time: a copy and two runs would take about 0.1 s")
    # Nobody said how long it takes: the first run tells, and one that counts is left.
    with RealForward(ModelCall(model, (torch.ones(1),)), "cpu") as real:
        real.sample(1, until=time.perf_counter() + 0.04)
        assert real.result().samples == 1
        real.sample(1, until=time.perf_counter() + 0.04)
    assert model.runs == 2
    assert real.result().low_s is None


def test_samples_add_up() -> None:
    with RealForward(ModelCall(nn.ReLU(), (torch.ones(1),)), "cpu") as real:
        real.sample(0)
        first = real.result()
        real.sample(0)
        second = real.result()
    assert first.samples + first.discarded < second.samples + second.discarded
    assert real.result() == second


def test_one_more_sample_is_taken_where_there_is_time() -> None:
    model = sleeping(0.01)
    with RealForward(ModelCall(model, (torch.ones(1),)), "cpu") as real:
        real.sample_again(9.0)  # nothing is warm
        assert model.runs == 0
        real.sample(SHORT)
        runs, samples = model.runs, real.result().samples
        real.sample_again(9.0)
        assert model.runs == runs + 2  # the first one untimed
        assert real.result().samples + real.result().discarded > samples
        real.sample_again(0.015)
        real.sample_again(9.0, until=time.perf_counter() + 0.015)
        assert model.runs == runs + 2


def test_without_a_sample_there_is_a_reason() -> None:
    with RealForward(ModelCall(nn.ReLU(), (torch.ones(1),)), "cpu") as real:
        assert real.result().reason == "no sample was taken"


# Nothing changes.


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_nothing_changes(train: bool, grad: bool) -> None:
    model, x = restless(train), torch.randn(2, 3, 8, 8)
    with torch.set_grad_enabled(grad):
        state = State(model, [x])
        result = forward_of(model, x)
        state.assert_same()
    assert result.reason is None
    assert "the forward changes its arguments: each run gets copies" in result.notes


def test_nothing_changes_when_forward_raises() -> None:
    model, x = restless(True, ValueError("half way\nmore")), torch.randn(2, 3, 8, 8)
    state = State(model, [x])
    result = forward_of(model, x)
    state.assert_same()
    assert result.reason == "the model raised: ValueError: half way"
    assert (result.eager_s, result.samples) == (None, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_nothing_changes_when_interrupted(error: BaseException) -> None:
    model, x = restless(True, error), torch.randn(2, 3, 8, 8)
    state = State(model, [x])
    with RealForward(ModelCall(model, (x,)), "cpu") as real:
        with pytest.raises(type(error)):
            real.sample(SHORT)
        assert real._model is None
        state.assert_same()


def test_an_interrupt_while_copying_passes_through() -> None:
    class Interrupts(nn.Module):
        def __deepcopy__(self, memo: Any) -> Any:
            torch.rand(3)
            raise KeyboardInterrupt

    state = State(nn.Linear(1, 1), [])
    with pytest.raises(KeyboardInterrupt), RealForward(ModelCall(Interrupts()), "cpu"):
        pass
    state.assert_same()


class Remembers(nn.Linear):
    """Tells which copies of it are alive."""

    alive: ClassVar[weakref.WeakSet[nn.Module]] = weakref.WeakSet()

    def forward(self, x: Tensor) -> Tensor:
        self.alive.add(self)
        return super().forward(x)


def test_the_copy_is_freed_at_the_end() -> None:
    with RealForward(ModelCall(Remembers(2, 2), (torch.ones(1, 2),)), "cpu") as real:
        real.sample(SHORT)
        assert len(Remembers.alive) == 1
    gc.collect()
    assert len(Remembers.alive) == 0


def test_a_model_that_cannot_be_copied_says_so() -> None:
    model = nn.ReLU()
    model.stream = (i for i in range(3))  # type: ignore[assignment]
    result = forward_of(model, torch.ones(1))
    assert result.reason is not None
    assert result.reason.startswith(
        "the model or its inputs cannot be copied: TypeError: cannot pickle"
    )


# The state that it runs in.


class Looks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.seen: list[Any] = []

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        seen = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), self.training, y.dtype
        raise LookupError(str(seen))


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("autocast", [None, "bfloat16"])
@pytest.mark.parametrize("train", [True, False])
def test_modes_are_those_of_the_caller(mode: Any, autocast: str | None, train: bool) -> None:
    model = Looks().train(train)
    with mode():
        expected = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), train
        result = forward_of(model, torch.ones(1, 2), autocast=autocast)
    dtype = torch.float32 if autocast is None else torch.bfloat16
    assert result.reason == f"the model raised: LookupError: {(*expected, dtype)}"


def test_runs_draw_the_same_random_numbers() -> None:
    class Draws(nn.Module):
        def forward(self, seen: set[float]) -> None:
            drawn = torch.rand(()).item()
            if seen and drawn not in seen:
                raise LookupError("drawn anew")
            seen.add(drawn)

    assert forward_of(Draws(), set()).reason is None


# Arguments.


class Cached(nn.Module):
    def forward(self, x: Tensor, cache: dict[str, Tensor]) -> Tensor:
        if len(cache["keys"]) != 3:
            raise LookupError(f"{len(cache['keys'])} keys")
        cache["keys"] = torch.cat((cache["keys"], x))
        return cache["keys"]


def test_a_growing_cache_is_new_for_each_run() -> None:
    cache = {"keys": torch.randn(3, 20)}
    before = picture(cache)
    result = forward_of(Cached(), torch.randn(1, 20), keywords={"cache": cache})
    assert result.reason is None
    assert "the forward changes its arguments: each run gets copies" in result.notes
    assert picture(cache) == before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_arguments_written_in_place_are_new_for_each_run(mode: Any) -> None:
    class Writes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.sum() != 4:
                raise LookupError("written before")
            return x.mul_(2)

    x = torch.ones(4)
    with mode():
        assert forward_of(Writes(), x).reason is None
    assert x.tolist() == [1, 1, 1, 1]


def test_arguments_that_stay_as_they_are_are_copied_once() -> None:
    class Same(nn.Module):
        def forward(self, x: Tensor, places: set[int]) -> Tensor:
            return x + 1

    with RealForward(ModelCall(Same(), (torch.ones(4), set())), "cpu") as real:
        real.sample(SHORT)
        assert not real._changing


@pytest.mark.parametrize("where", ["cpu", "meta"])
def test_a_decode_step_has_its_own_cache(where: str) -> None:
    import_torchvision()  # before transformers, which takes the one for another torch otherwise
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=50,
    )
    with torch.device(where):
        model = transformers.LlamaForCausalLM(config).eval()
    language = language_call(model, "decode", Sizes(2), 7, bare_output)
    with RealForward(ModelCall(model, (), language.keywords, language.prepare), "cpu") as real:
        real.sample(SHORT)
        real.sample(SHORT)
        (cache,) = (v for v in real._prepared.values() if hasattr(v, "get_seq_length"))
        assert cache.get_seq_length() == 7
        result = real.result()
    assert result.reason is None
    assert ("weights are random" in result.notes) == (where == "meta")
    assert language._cache is None


def test_a_meta_model_runs() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    result = forward_of(model, torch.empty(2, 3, 8, 8, device="meta"))
    assert result.reason is None
    assert "weights are random" in result.notes
    assert all(parameter.is_meta for parameter in model.parameters())


# Room.


def test_what_does_not_fit_is_not_copied() -> None:
    model = nn.Linear(1000, 1000)
    result = forward_of(model, torch.ones(1, 1000), memory_limit=4_000_000)
    assert result.reason == "does not fit: needs 5.01 MB, 4 MB are allowed"
    assert forward_of(model, torch.ones(1, 1000), memory_limit=6_000_000).reason is None


def test_a_giant_is_refused_before_anything_is_allocated() -> None:
    with torch.device("meta"):
        model = nn.Linear(1_000_000, 1_000_000)
    start = time.perf_counter()
    result = forward_of(model, torch.empty(1, 1_000_000, device="meta"))
    assert result.reason is not None
    assert result.reason.startswith("does not fit: needs 5000 GB, ")
    assert time.perf_counter() - start < 5


def test_more_bytes_may_be_asked_for() -> None:
    result = forward_of(nn.ReLU(), torch.ones(1), memory_limit=1000, extra_bytes=1000)
    assert result.reason == "does not fit: needs 1.26 kB, 1 kB are allowed"


def test_memory_that_runs_out_is_told_as_such() -> None:
    class Takes(nn.Module):
        def forward(self) -> Tensor:
            return torch.empty(1 << 60, dtype=torch.uint8)

    reason = forward_of(Takes()).reason
    assert reason is not None
    assert reason.startswith("does not fit: ")


def test_the_free_memory_of_the_host_is_known() -> None:
    free = room.free_bytes(torch.device("cpu"))
    assert free is not None
    assert free > 1e6


# Devices.


@pytest.mark.parametrize("device", ["xpu", "mps", "cuda:77"])
def test_a_device_that_is_not_here_is_a_reason(device: str) -> None:
    assert (
        forward_of(nn.ReLU(), torch.ones(1), device=device).reason == f"there is no {device} here"
    )


@pytest.mark.parametrize("device", ["no such", "meta"])
def test_what_is_no_device_is_an_error(device: str) -> None:
    with pytest.raises(InputError, match="device"):
        RealForward(ModelCall(nn.ReLU()), device)


def test_json_brings_all_back() -> None:
    result = EndToEnd(
        "cuda:0", 1.5, 1.25, 1.75, 7, 2, graph_s=1.0, busy_s=0.5, peak_bytes=3, notes=("a", "b")
    )
    assert EndToEnd.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    refused = EndToEnd("cpu", reason="does not fit")
    assert EndToEnd.from_dict(json.loads(json.dumps(refused.to_dict()))) == refused


# On a GPU.


@pytest.mark.gpu
def test_cuda_gives_all_times() -> None:
    model = nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(8)))
    with torch.no_grad():
        result = forward_of(model, torch.randn(2048, 2048), device="cuda", seconds=0.2)
    assert result.device == "cuda:0"
    assert result.reason is None
    assert result.eager_s is not None
    assert result.graph_s is not None
    assert result.busy_s is not None
    assert result.peak_bytes is not None
    assert 0 < result.busy_s <= 1.2 * result.eager_s
    assert 0.5 * result.busy_s < result.graph_s <= 1.2 * result.eager_s
    assert result.peak_bytes >= 9 * 2048 * 2048 * 4
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())


@pytest.mark.gpu
def test_a_capture_that_fails_is_a_note_and_leaves_the_generator() -> None:
    class Asks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.rand(3, device=x.device).sum().item()

    torch.cuda.manual_seed(0)
    before = torch.cuda.get_rng_state()
    result = forward_of(Asks(), torch.randn(3), device="cuda")
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert result.eager_s is not None
    assert result.graph_s is None
    assert any(note.startswith("CUDA graph: ") for note in result.notes)
    torch.rand(3, device="cuda")
    torch.cuda.synchronize()


@pytest.mark.gpu
def test_running_out_of_device_memory_is_a_reason() -> None:
    class Takes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.new_empty(1 << 50)

    reason = forward_of(Takes(), torch.randn(3), device="cuda").reason
    assert reason is not None
    assert reason.startswith("does not fit: OutOfMemoryError")
