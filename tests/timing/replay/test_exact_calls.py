"""A replayed call is the recorded one: its outputs have the same shapes, strides and dtypes."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import torch

import nnprof
from nnprof import _core
from nnprof.base.packages import import_torchvision
from tests.rules.coverage import calls_of_rules
from tests.timing.replay.zoo import ZOO, traced

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

import_torchvision()

#: By operator: why its replayed outputs may differ from the recorded ones.
EXCEPTIONS: dict[str, str] = {
    "aten::_embedding_bag": "what is kept for backward is recorded as on CUDA",
    "aten::_embedding_bag_forward_only": "what is kept for backward is recorded as on CUDA",
    "aten::cudnn_batch_norm_backward.out": "it has a kernel, but what that calls has none here",
}


def names_of(result: _core.TraceResult) -> dict[int, str]:
    ops = result.ops()
    return dict(zip(ops["signature"].tolist(), ops["op"], strict=True))


def differences(
    result: _core.TraceResult, excepted: Collection[str] = EXCEPTIONS
) -> Iterator[tuple[str, str]]:
    """Each unique call that can be replayed and comes out otherwise: its operator, and how."""
    names = names_of(result)
    for number, (status, _) in enumerate(_core.replay_obstacles(result, "cpu")):
        if status != "measured" or names[number] in excepted:
            continue
        recorded = _core.recorded_outputs(result, number)
        replayed: Any
        try:
            replayed = _core.replayed_outputs(result, number, "cpu")
        except Exception as error:
            replayed = error
        if replayed != recorded:
            yield names[number], f"recorded {recorded}, replayed {replayed}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ZOO)
def test_models(name: str) -> None:
    found = list(differences(traced(name)))
    assert not found, "\n".join(map(": ".join, found[:5]))


def test_every_rule() -> None:
    """A call of each operator that a rule prices, most of them samples of PyTorch's own tests."""
    found, replayed = [], 0
    for name, call in calls_of_rules().items():
        args, kwargs = call.arguments
        with warnings.catch_warnings(), torch.no_grad(), suppress(NotImplementedError):
            warnings.simplefilter("ignore")
            with nnprof.trace() as running:
                call.operator(*args, **kwargs)
            assert running._result is not None
            found += [(name, *difference) for difference in differences(running._result)]
            replayed += 1
    assert not found, "\n".join(map(": ".join, found[:5]))
    assert replayed > 1000


def test_exceptions_are_not_stale() -> None:
    differing = {
        op for name in ("MixtralForCausalLM", "Indexing") for op, _ in differences(traced(name), ())
    }
    assert differing == {"aten::_embedding_bag"}


def test_aliases_stay_aliases() -> None:
    """Two views of one tensor share memory in the replay as well: a copy between them would not
    raise otherwise."""
    x = torch.randn(8)
    with torch.no_grad(), nnprof.trace() as running:
        y = x * 1
        torch.add(y[:4], y[4:], out=y[:4])
    assert running._result is not None
    assert not list(differences(running._result))
