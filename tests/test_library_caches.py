"""What libraries cache outside of any model holds nothing of a trace afterwards."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import compile_compatible_method_lru_cache

import nnprof


class Positions(nn.Module):
    """Keeps its table as the embeddings of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(64, 64)

    @compile_compatible_method_lru_cache(maxsize=4)
    def table(self, size: int) -> Tensor:
        return self.project(torch.ones(size, 64))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table(x.size(0))


def test_a_cached_table_is_counted_each_time_and_not_kept() -> None:
    model = Positions()
    counts = {nnprof.measure(model, (128, 64)).macs for _ in range(3)}
    assert counts == {128 * 64 * 64}
    assert model(torch.zeros(128, 64)).device.type == "cpu"


def test_the_cache_works_again_afterwards() -> None:
    model = Positions()
    nnprof.measure(model, (128, 64))
    assert model.table(5) is model.table(5)
