"""The torch that runs: what it does otherwise than another one is tested as it does it."""

from __future__ import annotations

import torch

__all__ = ["TORCH"]

#: Major and minor.
TORCH = tuple(map(int, torch.__version__.split(".")[:2]))
