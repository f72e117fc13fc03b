"""Whether float32 products may use TF32, as this process has it set."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["convolution_tf32", "matmul_tf32"]


def matmul_tf32() -> bool:
    """Of matrix products on CUDA; off by default."""
    return _allowed(torch.backends.cuda.matmul, torch.backends.cuda.matmul)


def convolution_tf32() -> bool:
    """Of convolutions and recurrent layers by cuDNN; on by default."""
    cudnn: Any = torch.backends.cudnn
    return _allowed(cudnn, cudnn.conv)


def _allowed(older: Any, newer: Any) -> bool:
    try:
        return bool(older.allow_tf32)
    except RuntimeError:  # it was set by the newer name: torch refuses to be asked by the older one
        return str(newer.fp32_precision) == "tf32"
