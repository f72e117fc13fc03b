"""What an operator is given when it is replayed, as an operator of our own sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import nnprof
from nnprof import _core
from nnprof.timing.replay import replay
from tests.timing.replay.zoo import result_of

if TYPE_CHECKING:
    from collections.abc import Callable


class Seen(NamedTuple):
    x: Tensor
    weight: Tensor
    address: tuple[int, int]
    state: tuple[bool, bool]


#: An operator is visited once shortly and once for as long as it is worth, with new data.
VISITS = 2

SEEN: list[Seen] = []


@torch.library.custom_op("nnprof_replay_test::spy", mutates_args=())
def spy(x: Tensor, weight: Tensor) -> Tensor:
    state = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    address = x.data_ptr(), weight.data_ptr()
    SEEN.append(Seen(x.clone(), weight.clone(), address, state))
    return torch.empty_like(x)


@spy.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("nnprof_replay_test::doubles", mutates_args=("x",))
def doubles(x: Tensor) -> None:
    x.mul_(2)
    SEEN.append(Seen(x.clone(), x, (0, 0), (False, False)))


@doubles.register_fake
def _(x: Tensor) -> None:
    pass


class Around(nn.Module):
    """Calls `function` with an activation and with a parameter."""

    def __init__(self, function: Callable[..., Any], *size: int) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Any:
        return self.function(torch.tanh(x), self.weight)


def seen_by(function: Callable[..., Any], x: Any = (64, 32), size: Any = (48, 32)) -> list[Seen]:
    """What our operator sees while the calls of a model are replayed, the trace aside."""
    result = result_of(Around(function, *size), shape=x)
    SEEN.clear()
    measured = replay(result, "cpu", time_budget=1)
    assert set(measured.status) <= {"measured", "view"}, measured.notes
    return SEEN[:]


def test_data_is_random() -> None:
    seen = seen_by(spy)
    assert len(seen) > 10
    assert seen[0].x.std() == pytest.approx(1, abs=0.1)
    assert seen[0].weight.std() == pytest.approx(32**-0.5, rel=0.1)  # 32 products add up
    assert seen[0].x.unique().numel() > 2000


def test_weights_are_cold_and_activations_lie_where_the_last_cache_has_them() -> None:
    seen = seen_by(spy)
    assert 2 * VISITS < len({call.address[0] for call in seen}) <= 64 * VISITS
    assert len({call.address[1] for call in seen}) > 10
    assert len({call.weight.sum().item() for call in seen}) <= VISITS


def test_sizes_and_strides_are_those_recorded() -> None:
    call = seen_by(lambda x, weight: spy(x.T[3:], weight[:, ::2]))[0]
    assert (call.x.shape, call.x.stride()) == ((29, 64), torch.empty(64, 32).T[3:].clone().stride())
    assert call.weight.shape == (48, 16)


def test_numbers_written_in_place_do_not_drift() -> None:
    """A product by two, over and over, would soon be infinite."""
    seen = seen_by(lambda x, weight: doubles(x))
    assert len(seen) > 20  # a slow machine makes fewer calls in the time
    largest = {call.x.abs().max().item() for call in seen}
    assert len(largest) <= VISITS
    assert max(largest) < 20


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_modes_are_those_recorded(mode: Any) -> None:
    with mode():
        expected = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        result = result_of(Around(spy, 48, 32), shape=(64, 32))
    SEEN.clear()
    replay(result, "cpu", time_budget=0.2)
    # An operator in Python runs below autograd, which switches the grad mode off for it.
    assert {call.state[1] for call in SEEN} == {expected[1]}


def test_integers_are_in_range() -> None:
    table = nn.Embedding(7, 4)
    result = result_of(table, inputs=torch.zeros(3000, dtype=torch.long, device="meta"))
    assert replay(result, "cpu", time_budget=0.2).status == ["measured"]


def test_a_seed_decides_all() -> None:
    first, again = (seen_by(spy)[0] for _ in range(2))
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.weight, again.weight)


def test_a_trace_hears_nothing_of_it() -> None:
    result = result_of(nn.Linear(8, 8), shape=(2, 8))
    with nnprof.trace() as running:
        _core.replayed_outputs(result, 0, "cpu")
    assert running._result is not None
    assert not len(running._result.ops()["op"])
