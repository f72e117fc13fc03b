"""Flex attention: one operator of ours in the place of torch's function.

Compiled, as it is meant to be, it is one kernel, and that is what is counted: the matrix of scores
is never in memory. Torch's own function refuses the meta device and compiles itself when called, so
for the time of a trace it gets other code.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, cast

import torch

from nnprof import _core
from nnprof.errors import BadValueError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FunctionType, ModuleType

__all__ = ["OPERATOR", "switch_on"]

#: The name among torch's higher-order operators.
OPERATOR = "flex_attention"

_MODULE = "torch.nn.attention.flex_attention"
_meant: _Meant | None = None


def switch_on() -> list[Callable[[], object]]:
    """Prepares torch's flex attention for a trace, where it is loaded; returns what undoes it."""
    global _meant
    module = sys.modules.get(_MODULE)
    if module is None:
        return []
    if _meant is None:
        _meant = _Meant(module)
        # Programs that torch.export made call the higher-order operator.
        module.flex_attention_hop.py_impl(_core.intercept_key())(_one_operator)
    function = cast("FunctionType", module.flex_attention)
    before = function.__code__, function.__kwdefaults__
    function.__kwdefaults__ = {**(before[1] or {}), "nnprof_flex_attention": _meant}
    function.__code__ = _through_nnprof.__code__

    def restore() -> None:
        function.__code__, function.__kwdefaults__ = before

    return [restore]


def _through_nnprof(*args: Any, nnprof_flex_attention: Any, **kwargs: Any) -> Any:
    return nnprof_flex_attention(*args, **kwargs)


def _one_operator(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
    return torch.ops.nnprof.flex_attention(query, key, value)


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
        out, logsumexp, max_scores = _one_operator(query, key, value)
        wanted = options.get("return_aux")
        if wanted is not None and self._aux_output is not None:
            return out, self._aux_output(
                lse=logsumexp if wanted.lse else None,
                max_scores=max_scores if wanted.max_scores else None,
            )
        return (out, logsumexp) if options.get("return_lse") else out
