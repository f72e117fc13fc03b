"""Profiles, and what is made of them, in other processes and copied."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from torch import nn

import nnprof
from nnprof import errors

if TYPE_CHECKING:
    from collections.abc import Callable


def network(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU())


def measured(width: int) -> nnprof.Profile:
    """In a process of its own: a function that it can import."""
    return nnprof.measure(network(width), (2, 3, 16, 16), backward=True, hardware="h200")


def refused(width: int) -> nnprof.Profile:
    return nnprof.measure(nn.Linear(width, width), (2, width + 1))


def same(one: nnprof.Profile, other: nnprof.Profile) -> bool:
    """In all that is stored, the time that the trace took aside."""
    pair = one.to_dict(), other.to_dict()
    for stored in pair:
        stored.pop("trace_s")
    return pair[0] == pair[1]


COPIES: tuple[Callable[[Any], Any], ...] = (
    copy.copy,
    copy.deepcopy,
    lambda value: pickle.loads(pickle.dumps(value)),
)


@pytest.mark.parametrize("copied", COPIES)
def test_profile(copied: Callable[[Any], Any]) -> None:
    profile = measured(4)
    again = copied(profile)
    assert isinstance(again, nnprof.Profile)
    assert same(again, profile)
    assert again.to_dict() == profile.to_dict()
    assert str(again) == str(profile)
    assert same(copied(again), profile)


@pytest.mark.parametrize("copied", COPIES)
def test_parts_of_a_profile(copied: Callable[[Any], Any]) -> None:
    profile = measured(4)
    assert copied(profile.ops)["macs"].tolist() == profile.ops["macs"].tolist()
    assert copied(profile.memory).at_peak == profile.memory.at_peak
    assert copied(profile.phase("backward")).flops == profile.phase("backward").flops
    assert copied(profile.times).mfu == profile.mfu
    assert copied(profile.layers) == profile.layers
    assert str(copied(profile.compare(measured(5)))) == str(profile.compare(measured(5)))


def test_models_in_a_pool_of_processes() -> None:
    # One process, for each takes seconds to import torch: a second one would say the same.
    widths = (3, 4, 5)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        profiles = list(pool.map(measured, widths))
        with pytest.raises(errors.ShapeError):
            pool.submit(refused, 4).result()
    for profile, width in zip(profiles, widths, strict=True):
        assert same(profile, measured(width))


ERRORS = [name for name in errors.__all__ if isinstance(getattr(errors, name), type)]


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    """They come back from another process."""
    error = getattr(errors, name)("what is wrong")
    error.add_note("where")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.__notes__) == (str(error), error.__notes__)
