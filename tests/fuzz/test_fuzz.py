"""Networks drawn at random: a trace gives what the real forward gives, and raises where it does."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn

import nnprof
from tests.fuzz.counter import BruteForceCounter
from tests.fuzz.drawing import MODES, Case, Observed
from tests.fuzz.networks import autocast, cases

EXAMPLES = 200

#: What PyTorch refuses and a trace need not, or refuses otherwise: a pattern of the step and the
#: message, why.
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
    (
        r"^LSTM\(.*could not create a primitive descriptor for the LSTM",
        "oneDNN's LSTM in bfloat16 wants a CPU with AVX-512",
    ),
    (
        "^out= of .*RuntimeError: output with shape .* doesn't match the broadcast shape",
        "an out= that is an input too is not resized by PyTorch, and is by us",
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
    message = f"{case.steps[-1]}: {type(error).__name__}: {error}"
    reviewed = any(re.search(pattern, message) for pattern, _ in REVIEWED)
    assert reviewed, f"{raised!r} instead of {message}"
    assert raised is None or isinstance(raised, nnprof.NnprofError)


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.long)])
def test_random_networks(times: int) -> None:
    @given(cases())
    @settings(max_examples=times * EXAMPLES, database=None, suppress_health_check=list(HealthCheck))
    def run(case: Case) -> None:
        check(case)

    run()


# What was once wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(2), nn.InstanceNorm1d(2, track_running_stats=True)]
)
def test_running_statistics_of_values_that_are_known_stay(layer: Any) -> None:
    """An input so small that it could really be computed with."""
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    nnprof.measure(layer.train(), inputs=torch.randn(1, 2, 3))
    assert all(torch.equal(before[name], now) for name, now in layer.state_dict().items())


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.transpose_(0, 1),
        lambda x: x.squeeze_(),
        lambda x: x.resize_(5, 6),
        lambda x: x.set_(torch.ones(3)),
        lambda x: torch.add(x, torch.ones(3, 4), out=x.unsqueeze_(0)),
    ],
)
@pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")
def test_sizes_of_a_meta_input_stay(change: Any) -> None:
    x = torch.empty(1, 4, device="meta")
    storage = x.untyped_storage()
    nnprof.measure(change, inputs=x)
    assert (x.shape, x.stride(), storage.nbytes()) == ((1, 4), (4, 1), 16)
    assert x.untyped_storage()._cdata == storage._cdata


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_autocast_of_recurrent_layers(kind: Any, packed: bool) -> None:
    layer, x = kind(4, 3), torch.randn(2, 3, 4)
    seen: list[torch.dtype] = []

    def model(x: Tensor) -> None:
        given: Any = nn.utils.rnn.pack_padded_sequence(x, [2, 2, 1]) if packed else x
        out, state = layer(given)
        seen.append(out.data.dtype if packed else out.dtype)
        seen.append(state[0].dtype if isinstance(state, tuple) else state.dtype)

    with torch.autocast("cpu", torch.bfloat16):
        try:
            model(x)
        except RuntimeError as error:
            if "could not create a primitive descriptor" not in str(error):
                raise
            pytest.skip(f"oneDNN's LSTM in bfloat16 wants a CPU with AVX-512: {error}")
        expected, seen[:] = list(seen), []
        with nnprof.trace():
            model(x)
    assert seen == expected
