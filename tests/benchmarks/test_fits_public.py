"""The benchmark of verdicts: what is true of a published run, and what is judged."""

from __future__ import annotations

import pytest

from benchmarks import fits_public
from benchmarks.fits_public import RIGHT, UNDECIDED, WRONG, score, truth
from benchmarks.peft_runs import GPU, Published
from nnprof.fitting.gpu import gpu_of
from nnprof.results.device_memory import NO, TOO_CLOSE, YES
from tests.benchmarks.training_steps import steps_of_training

GIB = 2**30


@pytest.mark.parametrize(
    ("gib", "true"), [(13.0, YES), (14.3, YES), (14.5, None), (16.9, None), (17.1, NO)]
)
def test_truth_on_a_t4(gib: float, true: str | None) -> None:
    """14.56 GiB are there, and the context takes 0.11 to 0.21 of them."""
    assert truth(round(gib * GIB), gpu_of("t4")) == true


@pytest.mark.parametrize(
    ("verdict", "true", "found"),
    [
        (YES, YES, RIGHT),
        (YES, NO, WRONG),
        (NO, YES, WRONG),
        (TOO_CLOSE, YES, TOO_CLOSE),
        (NO, None, UNDECIDED),
        (TOO_CLOSE, None, UNDECIDED),
    ],
)
def test_score(verdict: str, true: str | None, found: str) -> None:
    assert score(verdict, true) == found


def test_a_run_is_asked_about_on_every_card() -> None:
    profile = steps_of_training(2)
    run = Published("suite", "small", profile.memory.on(GPU).reserved, 1)
    cases = fits_public.asked(run, profile)
    assert [case["card"] for case in cases] == list(fits_public.CARDS)
    assert [bar["met"] for bar in fits_public.judge(cases)] == [True, True, None]


def test_what_is_undecided_is_not_judged() -> None:
    cases = [{"score": score, "near": True} for score in (RIGHT, RIGHT, TOO_CLOSE, UNDECIDED)]
    wrong, close, _ = fits_public.judge(cases)
    assert wrong["value"] == 0
    assert close["value"] == pytest.approx(100 / 3)
