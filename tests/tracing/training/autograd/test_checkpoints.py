"""Activation checkpointing, of both kinds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import nnprof
from tests.helpers import oracles
from tests.tracing.training.autograd.stories import Log, Stories, mlp, seen

story = Stories()


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoint_runs_again_once(reentrant: bool) -> None:
    model, head = mlp(), nn.Linear(3, 2)
    calls: Log = []

    def part(x: Tensor) -> Tensor:
        calls.append(torch.is_grad_enabled())
        out: Tensor = model(x)
        return out

    def step() -> Any:
        calls.clear()
        x = torch.randn(2, 6, requires_grad=True)
        head(checkpoint(part, x, use_reentrant=reentrant)).sum().backward()
        found = seen([model, head, x.grad]), list(calls)
        model.zero_grad()
        head.zero_grad()
        return found

    expected = step()
    with nnprof.trace(model, backward=True) as running:
        assert step() == expected
    ops = running.result.ops()
    again = ops["recomputed"] != 0
    # The other kind stops once it has all that the backward needs.
    last = 0 if reentrant else 2 * 4 * 3
    assert ops["macs"][again].sum() == 2 * (6 * 5 + 5 * 4 + 4 * 3) - last
    phases = {phase for phase, one in zip(ops["phase"], again, strict=True) if one}
    assert phases == {"backward"}
    assert running.profile().macs == oracles.flop_counter_macs(step)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_of_a_chain(reentrant: bool) -> None:
    model = nn.Sequential(*(mlp().append(nn.Linear(3, 6)) for _ in range(3)))

    def step() -> None:
        x = torch.randn(2, 6, requires_grad=True)
        for part in model:
            x = checkpoint(part, x, use_reentrant=reentrant)
        x.sum().backward()

    with nnprof.trace(model, backward=True) as running:
        step()
    ops = running.result.ops()
    last = 0 if reentrant else 3 * 2 * 3 * 6
    forward = running.profile().phase("forward").macs
    assert ops["macs"][ops["recomputed"] != 0].sum() == forward - last
    assert running.profile().macs == oracles.flop_counter_macs(step)


@story
def checkpoint_with_dropout() -> Any:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 4))
    x = torch.randn(2, 4, requires_grad=True)
    yield
    checkpoint(model, x, use_reentrant=False).sum().backward()
    return model, x.grad


@story
def checkpoint_that_recomputes_other_tensors() -> Any:
    calls = []
    yield

    def part(x: Tensor) -> Tensor:
        calls.append(1)
        return x.exp() if len(calls) == 1 else x.exp().exp()

    x = torch.randn(2, requires_grad=True)
    checkpoint(part, x, use_reentrant=False).sum().backward()


@story
def nested_checkpoints() -> Any:
    inner, outer = nn.Linear(4, 4), nn.Linear(4, 4)
    yield

    def part(x: Tensor) -> Any:
        return outer(checkpoint(inner, x, use_reentrant=False).relu())

    x = torch.randn(2, 4, requires_grad=True)
    checkpoint(part, x, use_reentrant=False).sum().backward()
    return inner, outer, x.grad


@story
def checkpoint_without_gradient() -> Any:
    model = nn.Linear(4, 4)
    yield
    with torch.no_grad():
        return checkpoint(model, torch.randn(2, 4), use_reentrant=False)


@story
def checkpoint_sequential() -> Any:
    model, x = mlp(), torch.randn(2, 6, requires_grad=True)
    yield
    out = torch.utils.checkpoint.checkpoint_sequential(model, 2, x, use_reentrant=False)
    out.sum().backward()
    return model, x.grad


@story
def selective_checkpoint() -> Any:
    from torch.utils.checkpoint import create_selective_checkpoint_contexts as contexts

    model, x = mlp(), torch.randn(2, 6, requires_grad=True)
    kept = [torch.ops.aten.addmm.default]
    out = checkpoint(model, x, use_reentrant=False, context_fn=lambda: contexts(kept))
    out.sum().backward()
    return model, x.grad


test_as_in_a_real_run, test_of_what_was_made_before = story.tests()
