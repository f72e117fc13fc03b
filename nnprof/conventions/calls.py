"""What a convention sees of one recorded call, and what of it can be counted.

The counts are small functions of shapes: `macs`, elements of the first input or of the output, and
what single operators need (norms, recurrent layers). The tables in `tables.py` put them together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnprof.results.records import TraceData

    Count = Callable[["Call"], int]

__all__ = ["Call", "Shape", "calls_of"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operator, or several equal ones (`times`)."""

    op: str  #: "add" for aten::add_.Tensor; with its namespace where that is not aten's
    macs: int
    flops: int
    inputs: tuple[Shape, ...]  #: of the tensors that were given; absent ones leave no gap
    outputs: tuple[Shape, ...]
    module: str  #: class of the module that made the call: "nn.Conv2d", "my_package.net.Block"
    parents: frozenset[str]  #: classes of the modules around that one
    owns_params: bool  #: the module has parameters of its own
    batch: int  #: leading size of the model's first input
    times: int = 1


def calls_of(data: TraceData) -> list[Call]:
    """The recorded calls of the forward, equal ones joined."""
    layers = data.layers()
    classes = [_class_name(row) for row in layers]
    parents = _parents(layers, classes)
    batch = _batch(layers)
    ops = data.ops()
    rows = zip(ops["signature"], ops["scope"], ops["phase"], strict=True)
    times: Counter[tuple[int, str, frozenset[str], bool]] = Counter()
    first: dict[int, int] = {}  # signature -> an index among the calls
    for index, (signature, scope, phase) in enumerate(rows):
        if phase == "forward":
            first.setdefault(int(signature), index)
            owns_params = layers[scope]["own_params"] > 0
            times[int(signature), classes[scope], parents[scope], owns_params] += 1
    return [
        Call(
            op=_plain_name(ops["op"][first[signature]]),
            macs=int(ops["macs"][first[signature]]),
            flops=int(ops["flops"][first[signature]]),
            inputs=_shapes(ops["input_shapes"][first[signature]]),
            outputs=_shapes(ops["output_shapes"][first[signature]]),
            module=module,
            parents=around,
            owns_params=owns_params,
            batch=batch,
            times=count,
        )
        for (signature, module, around, owns_params), count in times.items()
    ]


def _plain_name(op: str) -> str:
    """ "add" for aten::add_.Tensor: in-place and overloads cost the same."""
    namespace, _, name = op.rpartition("::")
    plain = name.partition(".")[0].removesuffix("_")
    return plain if namespace == "aten" else f"{namespace}::{plain}"


def _shapes(shapes: Sequence[Sequence[int]]) -> tuple[Shape, ...]:
    return tuple(tuple(int(size) for size in shape) for shape in shapes)


def _class_name(row: dict[str, Any]) -> str:
    """ "nn.Linear" for PyTorch's own, "timm.layers.norm.LayerNorm" for one that is called the same.

    Profiles saved by versions that did not record where a class comes from are taken at the name.
    """
    module = row.get("type_module") or "torch.nn.modules"
    place = "nn" if module.startswith("torch.nn.modules") else module
    return f"{place}.{row['type']}"


def _parents(layers: list[dict[str, Any]], classes: list[str]) -> list[frozenset[str]]:
    """Per layer, the classes of the modules around it."""
    found: list[frozenset[str]] = []
    for row in layers:
        parent = row["parent"]
        found.append(frozenset() if parent < 0 else found[parent] | {classes[parent]})
    return found


def _batch(layers: list[dict[str, Any]]) -> int:
    for row in layers:
        for shape in row["input_shapes"]:
            return int(shape[0]) if shape else 1
    return 1


# What can be counted of a call.


def nothing(call: Call) -> int:
    """Nothing at all."""
    return 0


def macs(call: Call) -> int:
    """Multiply-accumulates."""
    return call.macs


def twice_macs(call: Call) -> int:
    """A multiply and an add for each MAC."""
    return 2 * call.macs


def times(factor: int, count: Count) -> Count:
    """`factor` for each of what `count` counts."""
    return lambda call: factor * count(call)


def plus(*counts: Count) -> Count:
    """The sum of several counts."""
    return lambda call: sum(count(call) for count in counts)


def inputs(call: Call) -> int:
    """Elements of the first input."""
    return prod(call.inputs[0])


def outputs(call: Call) -> int:
    """Elements of the first output."""
    return prod(call.outputs[0])


def bias(call: Call) -> int:
    """An add an output where there is a bias: the third tensor of a linear or convolution."""
    return outputs(call) if len(call.inputs) > 2 else 0


def of_matrices(count: Count) -> Count:
    """`count`, but nothing where matmul becomes a product with a vector (mv, dot)."""
    return lambda call: 0 if _by_vector(call) else count(call)


def _by_vector(call: Call) -> bool:
    # (k) x (k, m) is a matrix product of one row; (n, k) x (k) and (k) x (..., k, m) are not.
    first, second = call.inputs[:2]
    return len(second) == 1 or (len(first) == 1 and len(second) != 2)


def rows_by_columns(call: Call) -> int:
    """Elements of the first operand x columns of the second: MACs, unless the first broadcasts."""
    first, second = call.inputs[:2]
    return prod(first) * second[-1]


def not_broadcast(call: Call) -> int:
    """What `rows_by_columns` falls short of the MACs (negative), or goes beyond them."""
    return rows_by_columns(call) - call.macs


def scores(call: Call) -> int:
    """Elements of the score matrices of an attention: queries x keys, for each head."""
    query, key = call.inputs[:2]
    return prod(query[:-1]) * key[-2]


def norm(affine: int, plain: int) -> Count:
    """So many an element of the input, with and without a weight."""
    return lambda call: (affine if _is_affine(call) else plain) * inputs(call)


def batch_norm(affine: int, plain: int, training: Count) -> Count:
    """As `norm` where the running statistics are used; `training` where they are computed."""
    in_eval = norm(affine, plain)
    return lambda call: training(call) if _computes_statistics(call) else in_eval(call)


def _is_affine(call: Call) -> bool:
    # input, weight?, bias?, mean?, var?: of three, two are weight and bias or mean and variance.
    if call.op in ("batch_norm", "instance_norm") and len(call.inputs) == 3:
        return call.owns_params
    return len(call.inputs) > 1


def _computes_statistics(call: Call) -> bool:
    # Ours: 2 an element and 5 a channel in evaluation, 5 or 6 and at least 7 in training.
    channels = call.inputs[0][1]
    return call.flops > 4 * inputs(call) + 6 * channels


def softmax_by_rows(call: Call) -> int:
    """3 an element, less 1 a row of the last dimension: exp, add and divide, one add fewer."""
    return 3 * outputs(call) - outputs(call) // call.outputs[0][-1]


def at_output_size(call: Call) -> int:
    """What a transposed convolution gains if its MACs are taken an output, not an input position.

    The output's positions x all channels x kernel, less the MACs.
    """
    before, after = prod(call.inputs[0][2:]), prod(call.outputs[0][2:])
    return call.macs * after // before - call.macs


def recurrent(gates: int, gate: int, gate_bias: int, cell: int) -> Count:
    """Elementwise work of a recurrent layer, for each hidden element of each step and layer.

    For each of the `gates`: `gate`, and `gate_bias` with biases; `cell` besides.
    """

    def count(call: Call) -> int:
        matrices = [shape for shape in _weights(call) if len(shape) == 2]
        hidden = matrices[1][1]
        steps = prod(call.inputs[0][:-1])
        layers = len(matrices) // 2  # of both directions
        biased = any(len(shape) == 1 for shape in call.inputs)
        each = gates * (gate + gate_bias * biased) + cell
        return steps * hidden * layers * each

    return count


def _weights(call: Call) -> tuple[Shape, ...]:
    """Input weights and recurrent weights in turn, and the biases: what follows the states."""
    if not call.op.endswith("_cell"):  # its states, of layers, have three dimensions
        return call.inputs[1:]
    return call.inputs[3 if call.op.startswith("lstm") else 2 :]
