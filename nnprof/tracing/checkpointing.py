"""Modules under `torch.utils.checkpoint`: wholly, or all but what is dear to compute again."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils import checkpoint as checkpointing

from nnprof.base.modules import named_modules
from nnprof.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["SELECTIVE", "WHOLE", "checkpointed", "ways_of"]

WHOLE, SELECTIVE = "whole", "selective"
#: Operators whose results a selective checkpoint keeps: products and attention.
_KEPT = (
    "mm",
    "addmm",
    "bmm",
    "baddbmm",
    "convolution",
    "_grouped_mm",
    "_scaled_mm",
    "_scaled_grouped_mm",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)


def _keep_products_and_attention() -> Any:
    kept = [getattr(torch.ops.aten, name).default for name in _KEPT]
    return checkpointing.create_selective_checkpoint_contexts(kept)  # type: ignore[no-untyped-call]


#: What torch.utils.checkpoint is given as context_fn.
_WAYS: dict[str, Callable[[], Any]] = {
    WHOLE: checkpointing.noop_context_fn,
    SELECTIVE: _keep_products_and_attention,
}


def ways_of(checkpoint: Sequence[str] | Mapping[str, str] | str | None) -> dict[str, str]:
    """How the modules of each pattern are checkpointed. Raises InputError for no such way."""
    if isinstance(checkpoint, str):
        checkpoint = [checkpoint]
    if not isinstance(checkpoint, Mapping):
        return dict.fromkeys(checkpoint or (), WHOLE)
    for way in checkpoint.values():
        if way not in _WAYS:
            raise InputError(f"checkpoint=: no way is called {way!r}: there are {', '.join(_WAYS)}")
    return dict(checkpoint)


@contextmanager
def checkpointed(model: Callable[..., Any], ways: Mapping[str, str]) -> Iterator[None]:
    """Within it the modules whose paths match run under torch.utils.checkpoint.

    Patterns are paths or globs ("layers.*"). Raises InputError for one that matches nothing.
    """
    chosen = _matching(model, ways)
    for module, way in chosen:
        module.__dict__["forward"] = _checkpointing(module.forward, way)
    try:
        yield
    finally:
        for module, _ in chosen:
            module.__dict__.pop("forward", None)


def _matching(model: Callable[..., Any], ways: Mapping[str, str]) -> list[tuple[nn.Module, str]]:
    named = dict(named_modules(model)) if isinstance(model, nn.Module) and ways else {}
    chosen: dict[str, str] = {}
    for pattern, way in ways.items():
        # `*` stands for one name: a block is checkpointed, not each module in it again.
        depth = pattern.count(".")
        found = [
            path
            for path in named
            if path.count(".") == depth and fnmatch.fnmatchcase(path, pattern)
        ]
        if not found:
            raise InputError(f"checkpoint={pattern!r} matches no module of the model")
        chosen |= dict.fromkeys(found, way)
    for path in chosen:
        if "forward" in named[path].__dict__:
            raise InputError(f"checkpoint: the forward of {path!r} is replaced already")
    return [(named[path], way) for path, way in chosen.items()]


def _checkpointing(forward: Callable[..., Any], way: str) -> Callable[..., Any]:
    run = partial(checkpointing.checkpoint, forward, use_reentrant=False, context_fn=_WAYS[way])

    def checkpointing_forward(*args: Any, **kwargs: Any) -> Any:
        return run(*args, **kwargs)

    return checkpointing_forward
