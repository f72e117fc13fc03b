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


_images = torch.randn(2, 3, 4, 5)
#: Images as programs hand them over.
IMAGES = {
    "dense": _images,
    "channels last": _images.to(memory_format=torch.channels_last),
    "transposed": _images.transpose(1, 3),
    "part": _images[:, 1:, ::2],
    "expanded": torch.randn(2, 1, 4, 5).expand(2, 3, 4, 5),
    "empty": torch.randn(2, 0, 4, 5),
}
