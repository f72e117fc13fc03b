"""Made tensors: without data, in the model's own dtype; and token ids, which have data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

from nnprof.base.dtypes import FLOATING
from nnprof.base.modules import modules_of, parameters_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["REAL_IDS_LIMIT", "Runner", "batch_of", "floating_dtype", "floats", "token_ids"]

#: What a part of a model returns when called, shape-only, with these keyword arguments.
Runner: TypeAlias = "Callable[[Callable[..., Any], dict[str, Any]], Any]"

#: Above this many elements made ids are meta tensors: 32 MiB, some 20 ms to draw.
REAL_IDS_LIMIT = 1 << 22

_SEED = 20_240_229


def batch_of(given: Mapping[str, Any]) -> int | None:
    """The batch of given arguments: positions and the like have one row for all of it."""
    tensors = [value for value in given.values() if isinstance(value, torch.Tensor)]
    return max((tensor.shape[0] for tensor in tensors if tensor.dim() > 1), default=None)


def floating_dtype(model: Any) -> torch.dtype:
    """Of the model's first parameter that it computes in, else PyTorch's default.

    Weights in float8 or integers say nothing of what the model takes.
    """
    if isinstance(model, nn.Module):
        for parameter in parameters_of(model):
            if parameter.dtype in FLOATING:
                return parameter.dtype
    return torch.get_default_dtype()


def floats(model: Any, *sizes: int) -> torch.Tensor:
    """A tensor of `sizes` in the dtype of `model`, without data."""
    return torch.empty(sizes, dtype=floating_dtype(model), device="meta")


def token_ids(model: Any, sizes: Sequence[int], vocabulary: int | None = None) -> torch.Tensor:
    """Token ids of `sizes`, int64: seeded, below the vocabulary's size, none of them special.

    The vocabulary is that of the model's embedding, and has at most `vocabulary` ids.
    """
    count = math.prod(sizes)
    if count > REAL_IDS_LIMIT:
        return torch.empty(sizes, dtype=torch.int64, device="meta")
    vocabulary = min(vocabulary or REAL_IDS_LIMIT, _vocabulary(model))
    special = sorted(i for i in _special_ids(model) if i < vocabulary)
    if len(special) >= vocabulary:
        return torch.zeros(sizes, dtype=torch.int64, device="cpu")
    generator = torch.Generator().manual_seed(_SEED)
    # Drawn among the ids that are left, then moved up past each special one.
    drawn = torch.randint(
        vocabulary - len(special), sizes, generator=generator, dtype=torch.int64, device="cpu"
    )
    for special_id in special:
        drawn += drawn >= special_id
    return drawn


def _vocabulary(model: Any) -> int:
    """Ids below this are safe to look up."""
    embedding = _embedding(model)
    if embedding is not None:
        return embedding.num_embeddings
    size = getattr(getattr(model, "config", None), "vocab_size", None)
    # Two: nothing is known of the model, but no vocabulary is smaller.
    return size if isinstance(size, int) and size > 0 else 2


def _special_ids(model: Any) -> set[int]:
    """0, the padding, and every `*_token_id` of a transformers config and of its parts."""
    embedding = _embedding(model)
    found: list[Any] = [0, embedding.padding_idx if embedding is not None else None]
    config = getattr(model, "config", None)
    for part in (config, getattr(config, "text_config", None)):
        for name, value in getattr(part, "__dict__", {}).items():
            if name.endswith(("_token_id", "_token_index")):
                found += value if isinstance(value, (list, tuple)) else [value]
    return {value for value in found if isinstance(value, int) and value >= 0}


def _embedding(model: Any) -> nn.Embedding | None:
    """Of the tokens, where a transformers model says which; else the first one."""
    try:
        own = model.get_input_embeddings()
    except Exception:  # no such method, or one that raises as it likes: there is none
        own = None
    if isinstance(own, nn.Embedding):
        return own
    modules = modules_of(model) if isinstance(model, nn.Module) else ()
    return next((m for m in modules if isinstance(m, nn.Embedding)), None)
