"""What the generated calls share: a call, and what its arguments are drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import torch
from torch import Tensor

from tests.rules.layouts import tensors

if TYPE_CHECKING:
    from collections.abc import Callable

#: An operator's name, function and arguments.
Call = tuple[str, "Callable[..., Any]", tuple[Any, ...], dict[str, Any]]

small = st.integers(1, 4)
flags = st.booleans()
FLOATS = (torch.float32, torch.float32, torch.bfloat16, torch.float64)
DTYPES = (*FLOATS, torch.int64, torch.uint8, torch.bool, torch.complex64)


def call(function: Any, *args: Any, **kwargs: Any) -> Call:
    return getattr(function, "__name__", "call"), function, args, kwargs


@st.composite
def geometry(draw: st.DrawFn, dims: int, high: int = 2) -> Any:
    if draw(flags):
        return draw(st.integers(1, high))
    return tuple(draw(st.integers(1, high)) for _ in range(dims))


@st.composite
def images(draw: st.DrawFn, channels: int, dims: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Batched or not, channels last or in any other layout."""
    batch = [draw(st.integers(1, 2))] if draw(st.integers(0, 3)) else []
    sizes = [draw(st.integers(2, 6)) for _ in range(dims)]
    x: Tensor = draw(tensors([*batch, channels, *sizes], dtype))
    if draw(flags) and x.dim() in (4, 5):
        last = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
        return x.to(memory_format=last)
    return x


@st.composite
def indices(draw: st.DrawFn, shape: Any, choices: int) -> Tensor:
    x = draw(tensors(tuple(shape), torch.int64))
    return x.remainder_(choices) if 0 not in x.stride() else x.remainder(choices)
