"""Bytes that autograd keeps between forward and backward are those of a real run, to the byte."""

from __future__ import annotations

import itertools
import tomllib
import warnings
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
    from collections.abc import Callable, Collection, Iterator

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

#: By OpInfo (its formatted_name) and kind of difference: the reason why it may be so.
EXCEPTIONS: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("op_db_exceptions.toml").read_text()
)

#: Differences that are to go: the OpInfos with each.
CAUSES = {
    "it runs its parts in chunks": """
        nn_functional_linear_cross_entropy_chunked nn_functional_linear_cross_entropy_chunked_none
    """,
    "autograd's clone of what is overwritten is not counted": """
        abs polygamma_polygamma_n_0 polygamma_polygamma_n_1 polygamma_polygamma_n_2
        polygamma_polygamma_n_3 polygamma_polygamma_n_4
    """,
    "the CPU's kernel keeps a buffer": """
        nn_functional_logsigmoid nn_functional_multilabel_soft_margin_loss
    """,
    "there is no meta kernel of the backward": "nn_functional_multilabel_margin_loss",
    "the mean divides by real lengths that are shape-only here": "nn_functional_ctc_loss",
    "PyTorch multiplies a batch by a batch of one otherwise on the CPU": "__rmatmul__ matmul",
    "strides of the gradient": "masked_prod ormqr",
}
BUGS = {name: cause for cause, names in CAUSES.items() for name in names.split()}

EVERYDAY_SAMPLES = 2
#: Whose difference shows in later samples only.
LATE = {"__rmatmul__", "masked_prod", "matmul", "nn_functional_ctc_loss"}


def calls_of(op: Any, samples: int | None) -> Iterator[tuple[str, Callable[..., Any], Arguments]]:
    torch.manual_seed(0)
    for sample in itertools.islice(op.sample_inputs_func(op, "cpu", torch.float32, True), samples):
        yield op.name, op.op, arguments_of(sample)
        if op.inplace_variant and op.supports_inplace_autograd and not sample.broadcasts_input:

            def in_place(x: Any, *args: Any, **kwargs: Any) -> Any:
                return op.inplace_variant(x.clone(), *args, **kwargs)

            yield f"{op.name}_", in_place, arguments_of(sample)


def found_differences(op: Any, samples: int | None = None) -> dict[str, list[str]]:
    """By kind: each with the call. All arguments want a gradient together, then each alone."""
    found: dict[str, list[str]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, function, arguments in calls_of(op, samples):
            every = differentiable(arguments)
            for wanted in (every, *([i] for i in every if len(every) > 1)):
                real = run_really(function, arguments, wanted)
                traced = run_traced(function, arguments, wanted)
                for kind, text in differences(real, traced).items():
                    call = describe_call(name, *arguments)
                    found.setdefault(kind, []).append(f"[{kind}] {call}, of {wanted}: {text}")
    return found


OPERATORS = [op for op in op_db if op.supports_autograd and torch.float32 in op.dtypes]


def operator_parameters(differing: Collection[str]) -> list[Any]:
    return [
        pytest.param(
            op,
            id=op.formatted_name,
            marks=pytest.mark.xfail(strict=True, reason=BUGS[op.formatted_name])
            if op.formatted_name in differing
            else (),
        )
        for op in OPERATORS
    ]


def assert_only_excepted(op: Any, found: dict[str, list[str]]) -> None:
    allowed = EXCEPTIONS.get(op.formatted_name, {})
    wrong = [text for kind, texts in found.items() if kind not in allowed for text in texts]
    assert not wrong, f"{len(wrong)} differences, such as\n" + "\n".join(wrong[:5])


@pytest.mark.parametrize("op", operator_parameters(BUGS.keys() - LATE))
def test_operators(op: Any) -> None:
    assert_only_excepted(op, found_differences(op, EVERYDAY_SAMPLES))


@pytest.mark.long
@pytest.mark.parametrize("op", operator_parameters(BUGS))
def test_operators_with_all_samples(op: Any) -> None:
    found = found_differences(op)
    assert_only_excepted(op, found)
    stale = EXCEPTIONS.get(op.formatted_name, {}).keys() - found.keys()
    assert not stale, f"op_db_exceptions.toml: {op.formatted_name} has no {sorted(stale)}"


def test_exceptions_name_operators_and_kinds() -> None:
    names = {op.formatted_name for op in OPERATORS}
    assert EXCEPTIONS.keys() <= names
    assert BUGS.keys() <= names
    assert BUGS.keys() >= LATE
    for name, kinds in EXCEPTIONS.items():
        assert kinds.keys() <= set(KINDS), name
        assert all(kinds.values()), f"{name}: a reason is missing"
