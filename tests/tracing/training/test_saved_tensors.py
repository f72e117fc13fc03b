"""Bytes that autograd keeps between forward and backward are those of a real run, to the byte."""

from __future__ import annotations

import itertools
import tomllib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.testing._internal.common_methods_invocations import op_db

import nnprof
from benchmarks.training_models import TRAINING_MODELS, TrainingModel, scalar_loss
from tests.rules.differential import Arguments, arguments_of, describe_call
from tests.tracing.training.operators import (
    KINDS,
    differences,
    differentiable,
    run_really,
    run_traced,
)
from tests.tracing.training.real import saved_by_autograd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Whole models -------------------------------------------------------------------------------------

SLOW = {"vit_b_16", "bert", "gpt2"}


MODELS = [
    pytest.param(case, id=case.name, marks=pytest.mark.long if case.name in SLOW else ())
    for case in TRAINING_MODELS
]


@pytest.mark.parametrize("case", MODELS)
def test_models_keep_what_a_real_step_keeps(case: TrainingModel) -> None:
    model, x = case.make("cpu").train(), case.make_input("cpu")
    with saved_by_autograd() as kept:
        scalar_loss(model(x))
    with nnprof.trace(model, backward=True) as running:
        scalar_loss(model(x)).backward()
    assert running.result.ops()["saved_bytes"].sum() == sum(kept)


# Every operator -----------------------------------------------------------------------------------

#: By OpInfo (its formatted_name) and kind of difference: the reason why it may be so, and of which
#: samples: by their number, with an underscore for the call in place.
EXCEPTIONS: dict[str, dict[str, dict[str, Any]]] = tomllib.loads(
    Path(__file__).with_name("op_db_exceptions.toml").read_text()
)

EVERYDAY_SAMPLES = 2


@dataclass(frozen=True)
class Found:
    """A difference of one call."""

    kind: str
    sample: str
    text: str


def calls_of(op: Any, samples: int | None) -> Iterator[tuple[str, Callable[..., Any], Arguments]]:
    torch.manual_seed(0)
    given = op.sample_inputs_func(op, "cpu", torch.float32, True)
    for number, sample in enumerate(itertools.islice(given, samples)):
        yield str(number), op.op, arguments_of(sample)
        if op.inplace_variant and op.supports_inplace_autograd and not sample.broadcasts_input:

            def in_place(x: Any, *args: Any, **kwargs: Any) -> Any:
                return op.inplace_variant(x.clone(), *args, **kwargs)

            yield f"{number}_", in_place, arguments_of(sample)


def found_differences(op: Any, samples: int | None = None) -> list[Found]:
    """All arguments want a gradient together, then each alone."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sample, function, arguments in calls_of(op, samples):
            every = differentiable(arguments)
            for wanted in (every, *([i] for i in every if len(every) > 1)):
                real = run_really(function, arguments, wanted)
                traced = run_traced(function, arguments, wanted)
                for kind, text in differences(real, traced).items():
                    call = describe_call(op.name, *arguments)
                    text = f"[{kind}] {sample}: {call}, of {wanted}: {text}"
                    found.append(Found(kind, sample, text))
    return found


OPERATORS = [op for op in op_db if op.supports_autograd and torch.float32 in op.dtypes]
by_operator = pytest.mark.parametrize(
    "op", [pytest.param(op, id=op.formatted_name) for op in OPERATORS]
)


def excepted(name: str) -> set[tuple[str, str]]:
    return {
        (kind, sample)
        for kind, allowed in EXCEPTIONS.get(name, {}).items()
        for sample in allowed["samples"]
    }


def assert_only_excepted(op: Any, found: list[Found], samples: int | None = None) -> None:
    allowed, seen = excepted(op.formatted_name), {(one.kind, one.sample) for one in found}
    wrong = [one.text for one in found if (one.kind, one.sample) not in allowed]
    assert not wrong, f"{len(wrong)} differences, such as\n" + "\n".join(wrong[:5])
    run = {pair for pair in allowed if samples is None or int(pair[1].rstrip("_")) < samples}
    assert not run - seen, f"op_db_exceptions.toml: these differ no more: {sorted(run - seen)}"


@by_operator
def test_operators(op: Any) -> None:
    assert_only_excepted(op, found_differences(op, EVERYDAY_SAMPLES), EVERYDAY_SAMPLES)


@pytest.mark.long
@by_operator
def test_operators_with_all_samples(op: Any) -> None:
    assert_only_excepted(op, found_differences(op))


def test_exceptions_name_operators_and_kinds() -> None:
    assert EXCEPTIONS.keys() <= {op.formatted_name for op in OPERATORS}
    for name, kinds in EXCEPTIONS.items():
        assert kinds.keys() <= set(KINDS), name
        assert all(allowed["reason"] for allowed in kinds.values()), f"{name}: why?"
