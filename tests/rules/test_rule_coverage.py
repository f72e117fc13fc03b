"""Every rule in force is held against PyTorch: its own operator, called directly."""

from __future__ import annotations

import warnings

import pytest
import torch

from tests.rules.coverage import (
    TABLE,
    calls_of_rules,
    is_in_this_torch,
    rules_in_force,
    witnesses,
)
from tests.rules.coverage_cases import NO_CPU_KERNEL, written_cases
from tests.rules.differential import KINDS, compare, copy_arguments, run_really
from tests.rules.families import EXCEPTIONS, FAMILIES, excepted


def test_every_rule_has_a_call() -> None:
    missing = rules_in_force().keys() - calls_of_rules().keys()
    assert not missing, (
        f"no call reaches {sorted(missing)}: run `python tests/rules/coverage.py`, and write a "
        "call in coverage_cases.py for what op_db has not"
    )


def test_the_table_is_not_stale() -> None:
    rules, calls = rules_in_force(), calls_of_rules()
    written = {name for name, _, _ in written_cases() if is_in_this_torch(name)}
    assert not witnesses().keys() - rules.keys(), f"{TABLE.name} names what is no rule"
    assert not written - rules.keys(), "coverage_cases.py names what is no rule"
    assert not witnesses().keys() & written, "op_db has these: drop them from coverage_cases.py"
    assert witnesses().keys() <= calls.keys(), f"samples of {TABLE.name} no longer call these"


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_equal_those_of_the_operator(family: str) -> None:
    calls = calls_of_rules()
    found = []
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for name, rule in rules_in_force().items():
            if rule["family"] == family and name in calls:
                call = calls[name]
                mismatches = compare(name, call.operator, call.arguments, call.reference)
                found += [m for m in mismatches if m.kind not in excepted(name)]
    assert not found, "\n".join(map(str, found[:5]))


def test_calls_are_good_ones() -> None:
    """A call that PyTorch refuses says nothing of outputs."""
    refused = []
    for name, call in calls_of_rules().items():
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            arguments = copy_arguments(call.arguments, lambda tensor: False)
            run = run_really(call.reference or call.operator, arguments)
        if run.error is not None:
            refused.append(f"{name}: {run.error}")
    assert not refused, "\n".join(refused)


def test_only_what_has_no_cpu_kernel_has_a_reference() -> None:
    for name in NO_CPU_KERNEL:
        call = calls_of_rules()[name]
        run = run_really(call.operator, copy_arguments(call.arguments, lambda tensor: False))
        assert isinstance(run.error, NotImplementedError), name


def test_exceptions_are_needed() -> None:
    assert EXCEPTIONS.keys() <= rules_in_force().keys()
    for name, (kinds, reason) in EXCEPTIONS.items():
        call = calls_of_rules()[name]
        assert reason
        assert kinds <= set(KINDS)
        assert kinds == {m.kind for m in compare(name, call.operator, call.arguments)}, name
