"""All that `measure` raises is an `NnprofError`, and of the class that the model raised."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nnprof
from nnprof.errors import NnprofError, RaisedError


class OwnError(Exception):
    """Takes other arguments than it keeps."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Raises(nn.Module):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        raise self.error


def raised(error: BaseException, **options: Any) -> BaseException:
    with pytest.raises(type(error)) as caught:
        nnprof.measure(nn.Sequential(Raises(error)), (2, 3), **options)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"),
        KeyError("key"),
        AssertionError(),
        RuntimeError("went wrong"),
        OSError(2, "no such file", "x.txt"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "why"),
        StopIteration(3),
        AttributeError("no attribute"),
        OwnError(code=7),
    ],
)
def test_what_the_model_raises_is_ours_too(error: Exception) -> None:
    ours = raised(error)
    assert isinstance(ours, RaisedError)
    assert isinstance(ours, type(error))
    assert type(ours).__name__ == type(error).__name__
    assert str(ours) == str(error)
    assert ours.args == error.args
    assert ours.__cause__ is error
    assert any("in module '0' (Raises)" in note for note in ours.__notes__)
    again = pickle.loads(pickle.dumps(ours))
    assert isinstance(again, RaisedError)
    assert isinstance(again, type(error))
    assert again.args == error.args


def test_attributes_come_along() -> None:
    error = raised(OwnError(code=7))
    assert isinstance(error, OwnError)
    assert error.code == 7


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(3), MemoryError(), torch.OutOfMemoryError("no memory")],
)
def test_interrupts_and_a_lack_of_memory_pass(error: BaseException) -> None:
    assert raised(error) is error


def test_wrong_arguments_of_measure_itself() -> None:
    with pytest.raises(TypeError, match="shapes") as caught:
        nnprof.measure(nn.Linear(2, 2), shapes=(1, 2))  # type: ignore[call-arg]
    assert isinstance(caught.value, nnprof.errors.InputError)


def test_a_loss_and_a_rule_of_the_user() -> None:
    def loss(output: Tensor) -> Tensor:
        raise ZeroDivisionError("nothing to divide by")

    with pytest.raises(ZeroDivisionError) as caught:
        nnprof.measure(nn.Linear(2, 2), (1, 2), backward=True, loss=loss)
    assert isinstance(caught.value, NnprofError)


def test_data_that_is_read_past_the_dispatcher() -> None:
    with pytest.raises(nnprof.errors.DataDependentError, match=r"aten::mul of an input.* inputs="):
        nnprof.measure(lambda x: (x * 2).numpy(), (30, 30))


def test_a_model_that_catches_finds_what_it_knows() -> None:
    def forward(x: Tensor) -> Tensor:
        try:
            return x @ x
        except RuntimeError:
            return x @ x.T

    assert nnprof.measure(forward, (30, 40)).macs == 30 * 40 * 30


def test_a_trace_lets_the_program_s_own_exceptions_be() -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught, nnprof.trace():
        raise error
    assert caught.value is error
