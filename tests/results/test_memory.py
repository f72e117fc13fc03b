"""What is held in memory, against sums by hand on small models."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import nnprof
from nnprof.errors import InputError
from nnprof.results.memory import KINDS
from nnprof.results.profile import Profile

if TYPE_CHECKING:
    from pathlib import Path

FLOAT = 4
PARAMETERS = FLOAT * (16 * 8 + 16 + 4 * 16 + 4)
INPUT, HIDDEN, LOSS = FLOAT * 5 * 8, FLOAT * 5 * 16, FLOAT


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def step(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Profile:
    x = torch.empty(5, 8)
    with nnprof.trace(model, backward=True) as trace:
        model(x).sum().backward()
        if optimizer is not None:
            optimizer.step()
    return trace.profile()


def held(**kinds: int) -> dict[str, int]:
    return dict.fromkeys(KINDS, 0) | kinds


def test_a_forward_holds_two_activations_at_a_time() -> None:
    memory = nnprof.measure(perceptron(), (5, 8)).memory
    # The second activation is there while the first is still read.
    expected = held(parameters=PARAMETERS, inputs=INPUT, activations=2 * HIDDEN)
    assert memory.at_peak == expected
    assert memory.peak == sum(expected.values())
    assert (memory.peak_op, memory.peak_module) == ("aten::relu", "1")
    assert memory.phases == ("forward",)
    assert memory.inputs == INPUT
    assert memory.activations == 2 * HIDDEN
    assert memory.gradients == memory.optimizer == memory.temporaries == memory.workspace == 0


def test_a_backward_holds_what_the_forward_kept() -> None:
    memory = step(perceptron()).memory
    # The gradient of the ReLU is made: autograd keeps its output, and gives it that output's
    # gradient; the second layer has its gradients, and the loss and its gradient are still there.
    expected = held(
        parameters=PARAMETERS,
        inputs=INPUT,
        activations=HIDDEN + 2 * LOSS,
        gradients=FLOAT * (4 * 16 + 4),
        temporaries=2 * HIDDEN,
    )
    assert memory.at_peak == expected
    assert memory.peak == memory.peak_of("backward") == sum(expected.values())
    assert (memory.peak_op, memory.peak_module) == ("aten::threshold_backward", "1")
    assert memory.peak_of("forward") == PARAMETERS + INPUT + 2 * HIDDEN
    kept = held(parameters=PARAMETERS, inputs=INPUT, activations=HIDDEN + 2 * LOSS)
    assert memory.after("forward") == kept
    left = held(parameters=PARAMETERS, inputs=INPUT, gradients=PARAMETERS)
    assert memory.after("backward") == left
    assert memory.after("optimizer") == held()
    assert memory.peak_of("optimizer") == 0
    with pytest.raises(InputError, match="choose one of forward, backward, optimizer"):
        memory.after("sideways")


def test_momentum_is_left_by_the_optimizer() -> None:
    model = perceptron()
    memory = step(model, torch.optim.SGD(model.parameters(), momentum=0.9)).memory
    assert memory.phases == ("forward", "backward", "optimizer")
    assert memory.after("optimizer")["optimizer"] == PARAMETERS
    assert memory.after("optimizer")["gradients"] == PARAMETERS


def test_an_allocation_on_an_accelerator_is_rounded_up_and_a_parameter_is_not() -> None:
    with torch.device("meta"):
        model = perceptron()
    memory = nnprof.measure(model, (5, 8)).memory
    assert memory.at_peak["parameters"] == 512 * 4  # four tensors, 512 bytes at most
    assert memory.parameters == PARAMETERS
    assert memory.inputs == 512


def test_modules_and_the_model_add_up_to_the_peak() -> None:
    memory = step(perceptron()).memory
    assert memory.by_module == {
        "1": held(activations=HIDDEN, temporaries=HIDDEN),
        "2": held(gradients=FLOAT * (4 * 16 + 4), temporaries=HIDDEN),
        "": held(inputs=INPUT, activations=2 * LOSS),
    }
    parts = sum(sum(kinds.values()) for kinds in memory.by_module.values())
    assert parts + memory.at_peak["parameters"] + memory.at_peak["buffers"] == memory.peak


def test_the_timeline_has_a_row_a_call() -> None:
    profile = step(perceptron())
    timeline = profile.memory.timeline
    assert len(timeline["call"]) == len(timeline["op"]) == profile.calls
    assert list(timeline["op"][:3]) == ["aten::linear", "aten::relu", "aten::linear"]
    assert list(timeline["module"][:3]) == ["0", "1", "2"]
    assert timeline["highest"].max() == profile.memory.peak
    assert (timeline["live"] <= timeline["highest"]).all()
    backward = timeline["phase"] == "backward"
    assert timeline["highest"][backward].max() == profile.memory.peak_of("backward")


def test_nothing_is_asked_before_it_is_read() -> None:
    data: Any = object()  # any question would raise
    profile = Profile(data, nnprof.measure(perceptron(), (5, 8)).facts, 0.0)
    assert profile.memory.parameters == PARAMETERS


def test_nothing_called_holds_the_model() -> None:
    with nnprof.trace(perceptron()) as trace:
        pass
    memory = trace.profile().memory
    assert memory.peak == PARAMETERS
    assert memory.peak_op is memory.peak_module is None
    assert memory.by_module == {}
    assert len(memory.timeline["op"]) == 0


def test_fits() -> None:
    memory = nnprof.measure(perceptron(), (5, 8)).memory
    assert memory.fits("h200")
    with torch.device("meta"):
        large = nn.Linear(200_000, 200_000)  # 160 GB
    memory = nnprof.measure(large, (1, 200_000)).memory
    assert not memory.fits("h200")
    assert memory.fits("mi300x")
    with pytest.raises(InputError, match="no hardware is called"):
        memory.fits("h2000")


def test_a_saved_profile_knows_its_memory(tmp_path: Path) -> None:
    profile = step(perceptron())
    profile.save(tmp_path / "step.json")
    loaded = nnprof.Profile.load(tmp_path / "step.json")
    for name in ("at_peak", "peak_op", "peak_module", "phases", "by_module"):
        assert getattr(loaded.memory, name) == getattr(profile.memory, name)
    for name, column in profile.memory.timeline.items():
        assert (loaded.memory.timeline[name] == column).all()
    assert loaded.memory.timeline["live"].dtype == "int64"
    assert loaded.model_flops == profile.model_flops


# Activation checkpointing.


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 16)
        self.down = nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.relu(self.up(x)))


class Blocks(nn.Module):
    def __init__(self, *, checkpointed: bool) -> None:
        super().__init__()
        self.first, self.second = Block(), Block()
        self.checkpointed = checkpointed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = partial(checkpoint, self.first, use_reentrant=False)
        return self.second((first if self.checkpointed else self.first)(x))


def test_model_flops_leave_out_what_is_computed_again() -> None:
    plain, again = (step(Blocks(checkpointed=which)) for which in (False, True))
    assert plain.model_flops == plain.hardware_flops == again.model_flops
    # Four products forward; backward twice as many, but none for the gradient of the input.
    product = 2 * 5 * 8 * 16
    assert plain.model_flops == (4 + 7) * product
    # Recomputing stops early: the last product's output is not needed.
    assert again.hardware_flops == plain.hardware_flops + product


def test_utilizations_are_of_model_and_hardware_flops() -> None:
    with nnprof.trace(model := Blocks(checkpointed=True), backward=True) as trace:
        model(torch.empty(5, 8)).sum().backward()
    profile = trace.profile(hardware="h200")
    assert profile.hfu == pytest.approx((12 / 11) * (profile.mfu or 0))


def test_advice_on_a_real_model_comes_true() -> None:
    plain = step(Blocks(checkpointed=False))
    advice = plain.memory.checkpointing("first")
    again = step(Blocks(checkpointed=True))
    kept = [profile.memory.after("forward")["activations"] for profile in (plain, again)]
    generator = torch.get_rng_state().nbytes  # whose state a checkpoint keeps, of a CPU here
    assert advice.saved_bytes == kept[0] - (kept[1] - generator)
    assert advice.recompute_flops == nnprof.measure(Block(), (5, 8)).flops
