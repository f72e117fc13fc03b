"""Flex attention: one operator of ours in the place of torch's function.

Compiled, as it is meant to be, it is one kernel, and that is what is counted: the matrix of scores
is never in memory. Torch's own function refuses the meta device and compiles itself when called, so
for the time of a trace it gets other code.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

import torch

from nnprof import _core
from nnprof.errors import BadValueError
from nnprof.tracing.patches.block_masks import UNKNOWN, Pairs, note_made_of_function, pairs_of
from nnprof.tracing.patches.other_code import copy_of, replace

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ["OPERATOR", "switch_on"]

#: The name among torch's higher-order operators.
OPERATOR = "flex_attention"

_MODULE = "torch.nn.attention.flex_attention"
_known = False  # what torch has loaded of it


def switch_on() -> list[Callable[[], object]]:
    """Prepares torch's flex attention for a trace, where it is loaded; returns what undoes it."""
    global _known
    module = sys.modules.get(_MODULE)
    if module is not None and not _known:
        _known = True
        replace(module.flex_attention, _Meant(module))
        replace(module.create_block_mask, _uncompiled(module.create_block_mask))
        # Programs that torch.export made call the higher-order operator.
        module.flex_attention_hop.py_impl(_core.intercept_key())(_exported)
    return []


def _uncompiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The maker of block masks as it is, but that it compiles nothing in a trace."""
    original = copy_of(function)

    def make(*args: Any, **kwargs: Any) -> Any:
        if _core.tracing():
            kwargs["_compile"] = False
        mask = original(*args, **kwargs)
        note_made_of_function(mask)
        return mask

    return make


def _exported(query: Any, key: Any, value: Any, _: Any, block_mask: Any, *__: Any) -> Any:
    # A block mask is a tuple here, that of one block (of any size) for no mask.
    nothing_hidden = tuple(block_mask[:2]) == (1, 1)
    return _one_operator(query, key, value, None if nothing_hidden else UNKNOWN)


def _one_operator(query: Any, key: Any, value: Any, pairs: Pairs | None) -> Any:
    """`pairs`: those that a block mask leaves, None without one."""
    if pairs is None:
        batch, heads, queries, _ = query.shape
        pairs = Pairs(*[batch * heads * queries * key.shape[2]] * 2)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value)):
        return _WithGradient.apply(query, key, value, pairs)  # type: ignore[no-untyped-call]
    return torch.ops.nnprof.flex_attention(query, key, value, *pairs)


class _WithGradient(torch.autograd.Function):
    """The kernel that torch.compile writes for the backward, which makes the scores again."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, pairs: Pairs) -> Any:
        out, logsumexp, max_scores = torch.ops.nnprof.flex_attention(query, key, value, *pairs)
        ctx.save_for_backward(query, key, value, out, logsumexp)
        ctx.mark_non_differentiable(max_scores)
        ctx.pairs = pairs
        return out, logsumexp, max_scores

    @staticmethod
    def backward(ctx: Any, grad_out: Any, *_: Any) -> Any:
        gradients = torch.ops.nnprof.flex_attention_backward(
            grad_out, *ctx.saved_tensors, *ctx.pairs
        )
        return *gradients, None


class _Meant:
    """What a call of torch's function returns, with its signature in the running torch."""

    def __init__(self, module: ModuleType) -> None:
        self._signature = inspect.signature(module.flex_attention)
        self._aux_output = getattr(module, "AuxOutput", None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        options = self._signature.bind(*args, **kwargs).arguments
        query, key, value = (options[name] for name in ("query", "key", "value"))
        if not options.get("enable_gqa") and query.size(-3) != key.size(-3):
            raise BadValueError(
                f"Expect query and key/value to have the same number of heads but got "
                f"{query.size(-3)} and {key.size(-3)}. Try setting enable_gqa=True for GQA."
            )
        mask, pairs = options.get("block_mask"), None
        if mask is not None:
            # Expanded keys and values are for all samples alike.
            batch, heads, queries, _ = query.shape
            pairs = pairs_of(mask, batch, heads, queries, key.shape[2])
        out, logsumexp, max_scores = _one_operator(query, key, value, pairs)
        wanted = options.get("return_aux")
        if wanted is not None and self._aux_output is not None:
            return out, self._aux_output(
                lse=logsumexp if wanted.lse else None,
                max_scores=max_scores if wanted.max_scores else None,
            )
        return (out, logsumexp) if options.get("return_lse") else out
