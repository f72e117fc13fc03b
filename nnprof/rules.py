"""Rules added in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnprof import _core

__all__ = ["register_rule"]

CostFunction = Callable[[dict[str, Any]], dict[str, int]]


def register_rule(op: str) -> Callable[[CostFunction], CostFunction]:
    """Adds a rule for an operator that nnprof does not know, such as a custom one.

    The function gets one call as a dict: `arguments` (numbers, strings, lists, None; a tensor as a
    dict with `shape`, `strides`, `dtype`) and `outputs`. It returns a dict with any of `macs`,
    `flops` (of all kinds but the MACs', which are added: 2 each), `bytes_read`, `bytes_written`.
    What is left out is counted as for an operator without a rule. The operator's output shapes come
    from its own meta (fake) kernel.

    `@nnprof.register_rule("mylib::op")`
    """
    name = op.removesuffix(".default")

    def register(cost: CostFunction) -> CostFunction:
        _core.register_custom_cost(name, cost)
        return cost

    return register
