"""What functions cache outside of any model holds nothing of a trace afterwards."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import compile_compatible_method_lru_cache

import nnprof


class OfTransformers(nn.Module):
    """Keeps its table as the embeddings of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(64, 64)

    @compile_compatible_method_lru_cache(maxsize=4)  # type: ignore[untyped-decorator]
    def table(self, size: int) -> Tensor:
        return self.project(torch.ones(size, 64))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table(x.size(0))


@dataclass
class Table:
    rows: tuple[Tensor, ...]


class OfFunctools(OfTransformers):
    @functools.lru_cache(maxsize=4)  # noqa: B019
    def table(self, size: int) -> Tensor:
        return self.project(torch.ones(size, 64))


class InAnObject(OfTransformers):
    @functools.cache  # noqa: B019
    def held(self, size: int) -> Table:
        return Table((self.project(torch.ones(size, 64)),))

    def table(self, size: int) -> Tensor:
        return self.held(size).rows[0]


class Twice(OfFunctools):
    """The second call in a forward finds what the first one has made."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table(x.size(0)) + self.table(x.size(0))


CLASSES = [OfTransformers, OfFunctools, InAnObject, Twice]


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("run_before", [False, True])
def test_a_cached_table_is_counted_each_time_and_not_kept(
    kind: type[OfTransformers], run_before: bool
) -> None:
    model = kind()
    if run_before:
        model(torch.zeros(128, 64))
    counts = {nnprof.measure(model, (128, 64)).macs for _ in range(3)}
    assert counts == {128 * 64 * 64}
    assert model(torch.zeros(128, 64)).device.type == "cpu"


@pytest.mark.parametrize("kind", CLASSES)
def test_the_cache_works_again_afterwards(kind: type[OfTransformers]) -> None:
    model = kind()
    nnprof.measure(model, (128, 64))
    assert model.table(5) is model.table(5)


def test_what_was_cached_before_stays() -> None:
    model = OfFunctools()
    nnprof.measure(model, (128, 64))  # from here on it is known what the function makes
    before = model.table(128)
    nnprof.measure(model, (128, 64))
    assert model.table(128) is before


def test_numbers_are_cached_as_ever() -> None:
    asked: list[int] = []

    @functools.cache
    def width(size: int) -> int:
        asked.append(size)
        return 2 * size

    profile = nnprof.measure(lambda x: x * width(3) + width(3), (4,))
    assert asked == [3]
    assert width(3) == 6
    assert asked == [3]
    assert profile.flops == 8
