"""Small integers stay real, guesses are made where they cannot, and both are said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import nnprof

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[torch.Tensor], object]


class Reads(nn.Module):
    """Calls a function of its input; the input is always large enough to be a shadow."""

    def __init__(self, read: Read) -> None:
        super().__init__()
        self.read = read

    def forward(self, x: torch.Tensor) -> object:
        return self.read(x)


def result_of(read: Read, **options: Any) -> tuple[Any, nnprof.Profile]:
    found = []

    def remember(x: torch.Tensor) -> torch.Tensor:
        found.append(read(x))
        return x

    profile = nnprof.measure(Reads(remember), (64, 128), **options)
    return found[-1], profile


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda x: torch.arange(5).tolist(), [0, 1, 2, 3, 4]),
        (lambda x: torch.arange(2)[:, None].expand_as(x[:2]).sum().item(), 128),
        (lambda x: torch.arange(4).view_as(x[:2, :2]).tolist(), [[0, 1], [2, 3]]),
        (lambda x: torch.arange(4).reshape_as(x[:2, :2]).tolist(), [[0, 1], [2, 3]]),
        (lambda x: torch.arange(3).type_as(x).tolist(), [0.0, 1.0, 2.0]),
        (lambda x: torch.tensor([3, 4], device=x.device).tolist(), [3, 4]),
        (lambda x: torch.as_tensor([3, 4], device=x.device).sum().item(), 7),
        (lambda x: torch.ones(100, 100).sum().item(), 10_000),
        (lambda x: torch.tensor([[1.0] * 100] * 100)[7].sum().item(), 100),
        (lambda x: (torch.arange(3)[:, None] >= torch.arange(3)).sum().item(), 6),
        (lambda x: torch.zeros(4, dtype=torch.bool).logical_not().all().item(), True),
        (lambda x: torch.tensor([[1, 0], [0, 1]]).nonzero().tolist(), [[0, 0], [1, 1]]),
        (lambda x: torch.linspace(0, 1, 5)[2].item(), 0.5),
        (lambda x: (torch.arange(4) * 2.5).dtype, torch.float32),
        (lambda x: torch.cumsum(torch.ones(3, dtype=torch.long), 0).numpy().tolist(), [1, 2, 3]),
        (lambda x: torch.histc(torch.arange(10), 5, 0, 10).tolist(), [2, 2, 2, 2, 2]),
        (lambda x: torch.tensor(2.0).exp().item(), torch.tensor(2.0).exp().item()),
    ],
)
def test_small_values_are_real(read: Read, expected: object) -> None:
    value, _ = result_of(read)
    assert value == expected


def test_a_large_integer_that_is_read_makes_the_trace_start_again() -> None:
    value, profile = result_of(lambda x: torch.arange(100_000).sum().item())
    assert value == 100_000 * 99_999 // 2
    again = nnprof.measure(Reads(lambda x: torch.arange(100_000).sum()), (64, 128))
    assert profile.macs == again.macs == 0


def test_a_large_integer_list_makes_the_trace_start_again() -> None:
    value, _ = result_of(lambda x: len(torch.arange(50_000).tolist()))
    assert value == 50_000


def test_an_unknown_value_is_an_error_that_says_what_to_pass() -> None:
    model = nn.Sequential(nn.Linear(128, 4), Reads(lambda x: x.sum().item()))
    with pytest.raises(nnprof.errors.DataDependentError, match=r"(?s)'1' \(Reads\).*assume="):
        nnprof.measure(model, (64, 128))


def test_an_assumed_value_is_read_and_listed() -> None:
    value, profile = result_of(lambda x: x.sum().item(), assume=3.0)
    assert value == 3.0
    assert any("as the caller said" in line for line in profile.assumptions)
    value, _ = result_of(lambda x: bool((x > 0).any()), assume={"": 1})
    assert value is True


def test_a_small_parameter_of_a_real_model_has_its_value() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert self.scale.exp().item() == torch.tensor(2.0).exp().item()
            return x * self.scale

    assert nnprof.measure(Scaled(), (64, 128)).flops > 0


def test_routed_indices_are_spread_evenly_and_said_so() -> None:
    indices, profile = result_of(lambda x: x.topk(2, dim=-1).indices.flatten().bincount().tolist())
    assert indices == [1] * 128
    assert any("spread evenly" in line for line in profile.assumptions)


def test_an_unknown_mask_is_taken_as_all_true_and_said_so() -> None:
    shape, profile = result_of(lambda x: x[x > 0].shape)
    assert shape == (64 * 128,)
    assert any("all true" in line for line in profile.assumptions)


def test_a_guess_is_an_error_when_strict() -> None:
    with pytest.raises(nnprof.NnprofError, match="strict"):
        result_of(lambda x: x[x > 0].shape, strict=True)


def test_data_behind_the_dispatcher_is_refused_not_read() -> None:
    with pytest.raises(RuntimeError, match="data pointer"):
        result_of(lambda x: (x * 2).data_ptr())


def test_real_or_not_each_call_is_recorded_alike() -> None:
    def integers(n: int) -> nnprof.Profile:
        return nnprof.measure(Reads(lambda x: (torch.arange(n) + 1) * 2), (64, 128))

    small, large = integers(1000), integers(100_000)
    assert list(small.ops["op"]) == list(large.ops["op"])
    assert small.flops == large.flops == 0
    assert large.flops_by_kind["int_ops"] == 100 * small.flops_by_kind["int_ops"]


def test_a_check_of_unknown_values_is_taken_as_passed() -> None:
    def checked(x: torch.Tensor) -> torch.Tensor:
        torch._check_tensor_all(x > 0, lambda: "x must be positive")
        return x

    _, profile = result_of(checked)
    assert profile.assumptions == ["a check in module the model itself (Reads) is taken as passed"]


def test_what_distributions_check_has_a_rule() -> None:
    def log_likelihood(x: torch.Tensor) -> torch.Tensor:
        return torch.distributions.Normal(x, x.exp(), validate_args=True).log_prob(x)

    _, profile = result_of(log_likelihood)
    assert profile.coverage.ruled["aten::_is_all_true"] == 3
    assert not profile.coverage.generic


def test_a_check_of_known_values_can_fail() -> None:
    def checked(x: torch.Tensor) -> None:
        torch._check_tensor_all(torch.arange(4) > 0, lambda: "must be positive")

    with pytest.raises(RuntimeError, match="must be positive"):
        result_of(checked)


def test_real_inputs_are_an_index_that_python_reads() -> None:
    x = torch.rand(6, 2)
    indices = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        rows, columns = zip(*(x * 0).long(), strict=True)
        table = torch.zeros(3, 3)
        table[rows, columns] = 1
        indices.append(table.sum().item())
        return x

    nnprof.measure(forward, inputs=x)
    assert indices == [1.0]


def test_a_value_asked_of_a_large_real_input_is_its_own() -> None:
    x = torch.zeros(100, 100)
    x[7] = 1.0
    rows = []
    nnprof.measure(lambda x: rows.append((x != 0).any(dim=1).nonzero().tolist()), inputs=x)
    assert rows[-1] == [[7]]


def test_a_constant_of_unknown_numbers_stays_unknown() -> None:
    constant, _ = result_of(lambda x: torch.tensor([x.sum(), x.mean()], device=x.device))
    assert constant.shape == (2,)
    assert constant.is_meta


def test_makers_of_constants_are_afterwards_as_before() -> None:
    before = torch.tensor, torch.as_tensor
    _, _ = result_of(lambda x: torch.tensor([1], device=x.device))
    assert (torch.tensor, torch.as_tensor) == before
