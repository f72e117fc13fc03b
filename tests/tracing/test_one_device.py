"""Operators that ask for one device get real tensors beside shape-only ones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnprof import measure

#: Of an activation and of a small real tensor of the same dtype.
OPERATORS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "meshgrid": lambda h, real: torch.meshgrid(h, real, indexing="ij"),
    "meshgrid of the real one first": lambda h, real: torch.meshgrid(real, h, indexing="xy"),
    "cartesian_prod": torch.cartesian_prod,
    "inner": torch.inner,
    "multi_dot": lambda h, real: torch.linalg.multi_dot([real, h.outer(real), h]),
    "chain_matmul": lambda h, real: torch.linalg.multi_dot([h[None], real[:, None]]),
    "block_diag": lambda h, real: torch.block_diag(h, real),
    "cat": lambda h, real: torch.cat([h, real]),
    "stack": lambda h, real: torch.stack([real, h]),
    "where": lambda h, real: torch.where(h > 0, real, h),
    "outer": torch.outer,
    "kron": torch.kron,
    "cross": lambda h, real: torch.linalg.cross(h[:3], real[:3]),
    "dot": torch.dot,
    "take_along_dim": lambda h, real: torch.take_along_dim(h, torch.arange(2), 0),
    "index_put": lambda h, real: h.clone().index_put_((torch.arange(4),), real),
    "searchsorted": lambda h, real: torch.searchsorted(real, h),
    "bucketize": lambda h, real: torch.bucketize(h, real),
    "lerp": lambda h, real: torch.lerp(h, real, real),
    "trapezoid": lambda h, real: torch.trapezoid(h, real),
    "cdist": lambda h, real: torch.cdist(h[None], real[None]),
    "isin": lambda h, real: torch.isin(h, real),
    "tensordot": lambda h, real: torch.tensordot(h, real, dims=1),
    "einsum": lambda h, real: torch.einsum("i,j->ij", h, real),
    "broadcast": lambda h, real: torch.broadcast_tensors(h[None], real[:, None]),
    "maximum": lambda h, real: torch.maximum(h, real),
}


class Asking(nn.Module):
    def __init__(self, operator: Callable[[Tensor, Tensor], Any], integers: bool) -> None:
        super().__init__()
        self.layer, self.operator, self.integers = nn.Linear(4, 4), operator, integers

    def forward(self, x: Tensor) -> Tensor:
        h, real = self.layer(x), torch.arange(4.0, device=x.device)
        pair = (h.long(), real.long()) if self.integers else (h, real)
        results = self.operator(*pair)
        SIZES.append([tuple(r.shape) for r in _flat(results)])
        return h + torch.stack([r.sum().to(h) for r in _flat(results)]).sum()


SIZES: list[Any] = []


def _flat(results: Any) -> list[Tensor]:
    return [results] if isinstance(results, Tensor) else list(results)


#: PyTorch has no kernel of theirs for integers.
FLOATS_ONLY = {"lerp", "cdist"}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    ("operator", "integers"),
    [(name, i) for name in OPERATORS for i in (False, True) if not (i and name in FLOATS_ONLY)],
)
def test_as_in_a_real_run(operator: str, integers: bool, backward: bool) -> None:
    model, x = Asking(OPERATORS[operator], integers), torch.randn(4)
    SIZES.clear()
    model(x)
    measure(model, inputs=x, backward=backward)
    assert len(SIZES) > 1
    assert all(sizes == SIZES[0] for sizes in SIZES)
