"""Training steps told twice: what they do with autograd in a trace is what they do in a real run.

A story is a function that makes its own tensors and modules, takes a step, and tells what it saw:
tensors stand for their shape, strides, dtype and whether they want a gradient. One that yields has
made its leaves before: they are real ones in a trace, too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import nullcontext
from inspect import isgeneratorfunction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nnprof
from tests.helpers.errors import class_of, reason_of

Story = Callable[[], Any]
Log = list[Any]


class Raised(str):
    """How a story ended that ended with an error: the error's class, and how its text begins."""

    __slots__ = ()


class Stories:
    """Those of one file: a decorator for each, and the tests of all."""

    def __init__(self) -> None:
        self._stories: list[Any] = []
        self._errors: dict[Story, str] = {}

    def __call__(self, function: Story, bug: str = "") -> Story:
        marks = [pytest.mark.xfail(strict=True, reason=bug)] if bug else []
        self._stories.append(pytest.param(function, id=function.__name__, marks=marks))
        return function

    def buggy(self, reason: str) -> Callable[[Story], Story]:
        """A story that we do not yet tell right."""
        return lambda function: self(function, reason)

    def raises(self, error: str) -> Callable[[Story], Story]:
        """A story that ends with an `error` whose text begins so: "RuntimeError: a leaf"."""

        def named(function: Story) -> Story:
            self._errors[function] = error
            return self(function)

        return named

    def tests(self) -> tuple[Callable[..., None], Callable[..., None]]:
        """Of every story made in the trace; and of those whose leaves are made before it."""
        before = [story for story in self._stories if isgeneratorfunction(story.values[0])]

        @pytest.mark.parametrize("function", self._stories)
        def as_in_a_real_run(function: Story) -> None:
            assert_as_in_a_real_run(function, made_before=False, error=self._errors.get(function))

        @pytest.mark.parametrize("function", before)
        def of_what_was_made_before(function: Story) -> None:
            assert_as_in_a_real_run(function, made_before=True, error=self._errors.get(function))

        return as_in_a_real_run, of_what_was_made_before


def assert_as_in_a_real_run(
    function: Story, *, made_before: bool, error: str | None = None
) -> None:
    expected = told(function)
    if isinstance(expected, Raised):
        assert error is not None, f"raises {expected}, and does not say that it will"
        assert expected.startswith(error)
    else:
        assert error is None
    assert told(function, nnprof.trace(backward=True, target="cpu"), made_before) == expected


def seen(value: Any) -> Any:
    if isinstance(value, Tensor):
        strides = tuple(
            stride for size, stride in zip(value.shape, value.stride(), strict=True) if size > 1
        )
        return str(value.dtype), tuple(value.shape), strides, value.requires_grad
    if isinstance(value, dict):
        return {key: seen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [seen(item) for item in value]
    if isinstance(value, nn.Module):
        return {name: seen(parameter.grad) for name, parameter in value.named_parameters()}
    return value


def told(function: Story, trace: Any = None, made_before: bool = False) -> Any:
    torch.manual_seed(0)
    trace = trace or nullcontext()
    if made_before:
        steps = function()
        next(steps)
        with trace:
            return _outcome(lambda: next(steps))
    with trace:
        return _outcome(lambda: _in_one_go(function))


def _in_one_go(function: Story) -> Any:
    result = function()
    if not isinstance(result, Generator):
        return result
    next(result)
    return next(result)


def _outcome(function: Story) -> Any:
    try:
        return seen(function())
    except StopIteration as end:
        return seen(end.value)
    except Exception as error:  # which one is part of the story
        return Raised(f"{class_of(error).__name__}: {reason_of(error)}")


def log_of(log: Log, name: str, answer: Any = None) -> Callable[..., Any]:
    """A hook that notes what it was given."""

    def hook(*args: Any) -> Any:
        log.append((name, seen([arg for arg in args if not isinstance(arg, nn.Module)])))
        return answer

    return hook


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
