"""The dtypes that models compute in, and made inputs in one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch.utils._pytree import tree_map_only

from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AUTOCAST", "COMPUTED", "FLOATING", "as_dtype", "cast"]

_T = TypeVar("_T")

FLOATING = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_COMPLEX = (torch.complex64, torch.complex128, torch.complex32)
_INTEGER = (
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
    torch.uint16,
    torch.uint32,
    torch.uint64,
)
#: What a model computes in. Tensors may be of a few others, which single operators take.
COMPUTED = FLOATING + _COMPLEX + _INTEGER
_OF_INPUTS = COMPUTED + tuple(
    dtype
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
    if (dtype := getattr(torch, name, None)) is not None
)
AUTOCAST = (torch.bfloat16, torch.float16)


def as_dtype(
    dtype: torch.dtype | str | None, among: Sequence[torch.dtype] = _OF_INPUTS
) -> torch.dtype | None:
    """torch.float16 for "float16" and "half".

    Raises `InputError` for what is no dtype, or not one of `among`: by default those that inputs
    can be of.
    """
    if dtype is None:
        return None
    named = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(named, torch.dtype):
        raise InputError(f"{dtype!r} is no dtype: pass torch.bfloat16 or 'bfloat16'")
    if named in among:
        return named
    if among is AUTOCAST:
        raise InputError(f"autocast computes in {_names(AUTOCAST, ' or ')}, not in {named}")
    raise InputError(
        f"no model computes in {named}: pass {_names(FLOATING)}, of inputs that are numbers also "
        f"{_names(_INTEGER[:5])}; for weights of fewer bits pass a model that is quantized (a "
        "config with quantization_config, torchao, bitsandbytes)"
    )


def cast(arguments: _T, dtype: torch.dtype, name: str) -> _T:
    """Tensors of the kind of `dtype`, in any nesting, in that dtype; `name` is the model's."""
    floating = dtype.is_floating_point or dtype.is_complex
    converted = []

    def convert(tensor: torch.Tensor) -> torch.Tensor:
        of_kind = tensor.is_floating_point() or tensor.is_complex()
        if of_kind is not floating or tensor.dtype is torch.bool:
            return tensor
        converted.append(tensor)
        return tensor.to(dtype)

    made: _T = tree_map_only(torch.Tensor, convert, arguments)
    if not converted:
        kind = "floating" if floating else "integer"
        raise InputError(f"{name} usually takes no {kind} input that dtype={dtype} could be of")
    return made


def _names(dtypes: Sequence[torch.dtype], joined_by: str = ", ") -> str:
    return joined_by.join(str(dtype).removeprefix("torch.") for dtype in dtypes)
