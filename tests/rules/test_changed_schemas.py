"""A torch, or a library, whose operator has changed: its rule is left out, nothing is guessed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.helpers.alone import Starter

#: Defines an operator for which there is a rule, with `schema`, and another one that has none.
SCRIPT = """
import json, sys, torch, nnprof
from nnprof import _core

def product(a, b, more=False):
    return a.new_empty((a.shape[0], b.shape[0]), dtype=torch.int32)

NAME = "int8_linear_matmul"
for namespace in ("bitsandbytes", "mylib"):
    library = torch.library.Library(namespace, "FRAGMENT")
    library.define(NAME + sys.argv[1])
    for device in ("Meta", "CPU"):
        library.impl(NAME, product, device)
    globals()[namespace] = library  # kept

def profile(namespace):
    operator = getattr(getattr(torch.ops, namespace), NAME)
    a, b = (torch.empty(size, 8, dtype=torch.int8, device="meta") for size in (4, 6))
    return nnprof.measure(lambda a, b: operator(a, b), inputs=(a, b))

found = [profile(namespace) for namespace in ("bitsandbytes", "mylib")]
rule = next(rule for rule in _core.rules() if rule["op"] == f"bitsandbytes::{NAME}")
print(json.dumps({
    "generic": list(found[0].coverage.generic),
    "costs": [[one.macs, one.flops, one.int_ops, one.bytes] for one in found],
    "reason": rule["reason"],
    "shapes": [one.ops["output_shapes"][0] for one in found],
}))
"""


def outcome(run_alone: Starter, schema: str) -> dict[str, object]:
    run = run_alone(SCRIPT, schema)
    run.check_returncode()
    result: dict[str, object] = json.loads(run.stdout)
    return result


def test_the_rule_of_the_schema_that_is_known(run_alone: Starter) -> None:
    found = outcome(run_alone, "(Tensor A, Tensor B) -> Tensor")
    costs = found["costs"]
    assert isinstance(costs, list)
    assert found["generic"] == []
    assert found["reason"] == ""
    assert costs[0][0] == 4 * 6 * 8
    assert found["shapes"] == [[[4, 6]], [[4, 6]]]
    assert costs[0] != costs[1]


@pytest.mark.parametrize(
    "schema",
    [
        "(Tensor A, Tensor B, bool more=False) -> Tensor",
        "(Tensor first, Tensor B) -> Tensor",
        "(Tensor A, Tensor? B) -> Tensor",
    ],
)
def test_another_schema_is_priced_as_any_operator_without_a_rule(
    run_alone: Starter, schema: str
) -> None:
    found = outcome(run_alone, schema)
    costs = found["costs"]
    assert isinstance(costs, list)
    assert found["generic"] == ["bitsandbytes::int8_linear_matmul"]
    assert found["reason"] == f"this torch has bitsandbytes::int8_linear_matmul{schema}"
    assert costs[0] == costs[1]
