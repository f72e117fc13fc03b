"""Networks drawn at random: a trace gives what the real forward gives, and raises where it does."""

from __future__ import annotations

import re
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

import nnprof
from tests.fuzz import MODES, Case, Observed, autocast, cases
from tests.fuzz_counter import BruteForceCounter

EXAMPLES = 200

#: What PyTorch refuses and a trace need not, or refuses otherwise: a pattern of the message, why.
REVIEWED: list[tuple[str, str]] = [
    (
        "support automatic differentiation|view and is being modified inplace|leaf Variable that",
        "autograd's own checks: no graph is made in a trace of the forward",
    ),
    (
        "NotImplementedError: .* not implemented for '",
        "a kernel looks at the first of two dtypes, where they are compared before",
    ),
    (
        r"IndexError: Dimension out of range \(expected to be in range of \[-2, 1\], but got 2",
        "baddbmm counts no dimensions in inference mode, and stumbles later",
    ),
]


def run_really(case: Case) -> tuple[Observed, BruteForceCounter]:
    observed = Observed()
    with MODES[case.mode](), autocast(case.autocast):
        case.network(observed)(*case.copied_inputs(on_meta=False))
    # In inference mode a TorchDispatchMode is handed composite operators whole.
    mode = "no_grad" if case.mode == "inference" else case.mode
    with MODES[mode](), autocast(case.autocast), BruteForceCounter() as counter:
        case.network(Observed())(*case.copied_inputs(on_meta=False))
    return observed, counter


def check(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if case.error is None:
            check_counts(case)
        else:
            check_refusal(case, case.error)


def check_counts(case: Case) -> None:
    real, counter = run_really(case)
    traced = Observed()
    network = case.network(traced)
    inputs = case.copied_inputs(on_meta=case.on_meta)
    before = [tensor.clone() for tensor in [*inputs, *network.state_dict().values()]]
    with MODES[case.mode]():
        profile = nnprof.measure(network, inputs=inputs, autocast=case.autocast)
    for number, (expected, got) in enumerate(zip(real.steps, traced.steps, strict=True)):
        assert got == expected, f"step {number}, {case.steps[number]}"
    assert traced.end == real.end
    assert traced.values == real.values
    assert profile.macs == counter.macs, (counter.by_operator, macs_by_operator(profile))
    assert profile.params == sum(p.numel() for p in network.parameters())
    for tensor, was in zip([*inputs, *network.state_dict().values()], before, strict=True):
        assert same(tensor, was), (tensor, was)


def macs_by_operator(profile: nnprof.Profile) -> dict[str, int]:
    table = profile.ops.to_pandas().groupby("op")["macs"].sum()
    return {name: int(macs) for name, macs in table.items() if macs}


def same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return one.is_meta or torch.equal(one.nan_to_num(), other.nan_to_num())


def check_refusal(case: Case, error: Exception) -> None:
    """The same exception type, or one that derives from it."""
    network = case.network(Observed())
    inputs = case.copied_inputs(on_meta=case.on_meta)
    raised = None
    try:
        with MODES[case.mode](), nnprof.trace(network, autocast=case.autocast):
            network(*inputs)
    except Exception as caught:  # is compared with what the real run raises
        raised = caught
    if isinstance(raised, type(error)):
        return
    message = f"{type(error).__name__}: {error}"
    reviewed = any(re.search(pattern, message) for pattern, _ in REVIEWED)
    assert reviewed, f"{case.steps[-1]}: {raised!r} instead of {message}"
    assert raised is None or isinstance(raised, nnprof.NnprofError)


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.long)])
def test_random_networks(times: int) -> None:
    @given(cases())
    @settings(max_examples=times * EXAMPLES, database=None, suppress_health_check=list(HealthCheck))
    def run(case: Case) -> None:
        check(case)

    run()
