"""Tensors that wrap others are unwrapped by whoever knows them; what is inside is recorded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import nnprof
from nnprof.errors import UnsupportedError


def test_vmap_records_the_batched_product() -> None:
    x, w = torch.randn(5, 40, 60), torch.randn(60, 70)
    with nnprof.trace() as trace:
        out = torch.vmap(lambda a: a @ w)(x)
        assert out.shape == (5, 40, 70)
    assert trace.profile().macs == 5 * 40 * 60 * 70


def test_fake_tensors_are_traced_by_their_metadata() -> None:
    with FakeTensorMode():
        model, x = nn.Linear(40, 50), torch.randn(20, 40)
    profile = nnprof.measure(model, inputs=x)
    assert profile.macs == 20 * 40 * 50
    assert profile.params == 40 * 50 + 50


def test_a_mode_inside_a_trace_sees_the_operators() -> None:
    seen = []

    class Sees(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    x = torch.randn(100, 100)
    with nnprof.trace() as trace, Sees():
        torch.mm(x, x)
    assert "aten.mm.default" in seen
    assert trace.profile().macs == 100**3


def test_flop_counter_mode_inside_agrees() -> None:
    x, w = torch.randn(64, 128), torch.randn(32, 128)
    with nnprof.trace() as trace, FlopCounterMode(display=False) as counter:
        F.linear(x, w)
    assert counter.get_total_flops() == 2 * trace.profile().macs


def test_conjugate_views_are_resolved() -> None:
    x = torch.randn(80, 80, dtype=torch.complex64)
    with nnprof.trace() as trace:
        assert (x.conj().T @ x).shape == (80, 80)
    assert trace.profile().macs == 80**3


def test_a_device_that_is_not_here_traces() -> None:
    x = torch.randn(100, 100)
    with nnprof.trace():
        made = torch.zeros(100, 100, device="cuda")
        assert (x.to("cuda") + made + x.cuda()).shape == (100, 100)
        assert torch.arange(3, device="cuda").tolist() == [0, 1, 2]


def test_jagged_tensors_are_counted_by_their_values() -> None:
    rows = [torch.randn(5, 8), torch.randn(3, 8)]
    nested, weight = torch.nested.nested_tensor(rows, layout=torch.jagged), torch.randn(4, 8)
    with torch.no_grad(), nnprof.trace() as trace:
        out = F.linear(nested, weight).relu()
        assert out.shape[0] == 2
    profile = trace.profile()
    assert profile.macs == (5 + 3) * 8 * 4
    assert profile.flops_by_kind["compare"] == (5 + 3) * 4


def test_modules_are_called_on_jagged_tensors() -> None:
    values = torch.empty(8, 16, device="meta")
    offsets = torch.tensor([0, 5, 8], device="meta")
    nested = torch.nested.nested_tensor_from_jagged(values, offsets)
    profile = nnprof.measure(nn.Sequential(nn.Linear(16, 4), nn.GELU()), inputs=nested)
    assert profile.macs == 8 * 16 * 4
    assert profile["0"].output_shapes == [[2, -1, 4]]  # -1: rows of several lengths


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_of_the_strided_layout_are_refused() -> None:
    rows = [torch.randn(5, 8), torch.randn(3, 8)]
    nested = torch.nested.nested_tensor(rows)
    with nnprof.trace(), pytest.raises(UnsupportedError, match=r"nested tensor.*torch\.jagged"):
        nested.relu()
    with nnprof.trace(), pytest.raises(UnsupportedError, match=r"nested tensor.*torch\.jagged"):
        torch.nested.nested_tensor(rows)
