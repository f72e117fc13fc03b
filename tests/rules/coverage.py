"""Which calls reach each rule: calls of its very operator, caught while PyTorch runs others.

`python tests/rules/coverage.py` writes the table anew.

An operator that a sample calls reaches PyTorch's kernels by way of others (`layer_norm` by way of
`native_layer_norm`). Here each of them is caught with its arguments, so that a rule can be compared
with its own kernel, directly.
"""

from __future__ import annotations

import functools
import itertools
import json
import sys
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_leaves, tree_map

sys.path.insert(0, str(Path(__file__).parents[2]))

from nnprof import _core
from tests.helpers.versions import TORCH
from tests.rules.coverage_cases import NO_CPU_KERNEL, written_cases
from tests.rules.differential import (
    Arguments,
    arguments_of,
    copy_arguments,
    seeding_the_cpu_alone,
)
from tests.rules.quantized_cases import ONEDNN_KERNELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Not the key that traces use.
_KEY = torch._C._dispatch_key_parse("TESTING_ONLY_GenericMode")
_watchers: list[Callable[[Any, Arguments], None]] = []


@functools.cache
def _library() -> torch.library.Library:
    library = torch.library.Library("_", "IMPL")
    key = "TESTING_ONLY_GenericMode"
    library.fallback(_watch, key, with_keyset=True)
    return library


def _watch(keyset: Any, operator: Any, *args: Any, **kwargs: Any) -> Any:
    args, kwargs = _with_tensors(operator, args, kwargs)
    with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(_KEY)):
        for watcher in _watchers:
            watcher(operator, (args, kwargs))
    return operator.redispatch(keyset.remove(_KEY), *args, **kwargs)


def _with_tensors(operator: Any, args: Any, kwargs: Any) -> Arguments:
    """With tensors where the operator takes them: numbers that stand for one arrive as numbers."""

    def convert(number: int, value: Any) -> Any:
        if not isinstance(value, (bool, int, float, complex)):
            return value
        wanted = str(operator._schema.arguments[number].type)
        return torch.tensor(value) if wanted in ("Tensor", "Optional[Tensor]") else value

    names = [argument.name for argument in operator._schema.arguments]
    return (
        tuple(convert(number, value) for number, value in enumerate(args)),
        {name: convert(names.index(name), value) for name, value in kwargs.items()},
    )


@contextmanager
def watching(watcher: Callable[[Any, Arguments], None]) -> Iterator[None]:
    """Shows ``watcher`` every call inside, with its arguments as they are before the call."""
    _library()
    _watchers.append(watcher)
    try:
        with torch._C._IncludeDispatchKeyGuard(_KEY):
            yield
    finally:
        _watchers.remove(watcher)


@dataclass(frozen=True)
class Call:
    """One call of one overload of an operator."""

    operator: Any
    arguments: Arguments
    reference: Callable[..., Any] | None = None  # where the operator has no CPU kernel

    @property
    def name(self) -> str:
        return str(self.operator.name())


def calls_of(function: Callable[..., Any], arguments: Arguments) -> list[Call]:
    """Every call that PyTorch makes on the way, until it raises."""
    found: list[Call] = []

    def watcher(operator: Any, caught: Arguments) -> None:
        found.append(Call(operator, copy_arguments(caught, lambda tensor: False)))

    args, kwargs = copy_arguments(arguments, lambda tensor: False)
    # A sample may be an error: what came before it was called.
    with warnings.catch_warnings(), watching(watcher), suppress(Exception):
        warnings.simplefilter("ignore")
        function(*args, **kwargs)
    return found


def with_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Calls the function and then for the gradients of its floating arguments."""

    def forward_and_backward(*args: Any, **kwargs: Any) -> None:
        args, kwargs = tree_map(_leaf, (args, kwargs))
        with torch.enable_grad():
            outputs = [out for out in tree_leaves(function(*args, **kwargs)) if _has_gradient(out)]
            torch.autograd.backward(outputs, [torch.ones_like(out) for out in outputs])

    return forward_and_backward


def _leaf(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().requires_grad_()
    return value


def _has_gradient(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


# A call of every rule -----------------------------------------------------------------------------

#: By rule: the sample of op_db on whose way PyTorch calls its operator, as OpInfo, dtype, number
#: and way (see `_ways`). Each torch has other samples: `python tests/rules/coverage.py` writes the
#: table of the one that runs.
TABLES = Path(__file__).with_name("coverage_tables")
TABLE = TABLES / "{}.{}.json".format(*TORCH)
Witness = tuple[str, str, int, str]


@functools.cache
def witnesses() -> dict[str, Witness]:
    """Of a torch without a table: what another one's says."""
    table = TABLE if TABLE.exists() else max(TABLES.glob("*.json"))
    return {rule: tuple(witness) for rule, witness in json.loads(table.read_text()).items()}


def rules_in_force() -> dict[str, dict[str, Any]]:
    """Without those of collectives, which want a group of ranks: see tests/distributed."""
    return {
        rule["op"]: rule
        for rule in _core.rules()
        if rule["status"] == "ruled" and rule["family"] != "collectives"
    }


def operator_named(name: str) -> Any:
    """`aten::add.Tensor` -> torch.ops.aten.add.Tensor."""
    namespace, rest = name.split("::")
    function, _, overload = rest.partition(".")
    return getattr(getattr(getattr(torch.ops, namespace), function), overload or "default")


def is_in_this_torch(name: str) -> bool:
    """Rules for operators of other versions wait for them."""
    try:
        operator_named(name)
    except AttributeError:
        return False
    return True


@functools.cache
def calls_of_rules() -> dict[str, Call]:
    """One call of every rule's operator: of op_db where it has one, then those written out, and
    those of in-place and out= siblings made from their functional ones."""
    references = NO_CPU_KERNEL | ONEDNN_KERNELS
    calls = {
        name: Call(operator_named(name), (args, kwargs), references.get(name))
        for name, args, kwargs in written_cases()
        if is_in_this_torch(name)
    }
    calls |= _witnessed_calls()
    for name, rule in rules_in_force().items():
        if name not in calls and rule["derived"]:
            sibling = _sibling_call(name, calls)
            if sibling is not None:
                calls[name] = sibling
    return calls


def _witnessed_calls() -> dict[str, Call]:
    """The calls that the table tells of. What its samples no longer call is left out."""
    wanted: dict[tuple[str, str], dict[tuple[int, str], list[str]]] = {}
    for rule, (op, dtype, number, way) in witnesses().items():
        wanted.setdefault((op, dtype), {}).setdefault((number, way), []).append(rule)
    found: dict[str, Call] = {}
    ops = {op.formatted_name: op for op in op_db}
    for (name, dtype), places in wanted.items():
        if name not in ops:
            continue
        samples = _samples(ops[name], dtype, 1 + max(number for number, _ in places))
        for (number, way), rules in places.items():
            if number >= len(samples):
                continue
            function = _ways(ops[name])[way]
            for call in calls_of(function, arguments_of(samples[number])):
                if call.name in rules:
                    found.setdefault(call.name, call)
    return found


def _samples(op: Any, dtype: str, limit: int) -> list[Any]:
    with warnings.catch_warnings(), torch.no_grad(), seeding_the_cpu_alone():
        torch.manual_seed(0)
        warnings.simplefilter("ignore")
        # Not op.sample_inputs: that notes the stack of every sample, which takes the longest.
        samples = op.sample_inputs_func(op, "cpu", getattr(torch, dtype), False)
        return list(itertools.islice(samples, limit))


def _ways(op: Any) -> dict[str, Callable[..., Any]]:
    ways = {"function": op.op, "gradient": with_gradient(op.op)}
    if op.inplace_variant is not None:
        ways["in_place"] = op.inplace_variant
    return ways


def _sibling_call(name: str, calls: dict[str, Call]) -> Call | None:
    """A call of the in-place or out= operator ``name``, from one of its functional sibling."""
    operator = operator_named(name)
    outs = [argument for argument in operator._schema.arguments if argument.is_out]
    function = name.partition(".")[0]
    siblings = (function, function.removesuffix("_"))
    of_that_name = (call for other, call in calls.items() if other.partition(".")[0] in siblings)
    base = next((call for call in of_that_name if _is_functional(call.operator, operator)), None)
    if base is None:
        return None
    results = _results(base)
    if not outs:
        return Call(operator, _written_to(base, results[0]))
    if str(outs[0].type) == "List[Tensor]":
        results = [results]
    args, kwargs = base.arguments
    names = [out.name for out in outs]
    # Of more results, the others are written in place.
    arguments = args, kwargs | dict(zip(names, results, strict=False))
    return Call(operator, arguments, base.reference and _writing(base.reference, names))


def _is_functional(base: Any, operator: Any) -> bool:
    """Whether ``operator`` is ``base`` in place, or with outputs to write to."""
    names = (base._schema.name, base._schema.name + "_")
    if operator._schema.name not in names:
        return False
    before = [(a.name, str(a.type)) for a in base._schema.arguments]
    return before == [(a.name, str(a.type)) for a in operator._schema.arguments if not a.is_out]


def _written_to(call: Call, result: Tensor) -> Arguments:
    """Its arguments, the first as large as what will be written to it."""
    (first, *others), kwargs = call.arguments
    if not isinstance(first, Tensor):
        return call.arguments  # lists, each tensor as large as its result
    if first.shape != result.shape or 0 in first.stride():
        first = first.expand(result.shape).clone(memory_format=torch.contiguous_format)
    return (first, *others), kwargs


def _results(call: Call) -> list[Any]:
    """Tensors such as the call returns."""
    args, kwargs = copy_arguments(call.arguments, lambda tensor: False)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        outputs = tree_leaves((call.reference or call.operator)(*args, **kwargs))
    return [torch.empty_like(out, device="cpu") for out in outputs if isinstance(out, Tensor)]


def _writing(reference: Callable[..., Any], outs: list[str]) -> Callable[..., Any]:
    """What `reference` returns, written to the arguments ``outs``."""

    def write(*args: Any, **kwargs: Any) -> Any:
        targets = [kwargs.pop(name) for name in outs]
        results = tree_leaves(reference(*args, **kwargs))
        for target, result in zip(targets, results, strict=True):
            target.resize_(result.shape)
        return targets

    return write


# The table, anew ----------------------------------------------------------------------------------

SAMPLES = 8  # of each OpInfo and dtype that are looked at
DTYPES = ("float32", "int64", "bool", "complex64")


def find_witnesses(wanted: set[str]) -> dict[str, Witness]:
    """For each of these rules that has one, the sample that suits best."""
    best: dict[str, tuple[tuple[Any, ...], Witness]] = {}
    for op in op_db:
        for dtype in DTYPES:
            if getattr(torch, dtype) not in op.dtypes:
                continue
            for number, sample in enumerate(_samples(op, dtype, SAMPLES)):
                for way, function in _ways(op).items():
                    if way == "gradient" and (dtype != "float32" or not op.supports_autograd):
                        continue
                    if way == "in_place" and sample.broadcasts_input:
                        continue
                    witness = op.formatted_name, dtype, number, way
                    for call in calls_of(function, arguments_of(sample)):
                        if call.name not in wanted:
                            continue
                        rank = (*_unfitness(op, call), witness)
                        if call.name not in best or rank < best[call.name][0]:
                            best[call.name] = rank, witness
    return {rule: witness for rule, (_, witness) in best.items()}


def _unfitness(op: Any, call: Call) -> tuple[Any, ...]:
    """A sample of the very operator is best, with two dimensions and more, and elements, few."""
    function = call.name.split("::")[1].split(".")[0]
    tensors = [leaf for leaf in tree_leaves(call.arguments) if isinstance(leaf, Tensor)]
    floating = bool(tensors) and tensors[0].is_floating_point()
    shaped = bool(tensors) and tensors[0].dim() > 1
    sizes = [tensor.numel() for tensor in tensors]
    lists = [argument for argument in call.arguments[0] if isinstance(argument, (list, tuple))]
    masked = any(item is False for argument in lists for item in argument)  # gradients left out
    other = op.aten_name != function
    return (0 in sizes, not floating, not shaped, masked, other, sum(sizes))


def main() -> None:
    """Drops what is stale, and searches op_db for what is missing."""
    rules, calls = rules_in_force(), _witnessed_calls()
    kept = {rule: w for rule, w in witnesses().items() if rule in calls and rule in rules}
    written = {name for name, _, _ in written_cases()}
    missing = {name for name, rule in rules.items() if not rule["derived"]} - kept.keys() - written
    if missing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kept |= find_witnesses(missing)
    lines = [f"  {json.dumps(rule)}: {json.dumps(kept[rule])}" for rule in sorted(kept)]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    found = missing & kept.keys()
    sys.stdout.write(f"{len(kept)} rules, {len(found)} new: {', '.join(sorted(found))}\n")
    sys.stdout.write(f"not in op_db: {', '.join(sorted(missing - found))}\n")


if __name__ == "__main__":
    main()
