"""Tensors of images in the memory formats that kernels tell apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
dimensions = pytest.mark.parametrize("dims", [1, 2, 3])
either = pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])


def layouts(tensor: Tensor) -> list[Tensor]:
    if tensor.dim() not in LAST:
        return [tensor]
    return [tensor, tensor.contiguous(memory_format=LAST[tensor.dim()])]
