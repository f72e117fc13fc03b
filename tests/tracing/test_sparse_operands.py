"""Sparse tensors of the user's in a forward: products with them are priced as dense, and say so."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import nnprof
from nnprof.errors import InputError

ADJACENCY = torch.eye(16).to_sparse()


class Graph(nn.Module):
    def __init__(self, adjacency: Tensor) -> None:
        super().__init__()
        self.adjacency = adjacency
        self.layer = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.spmm(self.adjacency, self.layer(x))


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_a_product_is_counted_as_dense_and_listed(layout: str, backward: bool) -> None:
    model = Graph(ADJACENCY if layout == "coo" else ADJACENCY.to_sparse_csr())
    x = torch.randn(16, 8)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        model(x)
    profile = nnprof.measure(model, inputs=x, backward=backward)
    # FlopCounterMode knows no sparse backward: as many again, the gradient of the layer's output.
    assert 2 * profile.macs == counter.get_total_flops() * (2 if backward else 1)
    assert any("taken as a dense one" in assumption for assumption in profile.assumptions)
    with pytest.raises(InputError, match="dense"):
        nnprof.measure(model, inputs=x, backward=backward, strict=True)
