"""Costs of operators that nnprof has no rule for: rules and formulas in Python."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch

from nnprof import _core
from nnprof.errors import InputError

__all__ = ["register_rule"]

CostFunction = Callable[[dict[str, Any]], dict[str, int]]

_COUNTS = ("macs", "flops", "bytes_read", "bytes_written")


def register_rule(op: str) -> Callable[[CostFunction], CostFunction]:
    """Adds a rule for an operator that nnprof does not know, such as a custom one.

    The function gets one call as a dict: `arguments` (numbers, strings, lists, None; a tensor as a
    dict with `shape`, `strides`, `dtype`) and `outputs`. It returns a dict with any of `macs`,
    `flops` (of all kinds but the MACs', which are added: 2 each), `bytes_read`, `bytes_written`.
    What is left out is counted as for an operator without a rule. The operator's output shapes come
    from its own meta (fake) kernel.

    An operator of a library without a rule for which a formula is registered with torch
    (`torch.utils.flop_counter.register_flop_formula`) needs none: half the formula's FLOPs are its
    MACs. A rule goes first. PyTorch's own operators cost what nnprof says, with or without formula.

    Raises InputError for a name that is no operator's, and from `measure` when the function returns
    anything else than such a dict.

    `@nnprof.register_rule("mylib::op")`
    """
    name = op.removesuffix(".default")
    if name.count("::") != 1:
        raise InputError(f"register_rule takes an operator's full name, 'mylib::op', not {op!r}")

    def register(cost: CostFunction) -> CostFunction:
        @wraps(cost)
        def checked(call: dict[str, Any]) -> dict[str, int]:
            return _checked_counts(cost(call), f"the rule of {name}")

        _core.register_custom_cost(name, checked)
        return cost

    return register


def _checked_counts(counted: Any, whose: str) -> dict[str, int]:
    if not isinstance(counted, Mapping) or not counted.keys() <= set(_COUNTS):
        raise InputError(f"{whose} must return a dict with any of {_COUNTS}, not {counted!r}")
    return {name: _checked_count(value, f"{name} of {whose}") for name, value in counted.items()}


def _checked_count(value: Any, what: str) -> int:
    try:
        count = int(value)
    except (TypeError, ValueError, OverflowError):
        count = -1
    if count < 0 or count != value:
        raise InputError(f"{what} must be a whole number and not negative, not {value!r}")
    return count


# Formulas that are registered with torch.

#: Whose operators are PyTorch's: what one costs must not depend on what else is imported.
_OF_TORCH = frozenset(
    ("aten", "inductor", "mkldnn", "onednn", "prim", "prims", "quantized", "rngprims", "torch_attn")
)


def _formula_of(op: str) -> CostFunction | None:
    """The cost that `torch.utils.flop_counter.register_flop_formula` gives an operator, or None.

    A formula can only be there when that module is loaded, so it is not imported for this.
    """
    flop_counter = sys.modules.get("torch.utils.flop_counter")
    if flop_counter is None:
        return None
    namespace, _, name = op.partition("::")
    if namespace in _OF_TORCH:
        return None
    name, _, overload = name.partition(".")
    packet = getattr(getattr(torch.ops, namespace), name, None)
    formula = flop_counter.flop_registry.get(packet)
    if formula is None:
        return None
    schema = getattr(packet, overload or "default")._schema

    def cost(call: dict[str, Any]) -> dict[str, int]:
        args, kwargs = _as_called(schema, call["arguments"])
        try:
            flops = formula(*args, **kwargs, out_val=_as_returned(call["outputs"]))
        except Exception as error:
            error.add_note(f"nnprof: raised by the flop formula that is registered for {op}")
            raise
        flops = _checked_count(flops, f"what the flop formula of {op} returns")
        # FlopCounterMode's numbers are of contractions; an odd one has an operation beside them.
        return {"macs": flops // 2, "flops": flops % 2}

    return cost


def _as_called(schema: Any, values: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments as a TorchDispatchMode gets them: without defaults."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    trailing = 0  # positional ones at the end that are as the schema has them by default
    for argument, value in zip(schema.arguments, values, strict=True):
        default = argument.has_default_value() and value == argument.default_value
        if not argument.kwarg_only:
            args.append(_restored(value))
            trailing = trailing + 1 if default else 0
        elif not default:
            kwargs[argument.name] = _restored(value)
    return args[: len(args) - trailing], kwargs


def _as_returned(outputs: list[Any]) -> Any:
    restored = [_restored(output) for output in outputs]
    return restored[0] if len(restored) == 1 else tuple(restored)


#: How C++ names a dtype that has another name in lower case in Python.
_DTYPES = {
    "Byte": torch.uint8,
    "Char": torch.int8,
    "ComplexHalf": torch.complex32,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}


def _restored(value: Any) -> Any:
    """A recorded argument as the operator got it, tensors on the meta device."""
    if isinstance(value, list):
        return [_restored(item) for item in value]
    if not isinstance(value, dict):
        return value
    dtype = _DTYPES.get(value["dtype"]) or getattr(torch, value["dtype"].lower())
    return torch.empty_strided(value["shape"], value["strides"], dtype=dtype, device="meta")


_core.set_formula_finder(_formula_of)
