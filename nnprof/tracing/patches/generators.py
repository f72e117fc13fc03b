"""The state of the CPU's generator: a tensor of some 5 KB, which each checkpoint keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nnprof import _core
from nnprof.tracing.patches.other_code import copy_of, replace

if TYPE_CHECKING:
    from torch import Tensor

_own = copy_of(torch.random.get_rng_state)


def _get_rng_state() -> Tensor:
    state: Tensor = _own()
    if _core.tracing():
        _core.adopt(state)
    return state


replace(torch.random.get_rng_state, _get_rng_state)
